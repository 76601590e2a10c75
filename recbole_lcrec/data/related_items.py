"""Related items: the nearest of each item by co-visitation and texts, and how likely each is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

__all__ = ["RelatedItems", "related_items"]

_BLOCK_VALUES = 1 << 24
"""Values of the similarity matrix that are held at once."""


@dataclass(frozen=True)
class RelatedItems:
    """For each of N items its nearest items.

    Attributes:
        items: int64 [T], rows of the nearest items, item after item, from near to far.
        shares: float64 [T], cumulative probability of being drawn; the last of an item is 1.
        offsets: int64 [N + 1]; item i's nearest are ``items[offsets[i] : offsets[i + 1]]``.
    """

    items: np.ndarray
    shares: np.ndarray
    offsets: np.ndarray

    @cached_property
    def rows(self) -> np.ndarray:
        """The items that have related items, int64, ascending."""
        return np.flatnonzero(np.diff(self.offsets))

    def draw(self, row: int, number: float) -> int:
        """Return a related item.

        Args:
            row: an item of :attr:`rows`.
            number: uniform in [0, 1).
        """
        start, end = self.offsets[row], self.offsets[row + 1]
        return int(self.items[start + np.searchsorted(self.shares[start:end], number, side="right")])


def related_items(
    covisits: sparse.csr_matrix | None,
    vectors: sparse.csr_matrix | None,
    text_weight: float,
    nearest: int,
    sharpness: float,
) -> RelatedItems:
    """Return the items nearest to each item by r(i, j) = c(i, j) + text_weight * cos(i, j).

    An item is not related to itself, nor to items with r = 0. Of equals the lower row is nearer.

    Args:
        covisits: c [N, N], see :func:`~recbole_lcrec.data.covisitation.covisitation`; None: texts alone.
        vectors: [N, F] of unit length, see :func:`~recbole_lcrec.data.text_similarity.tfidf_vectors`; None:
            co-visitation alone.
        text_weight: weight of the cosine beside co-visitation; without ``covisits`` it does not matter.
        nearest: number of items kept for each item.
        sharpness: item j is drawn for i in proportion to r(i, j) ** sharpness.

    Raises:
        ValueError: neither counts nor vectors are given.
    """
    parts = [part for part in (covisits, vectors) if part is not None]
    if not parts:
        raise ValueError("related items need co-visitation, texts or both; give one of them")
    count = int(parts[0].shape[0])
    weight = text_weight if covisits is not None else 1.0
    block = max(_BLOCK_VALUES // count, 1)
    items, shares, sizes = [], [], []
    for start in range(0, count, block):
        rows = np.arange(start, min(start + block, count))
        relation = np.zeros((len(rows), count))
        if covisits is not None:
            relation += covisits[rows].toarray()
        if vectors is not None and weight:
            relation += weight * (vectors[rows] @ vectors.T).toarray()
        relation[np.arange(len(rows)), rows] = 0
        kept = min(nearest, count)
        least = -np.partition(-relation, kept - 1, axis=1)[:, kept - 1 : kept]
        row, column = np.nonzero((relation >= least) & (relation > 0))
        order = np.lexsort((column, -relation[row, column], row))  # of equals the lower row is nearer
        row, column = row[order], column[order]
        place = np.arange(len(row)) - np.searchsorted(row, row)
        row, column, place = (each[place < nearest] for each in (row, column, place))
        values = np.zeros((len(rows), kept))
        values[row, place] = relation[row, column]
        drawn = np.where(values > 0, (values / np.maximum(values[:, :1], 1e-300)) ** sharpness, 0.0).cumsum(axis=1)
        items.append(column)
        shares.append((drawn / np.maximum(drawn[:, -1:], 1e-300))[row, place])
        sizes.append(np.bincount(row, minlength=len(rows)))
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.int64)
    return RelatedItems(np.concatenate(items), np.concatenate(shares), offsets)
