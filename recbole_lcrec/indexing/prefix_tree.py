"""The prefix tree of item indices: prefixes per depth, and branching.

It also returns the items that share a prefix.

Memory and time grow linearly with N, except for one sort; items are never compared pairwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Neighbour", "children_per_node", "prefix_ids", "prefix_neighbours"]

_CHUNK = 16384


@dataclass(frozen=True)
class Neighbour:
    """An item that shares a prefix with another item.

    Attributes:
        row: row of the item.
        shared: number of leading codes in common, at least 1.
        cosine: cosine similarity of the two embeddings; 0 where one of them is zero, None without embeddings.
    """

    row: int
    shared: int
    cosine: float | None


def prefix_ids(codes: np.ndarray) -> np.ndarray:
    """Number the distinct prefixes of each depth.

    Args:
        codes: integers ``[N, H]``, N and H at least 1.

    Returns:
        int64 ``[N, H]``; column h numbers the prefixes of h + 1 codes from 0 in lexicographic order. Items with equal
        numbers share that prefix.

    Raises:
        ValueError: the codes have another type or shape.
    """
    codes = np.asarray(codes)
    if codes.ndim != 2 or not codes.size or not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(
            f"codes must be integers [N, H] of at least one item and level, got {codes.dtype} of shape "
            f"{list(codes.shape)}"
        )
    order = np.lexsort(codes.T[::-1])
    ordered = codes[order]
    begins = np.zeros(codes.shape, dtype=bool)
    begins[1:] = np.logical_or.accumulate(ordered[1:] != ordered[:-1], axis=1)
    ids = np.empty(codes.shape, dtype=np.int64)
    ids[order] = np.cumsum(begins, axis=0)
    return ids


def children_per_node(ids: np.ndarray) -> tuple[np.ndarray, ...]:
    """Count the children of every node.

    Args:
        ids: int64 ``[N, H]``, as returned by :func:`prefix_ids`.

    Returns:
        H arrays: for h = 0, ..., H - 1 the number of distinct next codes of every prefix of h codes (h = 0: the root).
    """
    above = np.column_stack([np.zeros(len(ids), dtype=np.int64), ids[:, :-1]])
    children = []
    for h in range(ids.shape[1]):
        _, first = np.unique(ids[:, h], return_index=True)
        children.append(np.bincount(above[first, h]))
    return tuple(children)


def prefix_neighbours(
    codes: np.ndarray, row: int, count: int, embeddings: np.ndarray | None = None
) -> tuple[Neighbour, ...]:
    """Find the items that share the longest prefix with one item.

    Ties are ordered by the cosine similarity of the embeddings, largest first, or without embeddings by row.

    Args:
        codes: integers ``[N, H]``.
        row: row of the item.
        count: maximum number of items to return; fewer where fewer share its first code.
        embeddings: ``[N, D]`` or None.
    """
    shared = np.logical_and.accumulate(codes == codes[row], axis=1).sum(axis=1)
    shared[row] = 0
    found: list[Neighbour] = []
    for depth in range(codes.shape[1], 0, -1):
        rows = np.flatnonzero(shared == depth)
        missing = count - len(found)
        if embeddings is None:
            found += [Neighbour(int(other), depth, None) for other in rows[:missing]]
        else:
            cosines = _cosines(embeddings, rows, row)
            nearest = np.argsort(-cosines, kind="stable")[:missing]
            found += [Neighbour(int(rows[i]), depth, float(cosines[i])) for i in nearest]
        if len(found) == count:
            break
    return tuple(found)


def _cosines(embeddings: np.ndarray, rows: np.ndarray, row: int) -> np.ndarray:
    vector = np.asarray(embeddings[row], dtype=np.float64)
    parts = [np.zeros(0)]
    for start in range(0, len(rows), _CHUNK):
        others = np.asarray(embeddings[rows[start : start + _CHUNK]], dtype=np.float64)
        lengths = np.linalg.norm(others, axis=1) * np.linalg.norm(vector)
        parts.append(np.divide(others @ vector, lengths, out=np.zeros(len(others)), where=lengths > 0))
    return np.concatenate(parts)
