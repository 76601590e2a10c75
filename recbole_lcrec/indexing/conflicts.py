"""Conflicts: items that share one index get indices of their own (paper III-B3, the mapping of Eq. 6 at construction).

Knows codes, latent vectors and codebooks as arrays. Refuses to know how they were learned. Every function is
deterministic: ties go to the lowest row and the lowest code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

__all__ = ["Resolution", "resolve_conflicts", "resolve_without_embeddings"]

Preference = Callable[[int, int, tuple[int, ...]], np.ndarray]
"""(row, level, codes above) -> the K codes of the level, the most wanted first."""


@dataclass(frozen=True)
class Resolution:
    """Codes without a conflict, and what they cost.

    Attributes:
        codes: int64 ``[N, H]``, all rows distinct.
        moved: items whose codes changed.
        added_distance: mean over the moved items of the squared distance between latent vector and its quantization,
            after minus before; 0 when none moved.
    """

    codes: np.ndarray
    moved: int
    added_distance: float


def resolve_conflicts(codes: np.ndarray, latents: np.ndarray, codebooks: np.ndarray) -> Resolution:
    """Solves each prefix's conflicting items together, one item per code, at the least total distance.

    Items that share all codes are in conflict. Those of one prefix (the codes of all levels but the last) are assigned
    to the codes that no other item of the prefix holds: the optimum of Eq. 6 with one item per code, an exact linear
    assignment. A prefix with more such items than codes keeps those that would lose most elsewhere; the surplus goes,
    in row order, to the nearest code of the level above whose subtree has room, from there down by the same rule, and
    one level further up where all those are full.

    Args:
        codes: int64 ``[N, H]``.
        latents: ``[N, d]``, the vectors that were quantized.
        codebooks: ``[H, K, d]``.

    Raises:
        ValueError: N > K^H, or arrays that do not fit one another.
    """
    levels, size, _ = codebooks.shape
    codes = _checked(codes, [size] * levels)
    if latents.shape != (len(codes), codebooks.shape[2]):
        raise ValueError(
            f"latents of shape {list(latents.shape)} do not fit {len(codes)} items and d = {codebooks.shape[2]}"
        )
    latents, codebooks = latents.astype(np.float64), codebooks.astype(np.float64)
    resolved = codes.copy()
    surplus: list[int] = []
    for rows, free in _conflicting_prefixes(codes, size):
        kept, assigned, left = _assign_within(rows, free, codes, latents, codebooks)
        resolved[kept, -1] = assigned
        surplus.extend(left.tolist())
    if surplus:

        def nearest_first(row: int, level: int, above: tuple[int, ...]) -> np.ndarray:
            residual = latents[row] - sum(codebooks[h, code] for h, code in enumerate(above))
            return np.argsort(((residual - codebooks[level]) ** 2).sum(axis=1), kind="stable")

        _move(resolved, sorted(surplus), [size] * levels, nearest_first)
    moved = np.flatnonzero((resolved != codes).any(axis=1))
    added = _error(resolved, moved, latents, codebooks) - _error(codes, moved, latents, codebooks)
    return Resolution(resolved, len(moved), float(added.mean()) if len(moved) else 0.0)


def resolve_without_embeddings(codes: np.ndarray, codebook_sizes: Sequence[int]) -> tuple[np.ndarray, int]:
    """Separates conflicting items by codes alone, for an index that came without embeddings.

    Within a conflict the lowest row keeps its codes; the others take, in row order, the lowest free code of their
    prefix, and where the prefix is full the lowest code of the level above whose subtree has room.

    Args:
        codes: int64 ``[N, H]``.
        codebook_sizes: codes per level, H of them.

    Returns:
        Distinct codes int64 ``[N, H]``, and how many items moved.

    Raises:
        ValueError: there are more items than codes can tell apart, or codes out of range.
    """
    codes = _checked(codes, codebook_sizes)
    resolved = codes.copy()
    first = np.unique(codes, axis=0, return_index=True)[1]
    movers = np.setdiff1d(np.arange(len(codes)), first).tolist()
    in_order = [np.arange(size) for size in codebook_sizes]
    _move(resolved, movers, codebook_sizes, lambda row, level, above: in_order[level])
    return resolved, len(movers)


def _checked(codes: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    codes = np.asarray(codes, dtype=np.int64)
    if codes.ndim != 2 or codes.shape[1] != len(sizes):
        raise ValueError(f"codes of shape {list(codes.shape)} do not fit {len(sizes)} codebooks")
    if len(codes) and ((codes < 0) | (codes >= np.array(sizes))).any():
        raise ValueError(f"codes span [{codes.min()}, {codes.max()}], outside codebooks of {list(sizes)} codes")
    if len(codes) > math.prod(sizes):
        raise ValueError(
            f"{len(codes)} items cannot have distinct indices: codebooks of {list(sizes)} codes make "
            f"{math.prod(sizes)}; raise index_levels or index_codebook_size"
        )
    return codes


def _conflicting_prefixes(codes: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each prefix with a conflict: the conflicting rows, ascending, and the last codes that no other row holds."""
    order = np.lexsort(codes.T[::-1])
    ordered = codes[order]
    differs = ordered[1:] != ordered[:-1]
    starts_prefix = np.concatenate([[True], differs[:, :-1].any(axis=1)])
    starts_row = np.concatenate([[True], differs.any(axis=1)])
    group = np.cumsum(starts_row) - 1
    in_conflict = np.bincount(group)[group] > 1
    bounds = np.append(np.flatnonzero(starts_prefix), len(codes))
    prefix = np.cumsum(starts_prefix) - 1
    for chosen in np.unique(prefix[in_conflict]):
        span = slice(bounds[chosen], bounds[chosen + 1])
        rows, conflicting = order[span], in_conflict[span]
        free = np.setdiff1d(np.arange(size), codes[rows[~conflicting], -1])
        yield np.sort(rows[conflicting]), free


def _assign_within(
    rows: np.ndarray, free: np.ndarray, codes: np.ndarray, latents: np.ndarray, codebooks: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows that stay under their prefix, their last codes, and the surplus rows."""
    above = codes[rows[0], :-1]
    residual = latents[rows] - codebooks[np.arange(len(above)), above].sum(axis=0)
    cost = _distances(residual, codebooks[-1, free])
    if len(rows) > len(free):
        cost = cost - _nearest_elsewhere(residual, above, codebooks)[:, None]
    picked, columns = linear_sum_assignment(cost)
    return rows[picked], free[columns], np.delete(rows, picked)


def _nearest_elsewhere(residual: np.ndarray, above: np.ndarray, codebooks: np.ndarray) -> np.ndarray:
    """Squared distance ``[n]`` that each row would have under the nearest other code of the level above."""
    level = len(above) - 1
    wider = residual + codebooks[level, above[-1]]
    others = _distances(wider, codebooks[level])
    others[:, above[-1]] = np.inf
    moved = wider - codebooks[level, others.argmin(axis=1)]
    return _distances(moved, codebooks[-1]).min(axis=1)


def _distances(vectors: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances ``[n, K]``."""
    cross = vectors @ codebook.T
    return np.maximum((vectors**2).sum(axis=1)[:, None] - 2 * cross + (codebook**2).sum(axis=1), 0.0)


def _error(codes: np.ndarray, rows: np.ndarray, latents: np.ndarray, codebooks: np.ndarray) -> np.ndarray:
    """Squared distance ``[n]`` of the rows' latents to what their codes decode to."""
    decoded = sum((codebooks[level, codes[rows, level]] for level in range(len(codebooks))), np.zeros((len(rows), 1)))
    return ((latents[rows] - decoded) ** 2).sum(axis=1)


def _move(codes: np.ndarray, movers: Sequence[int], sizes: Sequence[int], preference: Preference) -> None:
    """Gives each mover, in the order given, a free index as near to its own as the preference has it; in place.

    All other rows are distinct and stay. A node of the tree is the mixed-radix number of its codes; ``taken[t]`` counts
    the items below each node of depth t, and a node has room as long as they are fewer than its leaves.
    """
    if not movers:
        return
    settled = np.ones(len(codes), dtype=bool)
    settled[list(movers)] = False
    taken = _taken(codes[settled], sizes)
    leaves = [math.prod(sizes[depth:]) for depth in range(len(sizes) + 1)]
    for row in movers:
        path = tuple(codes[row].tolist())
        depth = next(t for t in range(len(sizes) - 1, -1, -1) if taken[t].get(_node(path[:t], sizes), 0) < leaves[t])
        path = path[:depth]
        for level in range(depth, len(sizes)):
            base, below = _node(path, sizes) * sizes[level], taken[level + 1]
            wanted = preference(row, level, path).tolist()
            path += (next(code for code in wanted if below.get(base + code, 0) < leaves[level + 1]),)
        for t in range(len(sizes) + 1):
            node = _node(path[:t], sizes)
            taken[t][node] = taken[t].get(node, 0) + 1
        codes[row] = path


def _node(path: Sequence[int], sizes: Sequence[int]) -> int:
    number = 0
    for code, size in zip(path, sizes, strict=False):
        number = number * size + code
    return number


def _taken(codes: np.ndarray, sizes: Sequence[int]) -> list[dict[int, int]]:
    """Items below each node, by depth 0 to H; nodes are exact whole numbers however many codes there are."""
    kind = np.int64 if math.prod(sizes) < 2**62 else object
    nodes = np.zeros(len(codes), dtype=kind)
    taken = []
    for depth in range(len(sizes) + 1):
        distinct, counts = np.unique(nodes, return_counts=True)
        taken.append(dict(zip(distinct.tolist(), counts.tolist(), strict=True)))
        if depth < len(sizes):
            nodes = nodes * sizes[depth] + codes[:, depth]
    return taken
