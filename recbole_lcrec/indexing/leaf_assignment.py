"""Who gets which leaf: items to free leaves at the least total squared distance (Eq. 6, one item per code).

Knows latent vectors, codebooks and a tree of leaves. Exact wherever the whole problem fits a linear assignment; beyond
that, exact assignments of some hundred items at a time. Refuses to know which items must move. Deterministic.

A squared distance to a leaf is a sum of one term per level and one that no item changes, so that thousands of leaves
cost as much as a few codes in d dimensions.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from scipy.optimize import linear_sum_assignment

from recbole_lcrec.indexing.leaf_tree import LeafTree, by_node, free_leaves

__all__ = ["LeafAssignment"]

_REGION_LEAVES = 2**16  # below the root of a region; leaves are listed one by one only in regions and prefixes
_CELLS = 2**20  # of a distance matrix that is only looked through, so that it stays in the cache
_HELD_CELLS = 2**24  # of one that is assigned by
_EXACT_STEPS = 2**26  # n n m, what a joint assignment of n items to m leaves may take
_WAVE = 256  # items of one exact assignment where the joint one would take too long
_WIDE = 2**13  # items beyond which a node's children share them out first


class LeafAssignment:
    """Squared distances of latent vectors to leaves, and assignments by them.

    Latents are read a group at a time, in float64 and divided by a power of two, so that no square overflows.

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
        """Depth of the highest nodes whose leaves can be listed."""
        return min(levels - 1, next(depth for depth in range(levels + 1) if size ** (levels - depth) <= _REGION_LEAVES))

    @functools.cached_property
    def region(self) -> int:
        """``region_depth`` of the tree."""
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
        """Leaves ``[n]`` below one node for items of it, -1 for those beyond its room.

        Free leaves of an item's own prefix come first: an item leaves its prefix only if others fill it. A prefix below
        a region settles all of its items or, where they are more than its free leaves, none: then the region settles
        those together with the items of its other overfull prefixes, which are the only ones it is to be given.

        Args:
            rows: ``[n]``.
            homes: ``[n]``, the number of each item's prefix.
            depth: of the node.
            node: its number.
            taken: ascending leaves that others hold.
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
        """The optimum over all free leaves among those that keep as many items as possible in their own prefix."""
        cost = self._distances(self._residuals(rows, depth, start), depth, free - start)
        at_home = homes[:, None] == free // self.tree.sizes[-1]
        if not at_home.all():
            cost[at_home] -= (len(rows) + 1) * (float(np.ptp(cost)) or 1.0)
        return free[linear_sum_assignment(cost)[1]]

    def _nearest(self, rows: np.ndarray, depth: int, start: int, free: np.ndarray) -> np.ndarray:
        """Distinct free leaves for rows that are no more than these; in one prefix of moderate size the optimum."""
        if depth == len(self.tree.sizes) - 1 and len(rows) * len(free) <= _HELD_CELLS:
            cost = self._distances(self._residuals(rows, depth, start), depth, free - start)
            return free[linear_sum_assignment(cost)[1]]
        return self._in_waves(rows, depth, start, self._survey(rows, depth, start, free, 4 * len(rows))[1])

    def _keep(
        self, rows: np.ndarray, home: int, free: np.ndarray, elsewhere: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fills a prefix with those of more rows that would lose most elsewhere: their positions, and their leaves."""
        depth, start = len(self.tree.sizes) - 1, home * self.tree.sizes[-1]
        if len(free) > _WIDE:
            return np.arange(len(free)), self._nearest(rows[: len(free)], depth, start, free)
        rows, elsewhere = rows[:_WIDE], elsewhere[:_WIDE]
        cost = self._distances(self._residuals(rows, depth, start), depth, free - start) - elsewhere[:, None]
        kept, columns = linear_sum_assignment(cost)
        return kept, free[columns]

    def _survey(
        self, rows: np.ndarray, depth: int, start: int, free: np.ndarray, wanted: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Each row's squared distance to its nearest free leaf, and the free leaves that are worth a closer look.

        Those are the ``wanted`` leaves that come nearest to being some row's nearest. More than ``_WIDE`` rows are not
        surveyed.
        """
        nearest = np.zeros(len(rows))
        if len(rows) > _WIDE or not len(free):
            return nearest, free
        span = self.tree.span(depth)
        extra, closed = np.full(span, np.inf), np.full(span, np.inf)
        closed[free - start] = 0
        step = max(1, _CELLS // span)
        for first in range(0, len(rows), step):
            part = slice(first, first + step)
            cost = self._all_distances(self._residuals(rows[part], depth, start), depth)
            cost += closed
            nearest[part] = cost.min(axis=1)
            cost -= nearest[part, None]
            np.minimum(extra, cost.min(axis=0), out=extra)
        extra = extra[free - start]
        return nearest, free[np.sort(np.argsort(extra, kind="stable")[:wanted])]

    def _in_waves(self, rows: np.ndarray, depth: int, start: int, free: np.ndarray) -> np.ndarray:
        """Exact assignments of ``_WAVE`` rows at a time, each to the twice as many leaves that suit its rows best."""
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
        """Shares rows out among the children of a node, nearest code first as far as there is room, and so on down."""
        span = self.tree.span(depth + 1)
        edges = start + span * np.arange(self.tree.sizes[depth] + 1)
        room = span - np.diff(np.searchsorted(taken, edges))
        choice = np.empty(len(rows), dtype=np.int64)
        for first in range(0, len(rows), _WIDE):
            part = slice(first, first + _WIDE)
            residual = self._residuals(rows[part], depth, start)
            choice[part] = _shared_out(_squared(residual, self._codebooks[depth]), room)
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
        """Latents ``[n, d]`` less the vectors of the codes that lead to a node."""
        above = self.tree.codes(np.array([start]))[0, :depth]
        return self._scaled(rows) - self._codebooks[np.arange(depth), above].sum(axis=0)

    def _distances(self, residuals: np.ndarray, depth: int, offsets: np.ndarray) -> np.ndarray:
        """Squared distances ``[n, m]`` to leaves of a node, which are counted from its first."""
        cost = (residuals**2).sum(axis=1)[:, None] + self._norms(depth)[offsets]
        for level in range(len(self._codebooks) - 1, depth - 1, -1):
            offsets, codes = np.divmod(offsets, self.tree.sizes[level])
            cost += (-2 * residuals @ self._codebooks[level].T)[:, codes]
        return cost

    def _all_distances(self, residuals: np.ndarray, depth: int) -> np.ndarray:
        """The same to every leaf of a node, many times as fast as one by one."""
        cost = (residuals**2).sum(axis=1)[:, None]
        for codebook in self._codebooks[depth:]:
            cost = (cost[:, :, None] - (2 * residuals @ codebook.T)[:, None, :]).reshape(len(residuals), -1)
        cost += self._norms(depth)
        return cost

    def _norms(self, depth: int) -> np.ndarray:
        """Squared norms of what the codes below a node of this depth add up to, leaf by leaf."""
        if depth not in self._cached_norms:
            self._cached_norms[depth] = _squared_norms(self._codebooks[depth:])
        return self._cached_norms[depth]


def _shared_out(cost: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Columns ``[n]`` for rows of cost ``[n, K]``, no more in a column than its room, which is enough in all.

    Each row asks for its cheapest column with room; a column that more ask for than fit takes those that would lose
    most by their second choice; the others ask again.
    """
    room, choice, asking = room.copy(), np.empty(len(cost), dtype=np.int64), np.arange(len(cost))
    while len(asking):
        open_cost = np.where(room > 0, cost[asking], np.inf)
        wanted = open_cost.argmin(axis=1)
        if (room > 0).sum() > 1:
            best_two = np.partition(open_cost, 1, axis=1)
            order = np.argsort(best_two[:, 0] - best_two[:, 1], kind="stable")
        else:
            order = np.arange(len(asking))
        accepted = []
        for column, positions in by_node(order, wanted[order]):
            accepted.append(positions[: room[column]])
            choice[asking[accepted[-1]]] = column
            room[column] -= len(accepted[-1])
        asking = np.delete(asking, np.concatenate(accepted))
    return choice


def _squared(vectors: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """Squared distances ``[n, K]``."""
    return (vectors**2).sum(axis=1)[:, None] - 2 * vectors @ codebook.T + (codebook**2).sum(axis=1)


def _squared_norms(codebooks: np.ndarray) -> np.ndarray:
    """Squared norms of all sums of one vector per codebook ``[L, K, d]``, the last codebook's running fastest."""
    count, size, _ = codebooks.shape
    codes = np.unravel_index(np.arange(size**count), (size,) * count)
    total = np.zeros(size**count)
    for level in range(count):
        total += (codebooks[level] ** 2).sum(axis=1)[codes[level]]
        for above in range(level):
            total += (2 * codebooks[above] @ codebooks[level].T)[codes[above], codes[level]]
    return total


def _peak(name: str, vectors: np.ndarray) -> float:
    """The largest magnitude."""
    if not vectors.size:
        return 0.0
    peak = max(abs(float(vectors.max())), abs(float(vectors.min())))
    if not math.isfinite(peak):
        raise ValueError(f"{name} hold NaN or infinity; check the embeddings and the training they come from")
    return peak
