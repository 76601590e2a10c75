"""A yardstick, the plain way out of conflicts: repeated Sinkhorn rounds over each group of items with the same index.

Knows the published procedure in its own words: items that share all codes form a group; each group alone is mapped
anew on the last level by the plan of Eq. 6 over its own members; what still shares an index is tried again, for a given
number of rounds. Refuses to know any other group, which is why conflicts can remain and new ones can arise.
"""

from __future__ import annotations

import numpy as np
import torch

from recbole_lcrec.indexing.sinkhorn import scaled_cost, sinkhorn

__all__ = ["in_conflict", "sinkhorn_rounds"]


def in_conflict(codes: np.ndarray) -> list[np.ndarray]:
    """Rows of each group of two or more items with the same codes, ascending, for int64 ``codes [N, H]``."""
    if not len(codes):
        return []
    order = np.lexsort(codes.T[::-1])
    ordered = codes[order]
    starts = np.flatnonzero(np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)]))
    sizes = np.diff(np.append(starts, len(codes)))
    return [order[start : start + size] for start, size in zip(starts[sizes > 1], sizes[sizes > 1], strict=True)]


def sinkhorn_rounds(
    codes: np.ndarray,
    latents: np.ndarray,
    codebooks: np.ndarray,
    epsilon: float = 0.003,
    iterations: int = 50,
    rounds: int = 20,
) -> np.ndarray:
    """Codes ``[N, H]`` after the rounds: only last codes changed, distinct or not.

    Args:
        codes: int64 ``[N, H]``, the nearest codes.
        latents: ``[N, d]``, the vectors that were quantized.
        codebooks: ``[H, K, d]``.
        epsilon: entropy weight of the plan.
        iterations: Sinkhorn-Knopp rounds for one plan.
        rounds: how often all groups are tried.
    """
    codes = np.array(codes, dtype=np.int64)
    codebooks = np.asarray(codebooks, dtype=np.float64)
    last = torch.from_numpy(codebooks[-1])
    levels = np.arange(codes.shape[1] - 1)
    for _ in range(rounds):
        groups = in_conflict(codes)
        if not groups:
            break
        for rows in groups:
            above = codebooks[levels, codes[rows[0], :-1]].sum(axis=0)
            residual = torch.from_numpy(latents[rows].astype(np.float64) - above)
            plan = sinkhorn(scaled_cost(torch.cdist(residual, last).square()), epsilon, iterations)
            codes[rows, -1] = plan.argmax(dim=1).numpy()
    return codes
