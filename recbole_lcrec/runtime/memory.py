"""Whether memory ran out.

Knows how PyTorch and the libraries under it say so. Refuses to know what was to be held.
"""

from __future__ import annotations

import torch

__all__ = ["is_out_of_memory"]

_SIGNS = ("DefaultCPUAllocator", "bad_alloc", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(err: BaseException) -> bool:
    """PyTorch's allocator for the CPU has no error of its own, nor have the libraries that it calls."""
    if isinstance(err, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(sign in str(err) for sign in _SIGNS)
