"""The log of a run: RecBole's, to the screen and to a file.

Knows RecBole's logger and the processes of a run. Refuses to know what is logged.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from recbole.utils import init_logger

from recbole_lcrec.runtime.processes import process_rank

__all__ = ["run_log"]


@contextmanager
def run_log(config: Any) -> Iterator[None]:
    """RecBole's logger, to the screen and to a file under ``log/``, in process 0; the others log errors alone.

    Handlers that were there before are left as they are.
    """
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    if process_rank() == 0:
        init_logger(config)
    else:
        root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for handler in [handler for handler in root.handlers if handler not in before]:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(level)
