"""Assignment of items to free leaves at the least total squared distance (Eq. 6).

Each item gets one leaf.

Exact wherever the whole problem fits one linear assignment; beyond that, exact assignments of a few hundred items at a
time. Deterministic.

The squared distance to a leaf is a sum of one term per level and one term that does not depend on the item, so the
distances to thousands of leaves cost little more than those to the codes of each level.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from scipy.optimize import linear_sum_assignment

from recbole_lcrec.indexing.leaf_tree import LeafTree, by_node, free_leaves

__all__ = ["LeafAssignment"]

_REGION_LEAVES = 2**16  # most leaves of a region; leaves are enumerated only within regions and prefixes
_SCAN_CELLS = 2**20  # size of a distance matrix that is scanned once, so that it stays in the cache
_HELD_CELLS = 2**24  # size of a distance matrix that is kept for an assignment
_EXACT_STEPS = 2**26  # n * n * m, largest joint assignment of n items to m leaves
_WAVE = 256  # items per exact assignment where the joint one would take too long
_WIDE = 2**13  # items beyond which a node first distributes them among its children


class LeafAssignment:
    """Squared distances of latent vectors to leaves, and assignments that minimise them.

    Latents are read in chunks, in float64 and divided by a power of two, so that no square overflows.

    Args:
        tree: the leaves; all levels have K codes.
        latents: finite ``[N, d]``.
        codebooks: finite ``[H, K, d]``.

    Raises:
        ValueError: latents or codebooks hold NaN or infinity.
    """

    def __init__(self, tree: LeafTree, latents: np.ndarray, codebooks: np.ndarray) -> None:
        peak = max(_peak("latents", latents), _peak("codebooks", codebooks))
        self.exponent = math.frexp(peak)[1] - 1 if peak else 0
        self.tree = tree
        self._latents = latents
        self._codebooks = np.ldexp(codebooks.astype(np.float64), -self.exponent)
        self._cached_norms: dict[int, np.ndarray] = {}

    @staticmethod
    def region_depth(levels: int, size: int) -> int:
        """Return the depth of the highest nodes whose leaves can be enumerated."""
        return min(levels - 1, next(depth for depth in range(levels + 1) if size ** (levels - depth) <= _REGION_LEAVES))

    @functools.cached_property
    def region(self) -> int:
        """Depth of the tree's regions."""
        return self.region_depth(len(self.tree.sizes), self.tree.sizes[0])

    def squared_error(self, rows: np.ndarray, leaves: np.ndarray) -> np.ndarray:
        """Squared distance ``[n]`` of each row's latent vector to its leaf, in units of ``4 ** exponent``."""
        error = np.empty(len(rows))
        for start in range(0, len(rows), _WIDE):
            part = slice(start, start + _WIDE)
            residual = self._scaled(rows[part])
            for level, codes in enumerate(self.tree.codes(leaves[part]).T):
                residual -= self._codebooks[level, codes]
            error[part] = (residual**2).sum(axis=1)
        return error

    def settle(self, rows: np.ndarray, homes: np.ndarray, depth: int, node: int, taken: np.ndarray) -> np.ndarray:
        """Assign the items of a node to free leaves below it, -1 for items that do not fit.

        An item leaves its own prefix only if other items fill it. A prefix inside a region assigns all of its items, or
        none where they outnumber its free leaves: the region then assigns them together with the items of its other
        overfull prefixes, so it must be called with items of overfull prefixes alone.

        Args:
            rows: ``[n]``.
            homes: ``[n]``, the number of each item's prefix.
            depth: depth of the node.
            node: number of the node.
            taken: leaves of other items, ascending.

        Returns:
            int64 ``[n]``.
        """
        span = self.tree.span(depth)
        start = node * span
        targets = np.full(len(rows), -1, dtype=np.int64)
        if depth < self.region:
            room = span - int(np.subtract(*np.searchsorted(taken, [start + span, start])))
            targets[:room] = self._spread(rows[:room], depth, start, taken)
            return targets
        free = free_leaves(taken, start, span, span)
        if depth > self.region and len(rows) > len(free):
            return targets
        if len(rows) <= len(free) and len(rows) ** 2 * len(free) <= _EXACT_STEPS:
            return self._jointly(rows, homes, depth, start, free)
        if depth == len(self.tree.sizes) - 1 and len(rows) <= len(free):
            return self._nearest(rows, depth, start, free)
        crowded = np.isin(free // self.tree.sizes[-1], homes)
        inside, outside = free[crowded], free[~crowded]
        elsewhere, candidates = self._survey(rows, depth, start, outside, 4 * len(rows))
        for home, members in by_node(np.arange(len(rows)), homes):
            chosen = inside[slice(*np.searchsorted(inside // self.tree.sizes[-1], [home, home + 1]))]
            kept, leaves = self._keep(rows[members], home, chosen, elsewhere[members])
            targets[members[kept]] = leaves
        left = np.flatnonzero(targets < 0)[: len(outside)]
        if len(rows) > _WIDE:
            held = np.setdiff1d(np.arange(start, start + span), outside, assume_unique=True)
            targets[left] = self._spread(rows[left], depth, start, held)
        else:
            targets[left] = self._in_waves(rows[left], depth, start, candidates)
        return targets

    def _jointly(self, rows: np.ndarray, homes: np.ndarray, depth: int, start: int, free: np.ndarray) -> np.ndarray:
        """Assign rows to free leaves jointly, keeping as many items as possible in their own prefix."""
        cost = self._distances(self._residuals(rows, depth, start), depth, free - start)
        at_home = homes[:, None] == free // self.tree.sizes[-1]
        if not at_home.all():
            cost[at_home] -= (len(rows) + 1) * (float(np.ptp(cost)) or 1.0)
        return free[linear_sum_assignment(cost)[1]]

    def _nearest(self, rows: np.ndarray, depth: int, start: int, free: np.ndarray) -> np.ndarray:
        """Assign rows to distinct free leaves, at least as many as rows; optimal in a prefix of moderate size."""
        if depth == len(self.tree.sizes) - 1 and len(rows) * len(free) <= _HELD_CELLS:
            cost = self._distances(self._residuals(rows, depth, start), depth, free - start)
            return free[linear_sum_assignment(cost)[1]]
        return self._in_waves(rows, depth, start, self._survey(rows, depth, start, free, 4 * len(rows))[1])

    def _keep(
        self, rows: np.ndarray, home: int, free: np.ndarray, elsewhere: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fill a prefix with the rows that would lose most elsewhere; return their positions and their leaves."""
        depth, start = len(self.tree.sizes) - 1, home * self.tree.sizes[-1]
        if len(free) > _WIDE:
            return np.arange(len(free)), self._nearest(rows[: len(free)], depth, start, free)
        rows, elsewhere = rows[:_WIDE], elsewhere[:_WIDE]
        cost = self._distances(self._residuals(rows, depth, start), depth, free - start) - elsewhere[:, None]
        kept, columns = linear_sum_assignment(cost)
        return kept, free[columns]

    def _survey(
        self, rows: np.ndarray, depth: int, start: int, free: np.ndarray, limit: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return each row's squared distance to its nearest free leaf, and the most promising free leaves.

        Those are the ``limit`` leaves with the least excess over some row's nearest distance. With more than ``_WIDE``
        rows nothing is measured, and all free leaves are returned.
        """
        nearest = np.zeros(len(rows))
        if len(rows) > _WIDE or not len(free):
            return nearest, free
        span = self.tree.span(depth)
        extra, closed = np.full(span, np.inf), np.full(span, np.inf)
        closed[free - start] = 0
        step = max(1, _SCAN_CELLS // span)
        for first in range(0, len(rows), step):
            part = slice(first, first + step)
            cost = self._all_distances(self._residuals(rows[part], depth, start), depth)
            cost += closed
            nearest[part] = cost.min(axis=1)
            cost -= nearest[part, None]
            np.minimum(extra, cost.min(axis=0), out=extra)
        extra = extra[free - start]
        return nearest, free[np.sort(np.argsort(extra, kind="stable")[:limit])]

    def _in_waves(self, rows: np.ndarray, depth: int, start: int, free: np.ndarray) -> np.ndarray:
        """Assign ``_WAVE`` rows at a time, exactly, to the best twice as many free leaves."""
        targets = np.empty(len(rows), dtype=np.int64)
        step = min(_WAVE, max(1, _HELD_CELLS // max(1, len(free))))
        for first in range(0, len(rows), step):
            part = slice(first, first + step)
            cost = self._distances(self._residuals(rows[part], depth, start), depth, free - start)
            extra = (cost - cost.min(axis=1, keepdims=True)).min(axis=0)
            likely = np.sort(np.argsort(extra, kind="stable")[: 2 * len(cost)])
            chosen = likely[linear_sum_assignment(cost[:, likely])[1]]
            targets[part] = free[chosen]
            free = np.delete(free, chosen)
        return targets

    def _spread(self, rows: np.ndarray, depth: int, start: int, taken: np.ndarray) -> np.ndarray:
        """Distribute rows among the children of a node by distance and room, then among their children, and so on."""
        span = self.tree.span(depth + 1)
        edges = start + span * np.arange(self.tree.sizes[depth] + 1)
        room = span - np.diff(np.searchsorted(taken, edges))
        choice = np.empty(len(rows), dtype=np.int64)
        for first in range(0, len(rows), _WIDE):
            part = slice(first, first + _WIDE)
            residual = self._residuals(rows[part], depth, start)
            choice[part] = _distributed(_squared(residual, self._codebooks[depth]), room)
            room = room - np.bincount(choice[part], minlength=len(room))
        targets = np.empty(len(rows), dtype=np.int64)
        for child, members in by_node(np.arange(len(rows)), choice):
            listed = depth + 1 == len(self.tree.sizes) - 1 or (depth + 1 >= self.region and len(members) <= _WIDE)
            if listed:
                free = free_leaves(taken, int(edges[child]), span, span)
                targets[members] = self._nearest(rows[members], depth + 1, int(edges[child]), free)
            else:
                targets[members] = self._spread(rows[members], depth + 1, int(edges[child]), taken)
        return targets

    def _scaled(self, rows: np.ndarray) -> np.ndarray:
        return np.ldexp(self._latents[rows].astype(np.float64), -self.exponent)

    def _residuals(self, rows: np.ndarray, depth: int, start: int) -> np.ndarray:
        """Latents ``[n, d]`` minus the vectors of the codes that lead to a node."""
        above = self.tree.codes(np.array([start]))[0, :depth]
        return self._scaled(rows) - self._codebooks[np.arange(depth), above].sum(axis=0)

    def _distances(self, residuals: np.ndarray, depth: int, offsets: np.ndarray) -> np.ndarray:
        """Squared distances ``[n, m]`` to leaves of a node, given as offsets from its first leaf."""
        cost = (residuals**2).sum(axis=1)[:, None] + self._norms(depth)[offsets]
        for level in range(len(self._codebooks) - 1, depth - 1, -1):
            offsets, codes = np.divmod(offsets, self.tree.sizes[level])
            cost += (-2 * residuals @ self._codebooks[level].T)[:, codes]
        return cost

    def _all_distances(self, residuals: np.ndarray, depth: int) -> np.ndarray:
        """Squared distances to every leaf of a node; much faster than :meth:`_distances` leaf by leaf."""
        cost = (residuals**2).sum(axis=1)[:, None]
        for codebook in self._codebooks[depth:]:
            cost = (cost[:, :, None] - (2 * residuals @ codebook.T)[:, None, :]).reshape(len(residuals), -1)
        cost += self._norms(depth)
        return cost

    def _norms(self, depth: int) -> np.ndarray:
        """Squared norm of the sum of code vectors from this depth on, for every leaf of a node."""
        if depth not in self._cached_norms:
            self._cached_norms[depth] = _squared_norms(self._codebooks[depth:])
        return self._cached_norms[depth]


def _distributed(cost: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Choose a column ``[n]`` for each row of cost ``[n, K]`` within the columns' room, which suffices for all rows.

    Each row bids for its cheapest column with room. An oversubscribed column takes the rows that would lose most by
    their second choice; the others bid again.
    """
    room, choice, bidding = room.copy(), np.empty(len(cost), dtype=np.int64), np.arange(len(cost))
    while len(bidding):
        open_cost = np.where(room > 0, cost[bidding], np.inf)
        cheapest = open_cost.argmin(axis=1)
        if (room > 0).sum() > 1:
            best_two = np.partition(open_cost, 1, axis=1)
            order = np.argsort(best_two[:, 0] - best_two[:, 1], kind="stable")
        else:
            order = np.arange(len(bidding))
        accepted = []
        for column, positions in by_node(order, cheapest[order]):
            accepted.append(positions[: room[column]])
            choice[bidding[accepted[-1]]] = column
            room[column] -= len(accepted[-1])
        bidding = np.delete(bidding, np.concatenate(accepted))
    return choice


def _squared(vectors: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """Squared distances ``[n, K]`` of vectors to codes."""
    return (vectors**2).sum(axis=1)[:, None] - 2 * vectors @ codebook.T + (codebook**2).sum(axis=1)


def _squared_norms(codebooks: np.ndarray) -> np.ndarray:
    """Squared norms of all sums of one vector per codebook ``[L, K, d]``; the last codebook varies fastest."""
    count, size, _ = codebooks.shape
    codes = np.unravel_index(np.arange(size**count), (size,) * count)
    total = np.zeros(size**count)
    for level in range(count):
        total += (codebooks[level] ** 2).sum(axis=1)[codes[level]]
        for above in range(level):
            total += (2 * codebooks[above] @ codebooks[level].T)[codes[above], codes[level]]
    return total


def _peak(name: str, vectors: np.ndarray) -> float:
    """Largest absolute value."""
    if not vectors.size:
        return 0.0
    peak = max(abs(float(vectors.max())), abs(float(vectors.min())))
    if not math.isfinite(peak):
        raise ValueError(f"{name} hold NaN or infinity; check the embeddings and the training they come from")
    return peak
