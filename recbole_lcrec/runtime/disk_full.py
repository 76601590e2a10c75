"""Error message for a full disk."""

from __future__ import annotations

import errno
from pathlib import Path

from recbole_lcrec.runtime.artifacts import DiskFullError

__all__ = ["disk_full"]


def disk_full(err: OSError, folder: Path, left: str = "partial files have been removed") -> DiskFullError | None:
    """Return the error that names the full disk and the remedy; None for other errors, and for one that already does.

    Args:
        err: the error that was raised.
        folder: folder that was being written to.
        left: what is on the disk now.
    """
    if isinstance(err, DiskFullError) or err.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    return DiskFullError(
        err.errno,
        f"no space left in {folder} ({err.strerror}); {left}: free some space, or use a folder on another disk",
    )
