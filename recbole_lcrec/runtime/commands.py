"""Run a command, and report user errors in one line.

Arguments are checked before any work starts.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from errno import EACCES, EDQUOT, EISDIR, ENOENT, ENOSPC, ENOTDIR, EPERM, EROFS
from typing import Any

from recbole_lcrec.runtime.errors import RunAborted

__all__ = ["run_command"]

_USER_ERRORS = (ENOENT, EISDIR, ENOTDIR, EACCES, EPERM, EROFS, ENOSPC, EDQUOT)
"""Errors of files and disks that users can fix themselves."""


def run_command(prepare: Callable[[], Callable[[], Any]], flags: Sequence[str]) -> int:
    """Run a command and report user errors in one line; ``--state=DEBUG`` among the flags adds a traceback.

    :class:`RunAborted` is reported in the same way. All other errors keep their traceback.

    Args:
        prepare: reads and checks the flags, and returns the work to do.
        flags: command-line flags.

    Returns:
        0, or 2 after a user error or an aborted run.
    """
    debug = any(flag.upper() == "--STATE=DEBUG" for flag in flags)
    started = False
    try:
        work = prepare()
        started = True
        work()
    except (ValueError, OSError, RunAborted) as err:
        if isinstance(err, OSError) and err.errno not in _USER_ERRORS:
            raise
        if debug:
            traceback.print_exc()
        hint = " (--state=DEBUG shows the traceback)" if started and not debug else ""
        sys.stderr.write(f"error: {' '.join(str(err).split())}{hint}\n")
        return 2
    return 0
