"""Sinkhorn against the textbook loop, its marginals, and the order of normalisation."""

import pytest
import torch

from recbole_lcrec.indexing.sinkhorn import scaled_cost, sinkhorn


def textbook(cost, epsilon, iterations):
    """Alternating normalisation of the kernel itself; fine as long as nothing underflows."""
    plan = torch.exp(-cost.double() / epsilon)
    for _ in range(iterations):
        plan = plan / plan.sum(dim=0, keepdim=True) / plan.shape[1]
        plan = plan / plan.sum(dim=1, keepdim=True) / plan.shape[0]
    return plan


def random_cost(rows, columns, seed=0):
    return scaled_cost(torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("epsilon", [0.02, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (40, 8), (8, 40)])
@pytest.mark.parametrize("iterations", [1, 2, 30])
def test_equals_the_textbook(epsilon, shape, iterations):
    cost = random_cost(*shape)
    torch.testing.assert_close(
        sinkhorn(cost, epsilon, iterations), textbook(cost, epsilon, iterations), rtol=1e-9, atol=0
    )


@pytest.mark.parametrize("epsilon", [1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0])
def test_finite_with_exact_rows_at_every_epsilon(epsilon):
    skewed = scaled_cost(torch.rand(60, 16, generator=torch.Generator().manual_seed(1)) ** 8)
    skewed[:, 0] = -1
    skewed[:, 1] = 1
    plan = sinkhorn(skewed, epsilon, 50)
    assert torch.isfinite(plan).all() and (plan >= 0).all()
    torch.testing.assert_close(plan.sum(dim=1), torch.full((60,), 1 / 60, dtype=torch.float64), rtol=1e-9, atol=0)


def test_both_marginals_when_converged():
    plan = sinkhorn(random_cost(1024, 256), 0.05, 500)
    torch.testing.assert_close(plan.sum(dim=0), torch.full((256,), 1 / 256, dtype=torch.float64), rtol=1e-3, atol=0)
    torch.testing.assert_close(plan.sum(dim=1), torch.full((1024,), 1 / 1024, dtype=torch.float64), rtol=1e-12, atol=0)


def test_a_round_ends_on_the_rows():
    cost = torch.tensor([[-1.0, 1.0], [-1.0, 0.0], [-1.0, 1.0]])
    plan = sinkhorn(cost, 0.5, 1)
    torch.testing.assert_close(plan.sum(dim=1), torch.full((3,), 1 / 3, dtype=torch.float64), rtol=1e-12, atol=0)
    assert (plan.sum(dim=0) - 0.5).abs().max() > 0.01


def test_small_epsilon_spreads_items_evenly_where_nearest_would_crowd():
    cost = scaled_cost(torch.tensor([[0.0, 5.0], [0.1, 4.0], [0.2, 2.0], [0.3, 1.0]]))
    assert cost.argmin(dim=1).tolist() == [0, 0, 0, 0]
    assert sinkhorn(cost, 0.01, 500).argmax(dim=1).tolist() == [0, 0, 1, 1]


def test_scaled_cost():
    scaled = scaled_cost(torch.tensor([[2.0, 4.0], [3.0, 6.0]]))
    assert scaled.dtype == torch.float64
    assert scaled.tolist() == [[-1.0, 0.0], [-0.5, 1.0]]
    assert scaled_cost(torch.full((2, 3), 7.0)).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize(
    ("cost", "epsilon", "iterations", "message"),
    [
        (torch.zeros(2, 2), 0.0, 1, "epsilon = 0.0"),
        (torch.zeros(2, 2), 1.0, 0, "iterations = 0"),
        (torch.zeros(2), 1.0, 1, "finite matrix"),
        (torch.zeros(0, 2), 1.0, 1, "finite matrix"),
        (torch.tensor([[float("nan")]]), 1.0, 1, "finite matrix"),
    ],
)
def test_bad_input(cost, epsilon, iterations, message):
    with pytest.raises(ValueError, match=message):
        sinkhorn(cost, epsilon, iterations)
