"""How a command works: mistakes are found first, and reported in one line.

Knows which errors are the user's to mend. Refuses to know any command.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from errno import EACCES, EDQUOT, EISDIR, ENOENT, ENOSPC, ENOTDIR, EPERM, EROFS
from typing import Any

from recbole_lcrec.runtime.errors import RunAborted

__all__ = ["run_command"]

_TOLD = (ENOENT, EISDIR, ENOTDIR, EACCES, EPERM, EROFS, ENOSPC, EDQUOT)
"""Troubles with files and disks that are the user's to mend."""


def run_command(prepare: Callable[[], Callable[[], Any]], flags: Sequence[str]) -> int:
    """Does a command's work and tells a mistake in one line; ``--state=DEBUG`` among the flags adds a traceback.

    So it tells why a run cannot go on, as with a model whose logits are no numbers. All other errors keep their
    traceback.

    Args:
        prepare: reads and checks the flags, and returns the work itself.
        flags: of the command.

    Returns:
        0, or 2 after a mistake or where the run cannot go on.
    """
    debug = any(flag.upper() == "--STATE=DEBUG" for flag in flags)
    started = False
    try:
        work = prepare()
        started = True
        work()
    except (ValueError, OSError, RunAborted) as err:
        if isinstance(err, OSError) and err.errno not in _TOLD:
            raise
        if debug:
            traceback.print_exc()
        hint = " (--state=DEBUG shows where)" if started and not debug else ""
        sys.stderr.write(f"error: {' '.join(str(err).split())}{hint}\n")
        return 2
    return 0
