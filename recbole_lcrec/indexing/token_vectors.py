"""Vectors of index tokens: where a token stands for several items, the mean over them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["token_vectors"]


def token_vectors(vectors: np.ndarray, item_tokens: Sequence[Sequence[str]], tokens: Sequence[str]) -> np.ndarray:
    """Return the mean vector of the items with each token, less the level's mean, scaled to unit spread level by level.

    Args:
        vectors: float [N, D], of the items; a row of zeros says nothing and is left out.
        item_tokens: the H index tokens of each of N items.
        tokens: T index tokens, all of them or some.

    Returns:
        float64 [T, D]; zeros for a token of no item.
    """
    place = {token: number for number, token in enumerate(tokens)}
    codes = np.array([[place.get(token, -1) for token in row] for row in item_tokens])
    told = np.flatnonzero(vectors.any(axis=1))
    means = np.zeros((len(tokens), vectors.shape[1]))
    for level in codes[told].T if len(told) else ():
        used, group, counts = np.unique(level, return_inverse=True, return_counts=True)
        sums = np.zeros((len(used), vectors.shape[1]))
        np.add.at(sums, group, vectors[told])
        rows = sums / counts[:, None]
        rows -= rows.mean(axis=0)
        means[used[used >= 0]] = (rows / (rows.std() or 1.0))[used >= 0]
    return means
