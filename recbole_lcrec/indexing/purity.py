"""Prefix purity: whether items that share a prefix of their index share a label.

A label is, for example, a genre or a brand.

Labels that are not part of the encoded texts give an independent test: where prefixes are meaningful, purity is above
chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pandas as pd
from scipy import sparse

from recbole_lcrec.indexing.prefix_tree import prefix_ids

__all__ = ["PrefixPurity", "prefix_purity"]


@dataclass(frozen=True)
class PrefixPurity:
    """The purity of all prefixes of one depth.

    Attributes:
        depth: number of codes in the prefix, from 1 to H.
        prefixes: number of prefixes that at least two labelled items share; only these count.
        items: number of labelled items under those prefixes.
        labelled: number of labelled items in all; those that are not in ``items`` are alone under their prefix.
        purity: share of ``items`` that have the most common label of their prefix, in [0, 1]; None where ``items`` is
            0.
        chance: ``purity`` when the labels are permuted among the labelled items; None where ``items`` is 0. Small
            groups are pure by chance (two items with one label each: at least one half), so purity must be compared
            with chance at the same depth, not with purity at another depth.
    """

    depth: int
    prefixes: int
    items: int
    labelled: int
    purity: float | None
    chance: float | None


def prefix_purity(
    codes: np.ndarray,
    labels: Sequence[frozenset[str]],
    seed: int | np.random.Generator = 0,
    permutations: int = 10,
) -> list[PrefixPurity]:
    """Measure purity per prefix depth, and its chance level in the same tree.

    The purity of a prefix is the share of its items that have its most common label; the mean over prefixes is weighted
    by their number of items. Time and memory grow linearly with the number of labels.

    Args:
        codes: integers ``[N, H]``.
        labels: N sets of labels, in row order; items with an empty set are left out.
        seed: seed of the permutations, or a generator.
        permutations: number of random permutations that ``chance`` is averaged over.

    Returns:
        H records, depth 1 first.

    Raises:
        ValueError: the codes have another shape, the number of label sets is not N, or ``permutations`` is below 1.
    """
    ids = prefix_ids(codes)
    if len(labels) != len(ids):
        raise ValueError(f"{len(labels)} sets of labels for {len(ids)} items; give one per row, empty where unknown")
    if permutations < 1:
        raise ValueError(f"permutations = {permutations} must be at least 1")
    labelled = np.flatnonzero([bool(of_item) for of_item in labels])
    one_hot = _one_hot([labels[row] for row in labelled])
    rng = np.random.default_rng(seed)
    return [_at_depth(depth + 1, ids[labelled, depth], one_hot, rng, permutations) for depth in range(ids.shape[1])]


def _one_hot(labels: Sequence[frozenset[str]]) -> sparse.csr_matrix:
    """Encode the labels of items as a sparse matrix of ones, int32 ``[items, distinct labels]``."""
    lengths = np.fromiter(map(len, labels), dtype=np.int64, count=len(labels))
    flat = np.array(list(chain.from_iterable(labels)), dtype=object)
    columns, names = pd.factorize(flat)
    rows = np.repeat(np.arange(len(labels)), lengths)
    ones = np.ones(len(rows), dtype=np.int32)
    return sparse.csr_matrix((ones, (rows, columns)), shape=(len(labels), len(names)))


def _at_depth(
    depth: int, prefixes: np.ndarray, one_hot: sparse.csr_matrix, rng: np.random.Generator, permutations: int
) -> PrefixPurity:
    sizes = np.bincount(prefixes)
    counted = np.flatnonzero(sizes[prefixes] > 1)
    if not len(counted):
        return PrefixPurity(depth, 0, 0, len(prefixes), None, None)
    _, groups = np.unique(prefixes[counted], return_inverse=True)
    ones = np.ones(len(counted), dtype=np.int32)
    members = sparse.csr_matrix((ones, (groups.reshape(-1), np.arange(len(counted)))))
    purity = _purity(members, one_hot[counted])
    shuffled = (_purity(members, one_hot[rng.permutation(len(prefixes))[counted]]) for _ in range(permutations))
    chance = float(np.mean(list(shuffled)))
    return PrefixPurity(depth, members.shape[0], len(counted), len(prefixes), purity, chance)


def _purity(members: sparse.csr_matrix, one_hot: sparse.csr_matrix) -> float:
    """Share of items with the most common label of their group; ``members`` is ``[groups, items]``."""
    return float((members @ one_hot).max(axis=1).sum() / members.shape[1])
