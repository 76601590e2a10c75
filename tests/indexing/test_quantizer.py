"""Residual quantization: round trip, losses by hand, gradients, and reloading of the state."""

import pytest
import torch

from recbole_lcrec.indexing.quantizer import ResidualQuantizer, squared_distances


def made(levels=3, size=8, dim=4, seed=0, **options):
    quantizer = ResidualQuantizer(levels, size, dim, **options)
    with torch.no_grad():
        quantizer.codebooks.copy_(torch.randn(levels, size, dim, generator=torch.Generator().manual_seed(seed)))
        quantizer.initialised.fill_(True)
    return quantizer


def inputs(n=20, dim=4, seed=1):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def test_round_trip():
    quantizer, latents = made(), inputs()
    quantized = quantizer(latents)
    assert torch.equal(quantized.codes, quantizer.encode(latents))
    torch.testing.assert_close(quantized.vectors, quantizer.decode(quantized.codes))
    by_hand = torch.stack(
        [sum(quantizer.codebooks[h, c] for h, c in enumerate(row)) for row in quantized.codes.tolist()]
    )
    torch.testing.assert_close(quantizer.decode(quantized.codes), by_hand)


def test_every_level_takes_the_nearest_code_of_its_residual():
    quantizer, latents = made(), inputs()
    residual = latents.clone()
    for level, codes in enumerate(quantizer.encode(latents).T):
        distances = torch.cdist(residual, quantizer.codebooks[level])
        assert torch.equal(codes, distances.argmin(dim=1))
        residual = residual - quantizer.codebooks[level, codes]
    torch.testing.assert_close(
        squared_distances(latents, quantizer.codebooks[0]), torch.cdist(latents, quantizer.codebooks[0]) ** 2
    )


def test_loss_by_hand():
    quantizer = ResidualQuantizer(2, 2, 1, beta=0.25)
    with torch.no_grad():
        quantizer.codebooks.copy_(torch.tensor([[[0.0], [4.0]], [[0.0], [1.0]]]))
        quantizer.initialised.fill_(True)
    quantized = quantizer(torch.tensor([[5.5], [0.2]]))
    assert quantized.codes.tolist() == [[1, 1], [0, 0]]
    level_0, level_1 = (1.5**2 + 0.2**2) / 2, (0.5**2 + 0.2**2) / 2  # mean over the two items
    assert quantized.loss.item() == pytest.approx(1.25 * (level_0 + level_1))
    torch.testing.assert_close(quantized.residuals, torch.tensor([[[5.5], [0.2]], [[1.5], [0.2]]]))


def test_straight_through_gradients_and_used_codes():
    quantizer, latents = made(), inputs().requires_grad_()
    quantized = quantizer(latents)
    quantized.vectors.sum().backward()
    torch.testing.assert_close(latents.grad, torch.ones_like(latents))
    assert quantizer.codebooks.grad is None
    quantizer(latents.detach()).loss.backward()
    for level, codes in enumerate(quantized.codes.T):
        touched = quantizer.codebooks.grad[level].abs().sum(dim=1) > 0
        assert set(torch.nonzero(touched).flatten().tolist()) == set(codes.tolist())


def test_uniform_mapping_affects_the_last_level_alone():
    quantizer, latents = made(levels=2, size=4, dim=4, sinkhorn_epsilon=0.003, sinkhorn_iterations=2000), inputs(40)
    with torch.no_grad():
        quantizer.codebooks[1] += torch.tensor([[0.0], [9.0], [9.0], [9.0]])
    assert set(quantizer.encode(latents)[:, 1].tolist()) == {0}
    uniform = quantizer(latents, uniform=True)
    used = torch.bincount(uniform.codes[:, 1], minlength=4)
    assert used.min() >= 9 and used.max() <= 11
    assert torch.equal(uniform.codes[:, 0], quantizer.encode(latents)[:, 0])


def test_an_initialised_state_survives_a_reload():
    quantizer, fresh = made(), ResidualQuantizer(3, 8, 4)
    with pytest.raises(RuntimeError, match="not initialised"):
        fresh.encode(inputs())
    with pytest.raises(RuntimeError, match="not initialised"):
        fresh(inputs())
    fresh.load_state_dict(quantizer.state_dict())
    assert torch.equal(fresh.encode(inputs()), quantizer.encode(inputs()))
