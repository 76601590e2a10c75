"""Sinkhorn against the textbook algorithm, its marginals, and the order of normalisation."""

import pytest
import torch

from recbole_lcrec.indexing.sinkhorn import marginal_errors, scaled_cost, sinkhorn


def textbook(cost, epsilon, iterations):
    """Normalise the kernel alternately; valid while nothing underflows."""
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
def test_equals_the_textbook_algorithm(epsilon, shape, iterations):
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


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e6, 1e30])
@pytest.mark.parametrize("epsilon", [1e-4, 1e-2, 10.0])
def test_finite_with_exact_rows_at_every_scale_of_cost(scale, epsilon):
    plan = sinkhorn(scale * torch.rand(60, 16, generator=torch.Generator().manual_seed(2)), epsilon, 50)
    assert torch.isfinite(plan).all() and (plan >= 0).all()
    assert marginal_errors(plan)[0] < 1e-9


def catalogues():
    """Costs of 1024 items and 256 codes: random, skewed, and distances to clustered and to crowded codes."""
    generator = torch.Generator().manual_seed(3)
    uniform = torch.rand(1024, 256, generator=generator)
    centres = torch.randn(10, 32, generator=generator)
    items = centres[torch.randint(10, (1024,), generator=generator)] + torch.randn(1024, 32, generator=generator)
    crowded = items[:256].clone()
    crowded[100:] = crowded[0] + 0.01 * crowded[100:]
    distances = [torch.cdist(items, codes).square() for codes in (items[:256], crowded)]
    return [uniform, uniform**8, *distances]


@pytest.mark.parametrize("kind", range(4))
def test_both_marginals_within_five_hundred_iterations(kind):
    plan = sinkhorn(scaled_cost(catalogues()[kind]), 0.05, 500)
    torch.testing.assert_close(plan.sum(dim=0), torch.full((256,), 1 / 256, dtype=torch.float64), rtol=1e-3, atol=0)
    torch.testing.assert_close(plan.sum(dim=1), torch.full((1024,), 1 / 1024, dtype=torch.float64), rtol=1e-3, atol=0)


def test_columns_are_normalised_before_rows():
    """By hand, epsilon 1: the kernel [[1, 1/2], [1, 1]] has column sums 2 and 3/2.

    Columns to 1/2: [[1/4, 1/6], [1/4, 1/3]], with row sums 5/12 and 7/12. Rows to 1/2: [[3/10, 1/5], [3/14, 2/7]].
    Rows first would end at [[2/7, 1/5], [3/14, 3/10]].
    """
    cost = torch.tensor([[0.0, 2.0], [0.0, 0.0]], dtype=torch.float64)
    cost[0, 1] = torch.log(cost[0, 1])
    expected = torch.tensor([[3 / 10, 1 / 5], [3 / 14, 2 / 7]], dtype=torch.float64)
    torch.testing.assert_close(sinkhorn(cost, 1.0, 1), expected, rtol=1e-12, atol=0)


def test_marginal_errors_by_hand():
    rows, columns = marginal_errors(torch.tensor([[0.3, 0.2], [0.3, 0.3]], dtype=torch.float64))
    assert rows.item() == pytest.approx(0.2) and columns.item() == pytest.approx(0.2)
    rows, columns = marginal_errors(torch.tensor([[0.6, 0.4]], dtype=torch.float64))
    assert rows.item() == pytest.approx(0) and columns.item() == pytest.approx(0.2)


def test_a_tolerance_stops_early():
    cost = scaled_cost(catalogues()[2])
    early, late = sinkhorn(cost, 0.05, 500, tolerance=0.01), sinkhorn(cost, 0.05, 500)
    assert marginal_errors(late)[1] < marginal_errors(early)[1] <= 0.01
    assert marginal_errors(early)[0] < 1e-12
    assert torch.equal(sinkhorn(cost, 0.05, 3, tolerance=0.01), sinkhorn(cost, 0.05, 3))


def test_small_epsilon_spreads_items_evenly():
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
        (torch.zeros(2), 1.0, 1, "must be a finite"),
        (torch.zeros(0, 2), 1.0, 1, "must be a finite"),
        (torch.tensor([[float("nan")]]), 1.0, 1, "must be a finite"),
    ],
)
def test_bad_input(cost, epsilon, iterations, message):
    with pytest.raises(ValueError, match=message):
        sinkhorn(cost, epsilon, iterations)


@pytest.mark.parametrize("spread", [0.05, 0.3])
def test_tight_clusters_converge_too(spread):
    """Ten clusters with codes sampled from the items: scaling alone has an error of 4e-3 after 500 iterations."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(10, 32, generator=generator)
    items = centres[torch.randint(10, (1024,), generator=generator)]
    items = items + spread * torch.randn(1024, 32, generator=generator)
    codes = items[torch.randperm(1024, generator=generator)[:256]]
    cost = scaled_cost(torch.cdist(items, codes).square())
    plan = sinkhorn(cost, 0.05, 500)
    rows, columns = marginal_errors(plan)
    assert rows < 1e-12 and columns < 1e-3
    # the optimum: plan = exp(-cost / epsilon) scaled by rows and columns, so this matrix has no interaction term left
    log_scales = plan.log() + cost / 0.05
    apart = log_scales - log_scales.mean(dim=0) - log_scales.mean(dim=1, keepdim=True) + log_scales.mean()
    assert apart.abs().max() < 1e-6
