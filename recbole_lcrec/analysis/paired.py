"""Bootstrap over users: intervals of means, and of differences that are paired user by user."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["LEVEL", "Estimate", "estimates", "verdict"]

LEVEL = 0.95
_BATCH = 1 << 22  # numbers drawn at once


@dataclass(frozen=True)
class Estimate:
    """A mean over users, and its percentile bootstrap interval."""

    mean: float
    low: float
    high: float


def estimates(values: np.ndarray, resamples: int = 10_000, seed: int = 0) -> list[Estimate]:
    """Return the mean of each column and its 95% interval, with the same resampled users for all columns.

    Two models are compared by a column of their differences: their values for one user rise and fall together, so that
    two intervals may overlap where the interval of the difference is far from zero.

    Args:
        values: float [U, M], one row a user.
        resamples: number of bootstrap samples of U users.
        seed: of the random numbers.

    Raises:
        ValueError: there are no users.
    """
    n_users, n_columns = values.shape
    if not n_users:
        raise ValueError("no user was evaluated, so there is nothing to estimate")
    rng, batch = np.random.default_rng(seed), max(1, _BATCH // n_users)
    means = np.empty((resamples, n_columns))
    for start in range(0, resamples, batch):
        count = min(batch, resamples - start)
        drawn = rng.integers(n_users, size=(count, n_users)) + n_users * np.arange(count)[:, None]
        times = np.bincount(drawn.ravel(), minlength=count * n_users).reshape(count, n_users)
        means[start : start + count] = times @ values / n_users
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return [Estimate(*map(float, each)) for each in zip(values.mean(0), low, high, strict=True)]


def verdict(difference: Estimate) -> str:
    """Return ``ahead``, ``behind`` or ``not told apart``: what the interval of a paired difference says.

    Args:
        difference: a model's values minus the reference's, of a metric whose higher values are better.
    """
    if difference.low > 0:
        return "ahead"
    return "behind" if difference.high < 0 else "not told apart"
