"""Leave-one-out split by position, and statistics of a split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

__all__ = ["RowGroups", "SplitStatistics", "leave_out_last", "split_statistics"]


@dataclass(frozen=True)
class RowGroups:
    """Rows grouped by a key; keys in order of first appearance, rows in their original order.

    Iterating gives each group's rows as a list.

    Attributes:
        rows: int64 [R], row numbers, group after group.
        offsets: int64 [G + 1]; group g's rows are ``rows[offsets[g] : offsets[g + 1]]``.
    """

    rows: np.ndarray
    offsets: np.ndarray

    @classmethod
    def by(cls, keys: np.ndarray) -> RowGroups:
        """Group the rows 0 .. R-1 by their keys.

        Args:
            keys: [R], of any hashable type.
        """
        codes, unique = pd.factorize(keys)
        counts = np.bincount(codes, minlength=len(unique))
        return cls(np.argsort(codes, kind="stable"), np.r_[0, np.cumsum(counts)].astype(np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[list[int]]:
        return (part.tolist() for part in np.split(self.rows, self.offsets[1:-1])) if len(self) else iter(())


def leave_out_last(groups: RowGroups, n_parts: int, spared: int) -> list[np.ndarray]:
    """Split each group by position: the last row goes to the last part, the one before to the part before, and so on.

    A group that is too short for all parts has no row in the earlier ones.

    Args:
        groups: rows of each user in time order.
        n_parts: number of held-out parts, each of which takes one row per group.
        spared: number of rows of each group that are never held out.

    Returns:
        int64 row numbers of the ``1 + n_parts`` parts; the first takes what is not held out.
    """
    counts = np.diff(groups.offsets)
    held = np.clip(counts - spared, 0, n_parts)
    from_end = np.repeat(groups.offsets[1:], counts) - np.arange(len(groups.rows))
    parts = [groups.rows[from_end > np.repeat(held, counts)]]
    for place in range(n_parts, 0, -1):
        reached = held >= place
        parts.append(groups.rows[groups.offsets[1:][reached] - place])
    return parts


@dataclass(frozen=True)
class SplitStatistics:
    """Statistics of a split.

    Attributes:
        lengths: int64 [U], interactions of each user.
        rows: part -> number of rows.
        users: part -> number of users with a row in it.
        histories: int64 [R], length of each training row's history; None if rows have no histories.
        width: maximum history length.
    """

    lengths: np.ndarray
    rows: Mapping[str, int]
    users: Mapping[str, int]
    histories: np.ndarray | None
    width: int

    def in_words(self) -> str:
        """Return one paragraph for the log."""
        total = len(self.lengths)
        parts = "; ".join(f"{part} {self.rows[part]:,} rows of {self.users[part]:,} users" for part in self.rows)
        short = [
            f"{total - self.users[part]:,} users not in {part}"
            for part in ("validation", "test")
            if self.rows.get(part) and self.users[part] < total
        ]
        text = (
            f"Split: {total:,} users, {int(self.lengths.sum()):,} interactions ({_spread(self.lengths)} per user); "
            f"{parts}; {', '.join(short) if short else 'no user is too short to be evaluated'}"
        )
        if self.histories is not None and len(self.histories):
            full = int((self.histories == self.width).sum())
            text += f"; training histories {_spread(self.histories)} items, {full:,} of maximum length"
        return text


def _spread(lengths: np.ndarray) -> str:
    return f"mean {lengths.mean():.1f}, median {np.median(lengths):g}, max {lengths.max():,}"


def split_statistics(
    lengths: np.ndarray, parts: Mapping[str, np.ndarray], histories: np.ndarray | None, width: int
) -> SplitStatistics:
    """Compute the statistics of a split.

    Args:
        lengths: int64 [U], interactions of each user before the split.
        parts: part -> int64 [rows], the user of each row.
        histories: int64 [R], length of each training row's history; None if rows have no histories.
        width: maximum history length.
    """
    rows = {part: len(users) for part, users in parts.items()}
    distinct = {part: int(np.count_nonzero(np.bincount(users))) for part, users in parts.items()}
    return SplitStatistics(lengths, rows, distinct, histories, width)
