"""Users' item sequences as flat arrays, and the index arithmetic on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

__all__ = ["UserSequences", "exact_time_ranks", "training_sequences"]


@dataclass(frozen=True)
class UserSequences:
    """Item sequences of all users in time order, concatenated.

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
        """Return int64 [U]: number of items of each user."""
        return np.diff(self.offsets)

    def of(self, position: int) -> np.ndarray:
        """Return int64 [n]: the items of the user at this position."""
        return self.items[self.offsets[position] : self.offsets[position + 1]]


def exact_time_ranks(times: np.ndarray, users: np.ndarray, file_order: np.ndarray) -> np.ndarray:
    """Return each event's position in its user's history, counted from 0.

    RecBole stores times as float32, which cannot distinguish seconds of present-day epoch times. Positions within a
    user are small integers, exact in float32 for histories of up to 16.7 million events.

    Args:
        times: float64 or int64 [T], any unit.
        users: [T], user of each event, any sortable type.
        file_order: int64 [T], line of each event; breaks ties between equal times.

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
    """Join RecBole's augmented rows (history | target) of the training split into one sequence per user.

    Args:
        users: int64 [R], user of each row, rows of a user in time order.
        targets: int64 [R], item id of each row's target (1 .. N).
        lengths: int64 [R], length of each row's history.
        first: int64 [R], item id of the oldest item in each row's history.

    Returns:
        Sequences of item rows (id - 1): the first row's history, then every row's target.

    Raises:
        RuntimeError: the history of a user's first row has more than one item, so the start of the sequence is lost.
    """
    order = np.argsort(users, kind="stable")
    users, targets, lengths, first = users[order], targets[order], lengths[order], first[order]
    unique, starts, counts = np.unique(users, return_index=True, return_counts=True)
    if len(starts) and (lengths[starts] != 1).any():
        raise RuntimeError(
            "a user's first training row must have a history of one item; the split must keep time order"
        )
    offsets = np.r_[0, np.cumsum(counts + 1)].astype(np.int64)
    items = np.empty(int(offsets[-1]), dtype=np.int64)
    items[offsets[:-1]] = first[starts]
    is_target = np.ones(len(items), dtype=bool)
    is_target[offsets[:-1]] = False
    items[is_target] = targets
    return UserSequences(unique.astype(np.int64), items - 1, offsets)
