"""Residual k-means: codebooks from points, level by level.

Clusters can be balanced so that all codes are used evenly.
"""

from __future__ import annotations

import faiss
import numpy as np
import torch

from recbole_lcrec.indexing.sinkhorn import scaled_cost, sinkhorn

__all__ = ["balanced", "kmeans", "residual_codebooks"]

_ROUNDS = 20
_EVEN_ROUNDS = 8
_EVEN_EPSILON = 0.05
_EVEN_POINTS = 16384
_CHUNK = 65536


def residual_codebooks(
    points: np.ndarray, levels: int, size: int, generator: torch.Generator, even: bool = False
) -> np.ndarray:
    """Cluster the points, then the residuals of each level in turn (Eq. 1-2).

    The first level reads ``points`` in place; from the second on one residual array of the same size is kept.

    Args:
        points: float32 ``[N, d]``, finite, at least one row.
        levels: H.
        size: K.
        generator: on the CPU; draws one seed per level.
        even: whether :func:`balanced` follows each k-means, so that all codes are used evenly.

    Returns:
        float32 ``[H, K, d]``, finite for constant points, duplicates and fewer points than centres.
    """
    points = np.ascontiguousarray(points, dtype=np.float32)
    residual, books = points, list[np.ndarray]()
    for level in range(levels):
        seed = int(torch.randint(2**31 - 1, (1,), generator=generator))
        centres = kmeans(residual, size, seed)
        books.append(balanced(centres, residual, seed) if even else centres)
        if level + 1 < levels:
            residual = _subtract_nearest(residual, books[-1], np.empty_like(points) if residual is points else residual)
    return np.stack(books)


def kmeans(points: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Run Lloyd's algorithm on all ``points [N, d]``; return K centres, float32 ``[K, d]``, finite for any input.

    Where there are no more distinct points than centres, the centres are these points, and copies of them with noise of
    a thousandth of their standard deviation.
    """
    points = np.ascontiguousarray(points, dtype=np.float32)
    distinct = _few_distinct(points, k)
    if distinct is None:
        clustering = faiss.Kmeans(
            points.shape[1],
            k,
            niter=_ROUNDS,
            seed=seed,
            min_points_per_centroid=1,
            max_points_per_centroid=-(-len(points) // k),
        )
        clustering.train(points)
        return np.array(clustering.centroids, dtype=np.float32).reshape(k, points.shape[1])
    rng = np.random.default_rng(seed)
    copies = distinct[rng.integers(len(distinct), size=k - len(distinct))]
    noise = rng.standard_normal(copies.shape).astype(np.float32)
    spread = max(float(distinct.std()), 1e-2 * float(np.abs(distinct).max()), 1e-6)
    return np.concatenate([distinct, copies + 1e-3 * spread * noise])


def balanced(centres: np.ndarray, points: np.ndarray, seed: int) -> np.ndarray:
    """Balance centres ``[K, d]``: Lloyd's algorithm with points mapped by the plan of Eq. 6 instead of the distance.

    K-means spends many centres on a few outliers and leaves the other centres crowded. With equal shares the levels
    below have less left to quantize, and fewer items end up with equal codes. A centre without points does not move.

    Args:
        centres: float32 ``[K, d]``.
        points: float32 ``[N, d]``; at most 16,384 of them are sampled.
        seed: seed of the sample.

    Returns:
        float32 ``[K, d]``.
    """
    drawn = np.random.default_rng(seed).permutation(len(points))[:_EVEN_POINTS]
    sample, moved = torch.from_numpy(points[np.sort(drawn)]), torch.from_numpy(centres)
    for _ in range(_EVEN_ROUNDS):
        plan = sinkhorn(scaled_cost(torch.cdist(sample, moved).square()), _EVEN_EPSILON, 100, tolerance=0.01)
        mapped = plan.argmax(dim=1)
        counts = torch.bincount(mapped, minlength=len(moved))[:, None]
        sums = torch.zeros_like(moved).index_add_(0, mapped, sample)
        moved = torch.where(counts > 0, sums / counts.clamp_min(1), moved)
    return moved.numpy()


def _few_distinct(points: np.ndarray, limit: int) -> np.ndarray | None:
    """Distinct rows ``[n, d]`` in order of first occurrence, or None where there are more than ``limit``."""
    distinct = points[:0]
    for start in range(0, len(points), 4 * limit):
        seen = np.concatenate([distinct, points[start : start + 4 * limit]])
        distinct = seen[np.sort(np.unique(seen, axis=0, return_index=True)[1])]
        if len(distinct) > limit:
            return None
    return distinct


def _subtract_nearest(points: np.ndarray, centres: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Subtract each point's nearest centre from ``points [N, d]``, in chunks; written to ``out``."""
    index = faiss.IndexFlatL2(centres.shape[1])
    index.add(centres)
    for start in range(0, len(points), _CHUNK):
        rows = slice(start, start + _CHUNK)
        nearest = index.search(points[rows], 1)[1][:, 0]
        np.subtract(points[rows], centres[nearest], out=out[rows])
    return out
