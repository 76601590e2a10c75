"""Logging of a run by RecBole's logger, to the screen and to a file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from recbole.utils import init_logger

from recbole_lcrec.runtime.processes import process_rank

__all__ = ["run_log", "warnings_alone"]


@contextmanager
def run_log(config: Any) -> Iterator[None]:
    """Log to the screen and to a file under ``log/`` in process 0, and only errors in the others, inside the context.

    Existing handlers are kept.
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


@contextmanager
def warnings_alone() -> Iterator[None]:
    """Log only warnings and errors inside the context."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        root.setLevel(level)
