"""Entropy-regularised optimal transport with uniform marginals.

It relaxes the uniform semantic mapping of Eq. 6.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["marginal_errors", "scaled_cost", "sinkhorn"]

_ABSORB_ABOVE = 1e30
_CHECK_EVERY = 10
_PATIENCE = 200
_HALVINGS = 30
_CONVERGED = 1e-9


def scaled_cost(distances: Tensor) -> Tensor:
    """Scale distances linearly to [-1, 1]: the cost of Eq. 6.

    The authors' released code does so, which makes one epsilon suit any embeddings; the paper does not mention it.

    Args:
        distances: ``[B, K]``, finite.

    Returns:
        float64 ``[B, K]`` with minimum -1 and maximum 1; zeros when all distances are equal.
    """
    distances = distances.double()
    low, high = distances.min(), distances.max()
    amplitude = (high - low) / 2
    if not amplitude > 0:
        return torch.zeros_like(distances)
    return (distances - (low + high) / 2) / amplitude


def sinkhorn(cost: Tensor, epsilon: float, iterations: int, tolerance: float = 0.0) -> Tensor:
    """Solve Eq. 6 with an entropy term by Sinkhorn-Knopp iterations, stable for any cost / epsilon.

    The plan minimises ``<plan, cost> - epsilon * entropy(plan)`` with rows summing to 1/B (each item is mapped once)
    and columns summing to 1/K (codes are used evenly). An iteration normalises the columns (codes) first and the rows
    (items) last, so the rows are exact after any number of iterations and the columns converge. The authors' released
    code normalises rows first and columns last. Both converge to the same plan; with rows last, every item always has
    exactly its share. Potentials are kept in log space. Until the kernel has to be recomputed, an iteration is two
    matrix-vector products, which are equivalent to two log-sum-exps and much faster. Items in tight clusters would take
    thousands of iterations; from the 200th on, each iteration is therefore a Newton step on the columns' potentials,
    with exact rows.

    Args:
        cost: ``[B, K]``, finite; see :func:`scaled_cost`.
        epsilon: weight of the entropy, above 0; smaller values are closer to a hard assignment.
        iterations: maximum number of iterations, at least 1.
        tolerance: stop once no column sum deviates from 1/K by more than this, relatively; checked every few
            iterations. 0: never stop early.

    Returns:
        float64 plan ``[B, K]``, finite and non-negative, total mass 1.

    Raises:
        ValueError: epsilon or iterations are out of range, or the cost is not a finite matrix.
    """
    if not epsilon > 0 or iterations < 1:
        raise ValueError(f"epsilon = {epsilon} must be above 0 and iterations = {iterations} at least 1")
    if cost.ndim != 2 or not cost.numel() or not bool(torch.isfinite(cost).all()):
        raise ValueError(f"cost of shape {list(cost.shape)} must be a finite, non-empty matrix [B, K]")
    scores = -cost.double() / epsilon
    n_rows, n_columns = scores.shape
    potential, kernel = _recomputed(scores, scores.new_zeros(n_rows))
    row_scale, column_scale = scores.new_ones(n_rows), scores.new_ones(n_columns)
    for done in range(1, iterations):
        shares = n_columns * (row_scale @ kernel)
        if tolerance and done % _CHECK_EVERY == 0 and (shares * column_scale - 1).abs().max() <= tolerance:
            break
        if done >= _PATIENCE:
            return _newton(scores, potential + row_scale.log(), iterations - done)
        columns = 1 / shares
        rows = 1 / (n_rows * (kernel @ columns))
        if _moderate(columns) and _moderate(rows):
            row_scale, column_scale = rows, columns
        else:
            potential, kernel = _recomputed(scores, potential + row_scale.log())
            row_scale, column_scale = torch.ones_like(row_scale), torch.ones_like(column_scale)
    return row_scale[:, None] * kernel * column_scale


def _newton(scores: Tensor, row_potential: Tensor, steps: int) -> Tensor:
    """Maximise the concave dual of the columns' potentials by Newton steps with a halving line search.

    Rows are exact for any potential ``g [K]``: the plan is softmax(scores + g) / B. The dual is mean(g) minus the mean
    over rows of logsumexp(scores + g), and its gradient is the columns' shortfall. Where no step increases the dual, a
    Sinkhorn update is made instead.
    """
    n_rows, n_columns = scores.shape
    potential = -math.log(n_columns) - torch.logsumexp(scores + row_potential[:, None], dim=0)

    def dual(g: Tensor) -> Tensor:
        return g.mean() - torch.logsumexp(scores + g, dim=1).mean()

    value = dual(potential)
    for _ in range(steps):
        plan = torch.softmax(scores + potential, dim=1) / n_rows
        shares = plan.sum(dim=0)
        shortfall = 1 / n_columns - shares
        if shortfall.abs().max() * n_columns <= _CONVERGED:
            break
        # the potentials are unique up to a constant, which the last term fixes
        curvature = torch.diag(shares) - n_rows * plan.T @ plan + 1 / n_columns**2
        ridge = 1e-12 * torch.eye(n_columns, dtype=scores.dtype, device=scores.device)
        step = torch.linalg.lstsq(curvature + ridge, shortfall[:, None]).solution[:, 0]
        for halving in range(_HALVINGS):
            candidate = potential + step / 2**halving
            if dual(candidate) > value:
                break
        else:
            candidate = potential - shares.clamp_min(torch.finfo(scores.dtype).tiny).mul(n_columns).log()
        potential, value = candidate, dual(candidate)
    return torch.softmax(scores + potential, dim=1) / n_rows


def marginal_errors(plan: Tensor) -> tuple[Tensor, Tensor]:
    """Largest relative deviations of a plan ``[B, K]``: of row sums from 1/B and of column sums from 1/K, scalars."""
    rows = (plan.sum(dim=1) * plan.shape[0] - 1).abs().max()
    columns = (plan.sum(dim=0) * plan.shape[1] - 1).abs().max()
    return rows, columns


def _recomputed(scores: Tensor, row_potential: Tensor) -> tuple[Tensor, Tensor]:
    """One iteration in log space; returns the row potential ``[B]`` and the plan ``[B, K]``."""
    n_rows, n_columns = scores.shape
    column_potential = -math.log(n_columns) - torch.logsumexp(scores + row_potential[:, None], dim=0)
    shifted = scores + column_potential
    row_potential = -math.log(n_rows) - torch.logsumexp(shifted, dim=1)
    return row_potential, torch.softmax(shifted, dim=1) / n_rows


def _moderate(scale: Tensor) -> bool:
    low, high = scale.aminmax()
    return bool((high < _ABSORB_ABOVE) & (low > 1 / _ABSORB_ABOVE))
