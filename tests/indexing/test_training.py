"""Training: k-means on hostile inputs, revival of dead codes, determinism, and a loss that falls."""

import dataclasses

import numpy as np
import pytest
import torch

from recbole_lcrec.indexing.quantizer import ResidualQuantizer
from recbole_lcrec.indexing.rqvae import RQVAE
from recbole_lcrec.indexing.training import (
    _revive,
    conflict_rate,
    encode_catalogue,
    initialise_codebooks,
    kmeans,
    train_rqvae,
)
from recbole_lcrec.settings import IndexSettings

SETTINGS = IndexSettings(
    method="rqvae", file=None, levels=3, codebook_size=8, latent_dim=4, hidden_sizes=(16,), beta=0.25, epochs=20,
    learning_rate=1e-3, weight_decay=1e-4, batch_size=64, sinkhorn_epsilon=0.01, sinkhorn_iterations=20,
)  # fmt: skip


def clusters(n=150, dim=12, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(
        rng.normal(size=(10, dim))[rng.integers(10, size=n)] + rng.normal(size=(n, dim)) * 0.3
    ).float()


def trained(data, seed=0, **changes):
    settings = dataclasses.replace(SETTINGS, **changes)
    quantizer = ResidualQuantizer(settings.levels, settings.codebook_size, settings.latent_dim, settings.beta, 0.01, 20)
    model = RQVAE(data.shape[1], settings.hidden_sizes, quantizer, torch.Generator().manual_seed(seed))
    return model, train_rqvae(model, data, settings, torch.Generator().manual_seed(seed))


def test_kmeans_finds_the_centres_of_separate_clusters():
    rng = np.random.default_rng(0)
    true = 100 * rng.normal(size=(5, 3))
    points = np.repeat(true, 40, axis=0) + 0.01 * rng.normal(size=(200, 3))
    centres = kmeans(points, 5, seed=1)
    distances = np.linalg.norm(true[:, None] - centres[None], axis=2)
    assert distances.min(axis=1).max() < 0.1
    np.testing.assert_array_equal(centres, kmeans(points, 5, seed=1))


@pytest.mark.parametrize("n", [1, 3, 8, 9, 20])
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_kmeans_with_few_points_and_duplicates(n, spread):
    points = spread * np.random.default_rng(0).normal(size=(n, 2)) + 4
    centres = kmeans(points, 8, seed=0)
    assert centres.shape == (8, 2) and centres.dtype == np.float32 and np.isfinite(centres).all()
    if n <= 8:
        np.testing.assert_allclose(centres[:n], points, rtol=1e-6)
        assert len(np.unique(centres[n:], axis=0)) == 8 - n


def test_codebooks_start_from_the_residuals_of_the_levels_above():
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
    assert reports[-1].epoch == 40
    assert reports[-1].reconstruction_loss < reports[0].reconstruction_loss < 1
    assert min(reports[-1].codes_used) >= 7
    codes = encode_catalogue(model, data).numpy()
    assert reports[-1].conflict_rate == pytest.approx(conflict_rate(codes))


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


def test_same_seed_same_model():
    data = clusters()
    first, second, other = trained(data)[0], trained(data)[0], trained(data, seed=1)[0]
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert not torch.equal(first.quantizer.codebooks, other.quantizer.codebooks)


def test_conflict_rate():
    assert conflict_rate(np.array([[0, 1], [0, 1], [0, 1], [1, 1]])) == 0.5
