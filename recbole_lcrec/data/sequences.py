"""Users' item sequences as two arrays, and the index arithmetic on them.

Knows rows of items and positions. Refuses to know files, texts, indices and models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

__all__ = ["UserSequences", "exact_time_ranks", "training_sequences"]


@dataclass(frozen=True)
class UserSequences:
    """Every user's items in time order, one after another.

    Attributes:
        users: int64 [U], user ids, ascending.
        items: int64 [T], item rows (0 .. N-1), user after user.
        offsets: int64 [U + 1]; user u's items are ``items[offsets[u] : offsets[u + 1]]``.
    """

    users: np.ndarray
    items: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.users)

    def lengths(self) -> np.ndarray:
        """int64 [U]: how many items each user has."""
        return np.diff(self.offsets)

    def of(self, position: int) -> np.ndarray:
        """int64 [n]: the items of the user at this position."""
        return self.items[self.offsets[position] : self.offsets[position + 1]]


def exact_time_ranks(times: np.ndarray, users: np.ndarray, file_order: np.ndarray) -> np.ndarray:
    """Each event's place in its user's history, counted from 0.

    RecBole holds times as float32, which cannot tell seconds of today's epoch apart. Places within a user are small
    integers, exact in float32 for histories of up to 16.7 million events.

    Args:
        times: float64 or int64 [T], any unit.
        users: [T], user of each event, any type that sorts.
        file_order: int64 [T], line of each event; decides between equal times.

    Returns:
        float64 [T] of whole numbers.

    Raises:
        ValueError: a time is missing.
    """
    missing = np.isnan(times)
    if missing.any():
        raise ValueError(
            f"{int(missing.sum())} interactions have no time (the first on line {int(file_order[missing].min()) + 2}); "
            "every row of the .inter file needs one"
        )
    codes = pd.factorize(users)[0]
    order = np.lexsort((file_order, times, codes))
    starts = np.r_[True, codes[order][1:] != codes[order][:-1]]
    first = np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))
    ranks = np.empty(len(order), dtype=np.float64)
    ranks[order] = np.arange(len(order)) - first
    return ranks


def training_sequences(users: np.ndarray, targets: np.ndarray, lengths: np.ndarray, first: np.ndarray) -> UserSequences:
    """Joins RecBole's augmented rows (history | target) of the training split back into one sequence per user.

    Args:
        users: int64 [R], user of each row, rows of a user in time order.
        targets: int64 [R], item id of each row's target (1 .. N).
        lengths: int64 [R], length of each row's history.
        first: int64 [R], item id of the oldest item in each row's history.

    Returns:
        Sequences of item rows (id - 1): the first row's history, then every row's target.

    Raises:
        RuntimeError: a user's first row has a longer history than one item, so the start of the sequence is lost.
    """
    order = np.argsort(users, kind="stable")
    users, targets, lengths, first = users[order], targets[order], lengths[order], first[order]
    unique, starts, counts = np.unique(users, return_index=True, return_counts=True)
    if len(starts) and (lengths[starts] != 1).any():
        raise RuntimeError("training rows do not begin with a history of one item; the split must keep time order")
    offsets = np.r_[0, np.cumsum(counts + 1)].astype(np.int64)
    items = np.empty(int(offsets[-1]), dtype=np.int64)
    items[offsets[:-1]] = first[starts]
    is_target = np.ones(len(items), dtype=bool)
    is_target[offsets[:-1]] = False
    items[is_target] = targets
    return UserSequences(unique.astype(np.int64), items - 1, offsets)
