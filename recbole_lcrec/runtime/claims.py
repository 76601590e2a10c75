"""Names of folders that processes claim, so that no two of them write into one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

__all__ = ["claimed_folder"]


@contextmanager
def claimed_folder(path: Path) -> Iterator[Path]:
    """Create a folder that no other process has, and remove it at the end if nothing was written into it.

    Creating a folder is atomic, so that runs that begin in the same second take different names.

    Args:
        path: the folder; its parent is created.

    Yields:
        ``path``, ``<path>-2``, ``<path>-3``, ...: the first that did not exist.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = next(folder for folder in _names(path) if _created(folder))
    try:
        yield folder
    finally:
        with suppress(OSError):  # it is not empty, or has been replaced
            folder.rmdir()


def _names(path: Path) -> Iterator[Path]:
    yield path
    yield from (path.with_name(f"{path.name}-{number}") for number in count(2))


def _created(folder: Path) -> bool:
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True
