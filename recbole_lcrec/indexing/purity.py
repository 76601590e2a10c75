"""Purity: whether items that share a prefix of their index also share a label, such as a genre or a brand.

Knows codes ``[N, H]`` and sets of labels. Refuses to know where labels come from and how codes were learned. A label
that no quantizer has seen is an outside witness: where the prefixes mean something, purity lies above chance.
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
        depth: codes in the prefix, from 1 to H.
        prefixes: prefixes that at least two labelled items share; only these count.
        items: labelled items under those prefixes.
        labelled: labelled items in all; those that are not in ``items`` are alone under their prefix.
        purity: share of ``items`` that carry the commonest label of their prefix, in [0, 1]; None when ``items`` is 0.
        chance: what ``purity`` is when the labels are dealt to the labelled items at random; None when ``items`` is 0.
            Small groups are pure by chance (of two items with one label each at least half), so purity is to be read
            against this number of the same depth, never against another depth.
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
    """Measures purity per prefix depth, and what chance gives in the same tree.

    A prefix's purity is the share of its items that carry the label which most of them carry; the mean over prefixes
    is weighted by their items. Time and memory grow linearly with the items' labels.

    Args:
        codes: integers ``[N, H]``.
        labels: N sets of labels, in row order; items with an empty set are left out.
        seed: of the permutations, or a generator.
        permutations: how many random dealings ``chance`` is the mean of.

    Returns:
        H records, depth 1 first.

    Raises:
        ValueError: codes of another shape, labels of another number of items, or no permutation.
    """
    ids = prefix_ids(codes)
    if len(labels) != len(ids):
        raise ValueError(f"{len(labels)} sets of labels for {len(ids)} items; give one per row, empty where unknown")
    if permutations < 1:
        raise ValueError(f"permutations = {permutations} must be at least 1")
    labelled = np.flatnonzero([bool(of_item) for of_item in labels])
    carried = _one_hot([labels[row] for row in labelled])
    rng = np.random.default_rng(seed)
    return [_at_depth(depth + 1, ids[labelled, depth], carried, rng, permutations) for depth in range(ids.shape[1])]


def _one_hot(labels: Sequence[frozenset[str]]) -> sparse.csr_matrix:
    """Which item carries which label, int32 ``[items, distinct labels]``."""
    lengths = np.fromiter(map(len, labels), dtype=np.int64, count=len(labels))
    flat = np.array(list(chain.from_iterable(labels)), dtype=object)
    columns, names = pd.factorize(flat)
    rows = np.repeat(np.arange(len(labels)), lengths)
    ones = np.ones(len(rows), dtype=np.int32)
    return sparse.csr_matrix((ones, (rows, columns)), shape=(len(labels), len(names)))


def _at_depth(
    depth: int, prefixes: np.ndarray, carried: sparse.csr_matrix, rng: np.random.Generator, permutations: int
) -> PrefixPurity:
    sizes = np.bincount(prefixes)
    counted = np.flatnonzero(sizes[prefixes] > 1)
    if not len(counted):
        return PrefixPurity(depth, 0, 0, len(prefixes), None, None)
    _, groups = np.unique(prefixes[counted], return_inverse=True)
    ones = np.ones(len(counted), dtype=np.int32)
    members = sparse.csr_matrix((ones, (groups.reshape(-1), np.arange(len(counted)))))
    purity = _purity(members, carried[counted])
    shuffled = (_purity(members, carried[rng.permutation(len(prefixes))[counted]]) for _ in range(permutations))
    chance = float(np.mean(list(shuffled)))
    return PrefixPurity(depth, members.shape[0], len(counted), len(prefixes), purity, chance)


def _purity(members: sparse.csr_matrix, carried: sparse.csr_matrix) -> float:
    """Share of items with their group's commonest label; ``members`` is ``[groups, items]``."""
    return float((members @ carried).max(axis=1).sum() / members.shape[1])
