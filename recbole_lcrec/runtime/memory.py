"""Memory of this process: its peak, and errors that mean that memory ran out, on CPU or GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

__all__ = ["is_out_of_memory", "peak_memory", "reset_peak_memory"]

_SIGNS = ("DefaultCPUAllocator", "bad_alloc", "CUBLAS_STATUS_ALLOC_FAILED")
_PROCESS = Path("/proc/self")


def is_out_of_memory(err: BaseException) -> bool:
    """Return whether an error means that memory ran out.

    PyTorch's CPU allocator and the libraries it calls have no error class for this, so their messages are checked too.
    """
    if isinstance(err, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(sign in str(err) for sign in _SIGNS)


def reset_peak_memory(device: Any) -> None:
    """Begin to measure :func:`peak_memory` anew, where the system lets a process do so."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        (_PROCESS / "clear_refs").write_text("5")
    except OSError:
        return


def peak_memory(device: Any) -> int | None:
    """Return the most bytes in use since :func:`reset_peak_memory`.

    Args:
        device: a GPU: what PyTorch has allocated on it. The CPU: resident memory of the whole process, which includes
            the libraries and what earlier models have left.

    Returns:
        Bytes; None where the system does not tell.
    """
    if torch.device(device).type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        lines = (_PROCESS / "status").read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return found[0] if found else None
