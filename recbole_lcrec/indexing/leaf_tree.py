"""The tree of all indices: every item index is a leaf, every run of first codes a node.

Knows how to number leaves so that the leaves below a node are consecutive, which leaves are free and which items share
one. Refuses to know distances, and who should get which leaf.
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
    """Leaves as whole numbers that fit int64, however many codes there are.

    Depth t counts the codes of a node: 0 is the root, H - 1 a prefix, H a leaf. Nodes above depth ``trunk`` are never
    told apart by number: no item needs to leave its node of that depth, because so many leaves are below it.

    Attributes:
        sizes: codes per level, H of them.
        trunk: depth of the highest nodes that have numbers.
        stems: int64 ``[S, trunk]``, the codes of those nodes.
    """

    sizes: tuple[int, ...]
    trunk: int
    stems: np.ndarray

    def span(self, depth: int) -> int:
        """Leaves below a node of this depth."""
        return math.prod(self.sizes[depth:])

    def codes(self, leaves: np.ndarray) -> np.ndarray:
        """Codes int64 ``[n, H]`` of leaves ``[n]``."""
        columns = []
        for size in reversed(self.sizes[self.trunk :]):
            leaves, code = np.divmod(leaves, size)
            columns.append(code)
        return np.concatenate([self.stems[leaves], *(column[:, None] for column in reversed(columns))], axis=1)


def number_leaves(
    codes: np.ndarray, occupied: np.ndarray, sizes: Sequence[int], highest_trunk: int
) -> tuple[LeafTree, np.ndarray, np.ndarray]:
    """The tree, and the leaves ``[N]`` and ``[E]`` of items in it.

    Args:
        codes: int64 ``[N, H]``.
        occupied: int64 ``[E, H]``.
        sizes: codes per level; N + E of them fit in their product.
        highest_trunk: the trunk is at this depth or nearer to the root.
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
    """Which rows ``[N]`` do not have a leaf for themselves, and which of those could keep it for being the first there.

    Args:
        leaves: int64 ``[N]``.
        taken: int64 ``[E]``, leaves that others hold.
    """
    _, first, inverse, counts = np.unique(leaves, return_index=True, return_inverse=True, return_counts=True)
    held = np.isin(leaves, taken)
    foremost = np.zeros(len(leaves), dtype=bool)
    foremost[first] = True
    shared = (counts[inverse.reshape(-1)] > 1) | held
    return shared, shared & foremost & ~held


def by_node(rows: np.ndarray, nodes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Nodes in ascending order, each with its rows in the order given."""
    order = np.argsort(nodes, kind="stable")
    edges = np.append(np.flatnonzero(np.diff(nodes[order], prepend=-1)), len(rows))
    for start, stop in itertools.pairwise(edges):
        yield int(nodes[order[start]]), rows[order[start:stop]]


def free_leaves(taken: np.ndarray, start: int, span: int, limit: int) -> np.ndarray:
    """The first free leaves among ``span`` from ``start`` on, at most ``limit``, in O(limit + taken ones there).

    Args:
        taken: int64, ascending.
        start: the first leaf below a node.
        span: leaves below it.
        limit: how many are wanted.
    """
    inside = taken[np.searchsorted(taken, start) : np.searchsorted(taken, start + span)] - start
    free = np.ones(min(span, limit + len(inside)), dtype=bool)
    free[inside[: np.searchsorted(inside, len(free))]] = False
    return start + np.flatnonzero(free)[:limit]


def with_taken(taken: np.ndarray, more: np.ndarray) -> np.ndarray:
    """Both sets of leaves in ascending order."""
    return np.sort(np.concatenate([taken, more]), kind="stable")
