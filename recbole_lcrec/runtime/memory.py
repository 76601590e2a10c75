"""Recognise errors that mean that memory ran out, on CPU or GPU."""

from __future__ import annotations

import torch

__all__ = ["is_out_of_memory"]

_SIGNS = ("DefaultCPUAllocator", "bad_alloc", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(err: BaseException) -> bool:
    """Return whether an error means that memory ran out.

    PyTorch's CPU allocator and the libraries it calls have no error class for this, so their messages are checked too.
    """
    if isinstance(err, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(sign in str(err) for sign in _SIGNS)
