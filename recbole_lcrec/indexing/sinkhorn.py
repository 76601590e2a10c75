"""Entropic optimal transport with uniform marginals: the uniform semantic mapping of Eq. 6, relaxed.

Knows a cost matrix, an entropy weight and how to scale costs. Refuses to know what rows and columns stand for.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["marginal_errors", "scaled_cost", "sinkhorn"]

_ABSORB_ABOVE = 1e30
_ROUNDS_BETWEEN_LOOKS = 10
_PATIENCE = 200
_HALVINGS = 30
_CONVERGED = 1e-9


def scaled_cost(distances: Tensor) -> Tensor:
    """Centres distances on the middle of their range and divides by half the range: the cost of Eq. 6 in [-1, 1].

    The authors' released code scales so, which makes one epsilon fit any embedding; the paper does not say.

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
    """Solves Eq. 6 with an entropy term by Sinkhorn-Knopp rounds, whatever the size of cost / epsilon.

    The plan minimises ``<plan, cost> - epsilon * entropy(plan)`` with rows summing to 1/B (each item is mapped once)
    and columns to 1/K (codes are used alike). A round normalises the columns (codes) first and the rows (items) last,
    so the rows are exact after any number of rounds and the columns converge. The authors' released code goes the
    other way about, rows first and columns last; both converge to the same plan, and this one never gives an item more
    than its share. The potentials live in log space; between two renewals of the kernel a round is two matrix-vector
    products, which gives the same numbers as two log-sum-exps at a small part of their time. Where 200 rounds have not
    ended it, as with items in tight clusters, each further round is a Newton step on the columns' potentials, rows
    exact again, for the rounds alone would take thousands.

    Args:
        cost: ``[B, K]``, finite; see ``scaled_cost``.
        epsilon: weight of the entropy, above 0; the smaller, the nearer to a hard assignment.
        iterations: rounds, at least 1.
        tolerance: relative deviation of the column sums from 1/K, looked at every few rounds, at which the rounds end
            before ``iterations``; 0 for all of them.

    Returns:
        float64 plan ``[B, K]``, finite and non-negative, total mass 1.

    Raises:
        ValueError: epsilon or iterations out of range, or a cost that is not a finite matrix.
    """
    if not epsilon > 0 or iterations < 1:
        raise ValueError(f"epsilon = {epsilon} must be above 0 and iterations = {iterations} at least 1")
    if cost.ndim != 2 or not cost.numel() or not bool(torch.isfinite(cost).all()):
        raise ValueError(f"cost of shape {list(cost.shape)} must be a finite matrix [B, K] that is not empty")
    scores = -cost.double() / epsilon
    n_rows, n_columns = scores.shape
    potential, kernel = _renewed(scores, scores.new_zeros(n_rows))
    row_scale, column_scale = scores.new_ones(n_rows), scores.new_ones(n_columns)
    for done in range(1, iterations):
        shares = n_columns * (row_scale @ kernel)
        if tolerance and done % _ROUNDS_BETWEEN_LOOKS == 0 and (shares * column_scale - 1).abs().max() <= tolerance:
            break
        if done >= _PATIENCE:
            return _newton(scores, potential + row_scale.log(), iterations - done)
        columns = 1 / shares
        rows = 1 / (n_rows * (kernel @ columns))
        if _moderate(columns) and _moderate(rows):
            row_scale, column_scale = rows, columns
        else:
            potential, kernel = _renewed(scores, potential + row_scale.log())
            row_scale, column_scale = torch.ones_like(row_scale), torch.ones_like(column_scale)
    return row_scale[:, None] * kernel * column_scale


def _newton(scores: Tensor, row_potential: Tensor, steps: int) -> Tensor:
    """The plan after Newton steps that maximise the concave dual of the columns' potentials, by a halving line search.

    Rows are exact for any potential ``g [K]``: the plan is softmax(scores + g) / B. The dual is mean(g) - mean over the
    rows of logsumexp(scores + g), its gradient the columns' shortfall; a step that does not raise it is not taken.
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
        curvature = torch.diag(shares) - n_rows * plan.T @ plan + 1 / n_columns**2  # the last for the free constant
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
    """Largest relative deviations of a plan ``[B, K]``: its row sums from 1/B and its column sums from 1/K, scalars."""
    rows = (plan.sum(dim=1) * plan.shape[0] - 1).abs().max()
    columns = (plan.sum(dim=0) * plan.shape[1] - 1).abs().max()
    return rows, columns


def _renewed(scores: Tensor, row_potential: Tensor) -> tuple[Tensor, Tensor]:
    """One round in log space: the row potential ``[B]`` after it and the plan ``[B, K]`` that it gives."""
    n_rows, n_columns = scores.shape
    column_potential = -math.log(n_columns) - torch.logsumexp(scores + row_potential[:, None], dim=0)
    shifted = scores + column_potential
    row_potential = -math.log(n_rows) - torch.logsumexp(shifted, dim=1)
    return row_potential, torch.softmax(shifted, dim=1) / n_rows


def _moderate(scale: Tensor) -> bool:
    low, high = scale.aminmax()
    return bool((high < _ABSORB_ABOVE) & (low > 1 / _ABSORB_ABOVE))
