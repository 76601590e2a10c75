"""The RQ-VAE: its initialisation against an independent PCA, its loss by hand, its scale in the state."""

import pytest
import torch

from recbole_lcrec.indexing.quantizer import ResidualQuantizer
from recbole_lcrec.indexing.rqvae_network import RQVAE


def made(dim=3, hidden=(16, 8), input_dim=10, seed=0):
    return RQVAE(input_dim, hidden, ResidualQuantizer(2, 4, dim), torch.Generator().manual_seed(seed))


def embeddings(n=200, dim=10, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, generator=generator) @ torch.randn(4, dim, generator=generator) * 7 + 3


@pytest.mark.parametrize("hidden", [(), (6,), (16, 8), (12, 9, 6)])
def test_starts_at_the_best_linear_autoencoder(hidden):
    model, data = made(hidden=hidden), embeddings()
    model.fit(data)
    scaled = model.scaled(data)
    assert scaled.square().mean().item() == pytest.approx(1.0, rel=1e-5)
    _, singular, _ = torch.linalg.svd(scaled, full_matrices=False)
    lost = (singular[3:].square().sum() / scaled.numel()).item()
    found = (model.decoder(model.latents(data)) - scaled).square().mean().item()
    assert found == pytest.approx(lost, rel=1e-3)
    assert model.latents(data).square().mean().item() == pytest.approx(1.0, rel=1e-3)


def test_narrow_layers_keep_their_random_weights():
    model = made(hidden=(5,))
    before = model.encoder[0].weight.clone()
    model.fit(embeddings())
    assert torch.equal(model.encoder[0].weight, before)


def test_constant_embeddings_stay_finite():
    model = made()
    model.fit(torch.full((5, 10), 2.5))
    assert torch.equal(model.scaled(torch.full((2, 10), 2.5)), torch.zeros(2, 10))
    assert torch.isfinite(model.latents(torch.full((2, 10), 2.5))).all()


def test_fewer_dimensions_than_latents():
    model = made(dim=6, hidden=(16,), input_dim=4)
    data = embeddings(dim=4)
    model.fit(data)
    torch.testing.assert_close(model.decoder(model.latents(data)), model.scaled(data), rtol=1e-3, atol=1e-3)


def test_loss_by_hand():
    model, data = made(), embeddings()
    model.fit(data)
    with torch.no_grad():
        model.quantizer.codebooks.normal_(generator=torch.Generator().manual_seed(2))
        model.quantizer.initialised.fill_(True)
        loss = model.loss(data)
        latents, target = model.latents(data), model.scaled(data)
        codes = model.quantizer.encode(latents)
        residual, quantization = latents, 0.0
        for level in range(2):
            vectors = model.quantizer.codebooks[level, codes[:, level]]
            quantization += 1.25 * (residual - vectors).square().sum() / target.numel()
            residual = residual - vectors
        reconstruction = (model.decoder(latents - residual) - target).square().mean()
    torch.testing.assert_close(loss.reconstruction, reconstruction)
    torch.testing.assert_close(loss.quantization, quantization)
    torch.testing.assert_close(loss.total, reconstruction + quantization)


def test_weights_depend_on_the_generator_alone():
    torch.manual_seed(1)
    first = made()
    torch.manual_seed(2)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), made().parameters(), strict=True))


def test_scale_is_in_the_state():
    model, data, fresh = made(), embeddings(), made(seed=5)
    model.fit(data)
    fresh.load_state_dict(model.state_dict())
    torch.testing.assert_close(fresh.latents(data), model.latents(data))
