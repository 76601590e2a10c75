"""Conflict resolution: items with equal codes get distinct indices (paper III-B3, Eq. 6).

The tree of indices is processed bottom-up: each prefix reassigns its own items first, and the items for which it has
no free code are reassigned under the nodes above it, up to the root. Every function is deterministic: ties go to the
lowest row and the lowest code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from recbole_lcrec.indexing.leaf_assignment import LeafAssignment
from recbole_lcrec.indexing.leaf_tree import LeafTree, by_node, free_leaves, number_leaves, sharing, with_taken

__all__ = ["Resolution", "resolve_conflicts", "resolve_without_embeddings"]

Settle = Callable[[np.ndarray, int, int, np.ndarray], np.ndarray]
"""(rows, depth, node, taken leaves) -> the rows' leaves below the node, -1 for rows that do not fit."""


@dataclass(frozen=True, eq=False)
class Resolution:
    """Distinct codes, and what resolving the conflicts cost.

    Attributes:
        codes: int64 ``[N, H]``, all rows distinct.
        moved: number of items whose codes changed.
        added_distance: increase of the squared distance between latent vector and quantization, averaged over the moved
            items; 0 when none moved, None where distances play no part.
        spilled: number of moved items that left their prefix because it has more items than codes; None where distances
            play no part.
    """

    codes: np.ndarray
    moved: int
    added_distance: float | None = None
    spilled: int | None = None


def resolve_conflicts(
    codes: np.ndarray, latents: np.ndarray, codebooks: np.ndarray, occupied: np.ndarray | None = None
) -> Resolution:
    """Reassign conflicting items to free codes of their prefix, at the least total squared distance.

    Items with equal codes are in conflict. Those of one prefix (the codes of all levels but the last) are assigned to
    the codes that no other item of the prefix holds: the optimum of Eq. 6 with one item per code, an exact linear
    assignment. Items leave a prefix only if it has more of them than free codes. The surplus goes to the nearest free
    indices of its region, which is the highest node above it with at most 65,536 indices below; with small codebooks
    that is the whole tree. Which items stay and where the others go is the joint optimum over the overfull prefixes of
    the region. Where that is too large for one assignment, the items that would lose most elsewhere stay, and the
    others are assigned a few hundred at a time. The surplus of a full region goes to the nearest code of the level
    above whose subtree has room, and one level further up where all of these are full.

    Time and memory grow with the number of conflicting items; no N x N array is built and the latents are not copied.

    Args:
        codes: int64 ``[N, H]``.
        latents: finite ``[N, d]``, the vectors that were quantized.
        codebooks: finite ``[H, K, d]``.
        occupied: int64 ``[E, H]``, distinct codes of existing items, which keep them; an item with the same codes is in
            conflict.

    Raises:
        ValueError: N + E > K^H, or the arrays' shapes do not match, or values are not finite.
    """
    levels, size, dim = codebooks.shape
    codes, others = _checked(codes, occupied, [size] * levels)
    if latents.shape != (len(codes), dim):
        raise ValueError(f"latents of shape {list(latents.shape)} do not match {len(codes)} items and d = {dim}")
    region = LeafAssignment.region_depth(levels, size)
    tree, leaves, taken = number_leaves(codes, others, [size] * levels, region)
    assignment = LeafAssignment(tree, latents, codebooks)
    prefixes = leaves // size
    in_conflict, _ = sharing(leaves, taken)
    resolved = _settled(
        tree,
        leaves,
        np.flatnonzero(in_conflict),
        taken,
        [levels - 1, *range(min(region, levels - 2), tree.trunk - 1, -1)],
        lambda rows, depth, node, held: assignment.settle(rows, prefixes[rows], depth, node, held),
    )
    moved = np.flatnonzero(resolved != leaves)
    added = assignment.squared_error(moved, resolved[moved]) - assignment.squared_error(moved, leaves[moved])
    mean = float(np.ldexp(added.mean(), 2 * assignment.exponent)) if len(moved) else 0.0
    result = codes.copy()
    result[moved] = tree.codes(resolved[moved])
    return Resolution(result, len(moved), mean, int((resolved[moved] // size != prefixes[moved]).sum()))


def resolve_without_embeddings(
    codes: np.ndarray, codebook_sizes: Sequence[int], occupied: np.ndarray | None = None
) -> tuple[np.ndarray, int]:
    """Resolve conflicts by codes alone, for an index without embeddings.

    Of the items with equal codes the lowest row keeps them; the others take, in row order, the lowest free codes of
    their prefix. Items for which their prefix has no free code then take, in row order, the lowest free codes under the
    node above, and so on up to the root.

    Args:
        codes: int64 ``[N, H]``.
        codebook_sizes: H numbers, the codes of each level.
        occupied: int64 ``[E, H]``, distinct codes of existing items, which keep them.

    Returns:
        Distinct codes int64 ``[N, H]``, and the number of items that moved.

    Raises:
        ValueError: there are more items than distinct indices, or codes out of range.
    """
    codes, others = _checked(codes, occupied, codebook_sizes)
    tree, leaves, taken = number_leaves(codes, others, codebook_sizes, len(codebook_sizes))
    shared, keeps = sharing(leaves, taken)
    movers = np.flatnonzero(shared & ~keeps)

    def lowest_first(rows: np.ndarray, depth: int, node: int, held: np.ndarray) -> np.ndarray:
        span = tree.span(depth)
        free = free_leaves(held, node * span, span, len(rows))
        return np.concatenate([free, np.full(len(rows) - len(free), -1)])

    depths = range(len(codebook_sizes) - 1, tree.trunk - 1, -1)
    resolved = _settled(tree, leaves, movers, taken, depths, lowest_first)
    result = codes.copy()
    result[movers] = tree.codes(resolved[movers])
    return result, len(movers)


def _settled(
    tree: LeafTree, leaves: np.ndarray, movers: np.ndarray, taken: np.ndarray, depths: Iterable[int], settle: Settle
) -> np.ndarray:
    """Distinct leaves ``[N]``: rows that must move are settled under their node of each depth in turn."""
    resolved = leaves.copy()
    taken = with_taken(taken, np.delete(leaves, movers))
    for depth in depths:
        resolved[movers] = -1
        for node, rows in by_node(movers, leaves[movers] // tree.span(depth)):
            resolved[rows] = settle(rows, depth, node, taken)
        left = resolved[movers] < 0
        taken = with_taken(taken, resolved[movers[~left]])
        movers = movers[left]
        if not len(movers):
            break
    return resolved


def _checked(codes: np.ndarray, occupied: np.ndarray | None, sizes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    codes = _codes("codes", codes, sizes)
    others = _codes("occupied", codes[:0] if occupied is None else occupied, sizes)
    room = math.prod(sizes)
    if len(codes) + len(others) > room:
        existing = f" and {len(others)} existing ones" if len(others) else ""
        remedy = "learn the whole index again with a higher" if len(others) else "raise"
        raise ValueError(
            f"{len(codes)} items{existing} cannot have distinct indices: codebooks of {list(sizes)} codes make {room}; "
            f"{remedy} index_levels or index_codebook_size"
        )
    if len(np.unique(others, axis=0)) < len(others):
        raise ValueError("occupied holds the same codes twice; resolve the conflicts of the existing items first")
    return codes, others


def _codes(name: str, codes: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    codes = np.asarray(codes, dtype=np.int64)
    if codes.ndim != 2 or codes.shape[1] != len(sizes):
        raise ValueError(f"{name} of shape {list(codes.shape)} do not match {len(sizes)} codebooks")
    if len(codes) and ((codes < 0) | (codes >= np.array(sizes))).any():
        raise ValueError(f"{name} span [{codes.min()}, {codes.max()}], outside codebooks of {list(sizes)} codes")
    return codes
