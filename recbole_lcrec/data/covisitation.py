"""Co-visitation: how often items follow one another in training sequences.

Counts are decayed by distance and normalised.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from recbole_lcrec.data.sequences import UserSequences

__all__ = ["covisitation", "history_weights"]


def covisitation(sequences: UserSequences, n_items: int, window: int, backward: float) -> sparse.csr_matrix:
    """Return c(i, j) = w(i, j) / sqrt((1 + W_i)(1 + W_j)) of all items, W the row sums of w.

    Two items d <= window places apart in a sequence add 1 / d to w(earlier, later) and backward / d to
    w(later, earlier).

    Args:
        sequences: the training part alone, items as rows 0 .. N-1.
        n_items: N.
        window: places apart at most, at least 1.
        backward: weight of the backward direction, 1 for a symmetric count.

    Returns:
        Sparse float64 [N, N].
    """
    ends = np.repeat(sequences.offsets[1:], sequences.lengths())
    place = np.arange(len(sequences.items))
    rows, columns, weights = [], [], []
    for distance in range(1, window + 1):
        first = place[place + distance < ends]
        before, after = sequences.items[first], sequences.items[first + distance]
        rows += [before, after]
        columns += [after, before]
        weights += [np.full(len(first), 1 / distance), np.full(len(first), backward / distance)]
    counted = sparse.coo_matrix(
        (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))), shape=(n_items, n_items)
    ).tocsr()
    scale = sparse.diags(1 / np.sqrt(1 + np.asarray(counted.sum(axis=1)).ravel()))
    return (scale @ counted @ scale).tocsr()


def history_weights(histories: Sequence[Sequence[int]], n_items: int, decay: float) -> sparse.csr_matrix:
    """Return the weight of each item in each history: decay^age, the newest item with age 0, summed over repeats.

    Args:
        histories: item rows of B users, oldest first.
        n_items: N.
        decay: in (0, 1].

    Returns:
        Sparse float64 [B, N].
    """
    rows = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    columns = np.concatenate([np.asarray(history, dtype=np.int64)[::-1] for history in histories])
    ages = np.concatenate([np.arange(len(history)) for history in histories])
    return sparse.coo_matrix((decay**ages, (rows, columns)), shape=(len(histories), n_items)).tocsr()
