"""Training: revival of dead codes, determinism, reports, and a decreasing loss."""

import logging

import numpy as np
import pytest
import torch

from recbole_lcrec.indexing import training
from recbole_lcrec.indexing.quantizer import ResidualQuantizer
from recbole_lcrec.indexing.rqvae_network import ROWS_AT_ONCE, RQVAE
from recbole_lcrec.indexing.sinkhorn import marginal_errors, scaled_cost, sinkhorn
from recbole_lcrec.indexing.training import (
    _revive,
    encode_catalogue,
    initialise_codebooks,
    train_rqvae,
)
from tests.indexing.plain_settings import index_settings

SMALL = {"codebook_size": 8, "latent_dim": 4, "hidden_sizes": (16,), "epochs": 20, "batch_size": 64}


def clusters(n=150, dim=12, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(
        rng.normal(size=(10, dim))[rng.integers(10, size=n)] + rng.normal(size=(n, dim)) * 0.3
    ).float()


def made(data, seed=0):
    quantizer = ResidualQuantizer(3, 8, 4, sinkhorn_epsilon=0.01, sinkhorn_iterations=20)
    return RQVAE(data.shape[1], (16,), quantizer, torch.Generator().manual_seed(seed))


def trained(data, seed=0, uniform=True, **changes):
    model, settings = made(data, seed), index_settings(**{**SMALL, **changes})
    return model, train_rqvae(model, data, settings, torch.Generator().manual_seed(seed), False, uniform)


def test_codebooks_start_at_centres_of_residuals():
    quantizer, latents = ResidualQuantizer(3, 8, 4), clusters(dim=4)
    initialise_codebooks(quantizer, latents, torch.Generator().manual_seed(0))
    assert bool(quantizer.initialised)
    codes = quantizer.encode(latents)
    errors = []
    for levels in (1, 2, 3):
        partial = sum(quantizer.codebooks[h, codes[:, h]] for h in range(levels))
        errors.append((latents - partial).square().mean().item())
    assert errors[0] > errors[1] > errors[2]
    assert [len(level.unique()) for level in codes.T] == [8, 8, 8]


def test_training_lowers_the_loss_and_uses_every_code():
    data = clusters()
    model, reports = trained(data, epochs=40)
    assert [report.epoch for report in reports] == list(range(1, 41))
    assert reports[-1].reconstruction_loss < reports[0].reconstruction_loss < 1
    assert min(reports[-1].codes_used) >= 7
    codes = encode_catalogue(model, data).numpy()
    distinct = len({tuple(row) for row in codes.tolist()})
    assert reports[-1].conflict_rate == pytest.approx(1 - distinct / len(codes))


def test_max_steps_limits_the_epochs(caplog):
    data = clusters()
    with caplog.at_level(logging.INFO):
        _, reports = trained(data, epochs=40, batch_size=len(data), max_steps=5)
    assert len(reports) == 5 and "5 of 40 epochs" in caplog.text
    assert len(trained(data, epochs=3, max_steps=1)[1]) == 1


def test_a_dead_code_is_revived():
    data = clusters()
    model, _ = trained(data, epochs=1)
    with torch.no_grad():
        model.quantizer.codebooks[0, 1:] = 1e4
    assert set(encode_catalogue(model, data)[:, 0].tolist()) == {0}
    counts = torch.stack([torch.bincount(level, minlength=8) for level in encode_catalogue(model, data).T])
    with torch.no_grad():
        residuals = model.quantizer(model.latents(data)).residuals
    _revive(model.quantizer, counts, residuals, torch.Generator().manual_seed(0))
    assert len(set(encode_catalogue(model, data)[:, 0].tolist())) >= 7


@pytest.mark.parametrize("epochs", [1, 4])
def test_codes_are_not_revived_after_the_last_epoch(monkeypatch, epochs):
    calls = []
    monkeypatch.setattr(training, "_revive", lambda *_: calls.append(1))
    trained(clusters(), epochs=epochs)
    assert len(calls) == epochs - 1


def test_same_seed_same_model():
    data = clusters()
    first, second, other = trained(data)[0], trained(data)[0], trained(data, seed=1)[0]
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert not torch.equal(first.quantizer.codebooks, other.quantizer.codebooks)


def test_conflict_rate_is_measured_and_logged_sparsely(caplog):
    with caplog.at_level(logging.INFO):
        _, reports = trained(clusters(), epochs=40)
    measured = [report.epoch for report in reports if report.conflict_rate is not None]
    assert 10 <= len(measured) <= 20 and measured[-1] == 40
    assert len(set(np.diff(measured))) == 1
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("item index, epoch")]
    assert len(lines) == len(measured)
    assert "conflict rate" in lines[-1] and "codes used" in lines[-1] and "perplexity" in lines[-1]
    assert "marginal error" in lines[-1]


def test_reports_of_an_epoch_by_hand():
    """One batch at a learning rate near 0, so that the codebooks do not change during the epoch."""
    data = clusters()
    for uniform in (True, False):
        model, (report,) = trained(data, uniform=uniform, epochs=1, batch_size=len(data), learning_rate=1e-12)
        with torch.no_grad():
            residual = model.latents(data)
            codes = encode_catalogue(model, data)
            for level in range(2):
                residual = residual - model.quantizer.codebooks[level, codes[:, level]]
            if uniform:
                cost = scaled_cost(torch.cdist(residual, model.quantizer.codebooks[2]).square())
                plan = sinkhorn(cost, 0.01, 20)
                codes[:, 2] = plan.argmax(dim=1)
                assert report.marginal_error == pytest.approx(marginal_errors(plan)[1].item(), rel=1e-3)
            else:
                assert report.marginal_error is None
        for level, (used, perplexity) in enumerate(zip(report.codes_used, report.perplexity, strict=True)):
            shares = np.unique(codes[:, level].numpy(), return_counts=True)[1] / len(data)
            assert used == len(shares)
            assert perplexity == pytest.approx(np.prod(shares**-shares), rel=1e-5)


def test_chunks_have_the_codes_of_the_whole():
    data = clusters(n=2 * ROWS_AT_ONCE + 77)
    model, _ = trained(data[:500], epochs=1)
    whole = encode_catalogue(model, data)
    parts = [encode_catalogue(model, data[:ROWS_AT_ONCE]), encode_catalogue(model, data[ROWS_AT_ONCE:])]
    assert torch.equal(torch.cat(parts), whole)


def test_a_memory_map_trains_like_an_array(tmp_path):
    data = clusters()
    np.save(tmp_path / "embeddings.npy", data.numpy())
    mapped = torch.from_numpy(np.load(tmp_path / "embeddings.npy", mmap_mode="c"))
    first, second = trained(data)[0], trained(mapped)[0]
    assert torch.equal(first.quantizer.codebooks, second.quantizer.codebooks)
    assert torch.equal(mapped, data)


@pytest.mark.parametrize("n", [2, 5, 70])
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_few_and_constant_embeddings_stay_finite(n, spread):
    data = 3 + spread * clusters(n=n)
    model, reports = trained(data, epochs=3)
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())
    assert np.isfinite([reports[-1].reconstruction_loss, reports[-1].quantization_loss]).all()
    assert encode_catalogue(model, data).shape == (n, 3)
