"""What to say of a full disk.

Knows the errors of a disk without room. Refuses to know what was to be written.
"""

from __future__ import annotations

import errno
from pathlib import Path

from recbole_lcrec.runtime.artifacts import DiskFullError

__all__ = ["disk_full"]


def disk_full(err: OSError, folder: Path, left: str = "nothing half written stays there") -> DiskFullError | None:
    """The error that says where a disk is full and what can be done; None where that is not the trouble, or is said.

    Args:
        err: what was raised.
        folder: where something was written.
        left: what is there now.
    """
    if isinstance(err, DiskFullError) or err.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    return DiskFullError(
        err.errno,
        f"no space left in {folder} ({err.strerror}); {left}: free some space, or name a folder on another disk",
    )
