"""The tree of all indices: a leaf is an index, an inner node a sequence of first codes.

Leaves are numbered so that those below a node are consecutive.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["LeafTree", "by_node", "free_leaves", "number_leaves", "sharing", "with_taken"]


@dataclass(frozen=True, eq=False)
class LeafTree:
    """Leaf numbers that fit int64 for any number of levels and codes.

    The depth of a node is its number of codes: 0 for the root, H - 1 for a prefix, H for a leaf. Nodes above depth
    ``trunk`` get no numbers: a node at that depth has enough leaves for all items, so none needs to leave it.

    Attributes:
        sizes: H numbers, the codes of each level.
        trunk: depth of the highest nodes that have numbers.
        stems: int64 ``[S, trunk]``, the codes of those nodes.
    """

    sizes: tuple[int, ...]
    trunk: int
    stems: np.ndarray

    def span(self, depth: int) -> int:
        """Number of leaves below a node of this depth."""
        return math.prod(self.sizes[depth:])

    def codes(self, leaves: np.ndarray) -> np.ndarray:
        """Return the codes int64 ``[n, H]`` of leaves ``[n]``."""
        columns = []
        for size in reversed(self.sizes[self.trunk :]):
            leaves, code = np.divmod(leaves, size)
            columns.append(code)
        return np.concatenate([self.stems[leaves], *(column[:, None] for column in reversed(columns))], axis=1)


def number_leaves(
    codes: np.ndarray, occupied: np.ndarray, sizes: Sequence[int], highest_trunk: int
) -> tuple[LeafTree, np.ndarray, np.ndarray]:
    """Build the tree, and number the leaves of the items in it.

    Args:
        codes: int64 ``[N, H]``.
        occupied: int64 ``[E, H]``.
        sizes: H numbers, the codes of each level; their product is at least N + E.
        highest_trunk: largest depth that the trunk may have.

    Returns:
        The tree, and the leaves int64 ``[N]`` and ``[E]``.
    """
    sizes, rows = tuple(sizes), np.concatenate([codes, occupied])
    roomy = (depth for depth in range(len(sizes), -1, -1) if math.prod(sizes[depth:]) >= len(rows))
    trunk = min(next(roomy), highest_trunk)
    numbers, stems = np.zeros(len(rows), dtype=np.int64), rows[:1, :trunk]
    for level in range(trunk):
        _, first, numbers = np.unique(numbers * sizes[level] + rows[:, level], return_index=True, return_inverse=True)
        numbers, stems = numbers.reshape(-1), rows[first, :trunk]
    for level in range(trunk, len(sizes)):
        numbers = numbers * sizes[level] + rows[:, level]
    return LeafTree(sizes, trunk, stems), numbers[: len(codes)], numbers[len(codes) :]


def sharing(leaves: np.ndarray, taken: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the rows that share a leaf, and the first row of each shared leaf, which may keep it.

    Args:
        leaves: int64 ``[N]``.
        taken: int64 ``[E]``, leaves of existing items.

    Returns:
        Two masks bool ``[N]``.
    """
    _, first, inverse, counts = np.unique(leaves, return_index=True, return_inverse=True, return_counts=True)
    held = np.isin(leaves, taken)
    first_there = np.zeros(len(leaves), dtype=bool)
    first_there[first] = True
    shared = (counts[inverse.reshape(-1)] > 1) | held
    return shared, shared & first_there & ~held


def by_node(rows: np.ndarray, nodes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the nodes in ascending order, each with its rows in the given order."""
    order = np.argsort(nodes, kind="stable")
    edges = np.append(np.flatnonzero(np.diff(nodes[order], prepend=-1)), len(rows))
    for start, stop in itertools.pairwise(edges):
        yield int(nodes[order[start]]), rows[order[start:stop]]


def free_leaves(taken: np.ndarray, start: int, span: int, limit: int) -> np.ndarray:
    """Return the first free leaves below a node, in O(limit + taken leaves below it).

    Args:
        taken: int64, ascending.
        start: first leaf below the node.
        span: number of leaves below it.
        limit: maximum number of leaves to return.
    """
    inside = taken[np.searchsorted(taken, start) : np.searchsorted(taken, start + span)] - start
    free = np.ones(min(span, limit + len(inside)), dtype=bool)
    free[inside[: np.searchsorted(inside, len(free))]] = False
    return start + np.flatnonzero(free)[:limit]


def with_taken(taken: np.ndarray, more: np.ndarray) -> np.ndarray:
    """Merge two sets of leaves in ascending order."""
    return np.sort(np.concatenate([taken, more]), kind="stable")
