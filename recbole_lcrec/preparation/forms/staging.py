"""Write the files of a data set to a hidden folder, and move them when complete."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from filecmp import cmp
from logging import getLogger
from pathlib import Path

from recbole_lcrec.runtime.disk_full import disk_full

__all__ = ["require_name", "staged"]

_NAME = re.compile(r"\w[\w.-]*")
_IDENTIFYING = ("inter", "inter.json")
"""Interaction files, which identify a data set."""
_OTHERS = (
    "item",
    "user",
    "item.json",
    "index.json",
    "user.json",
    "intentions.jsonl",
    "item2id",
    "user2id",
    "import.html",
    "import.json",
)
_EXPENSIVE = ("index.json", "user.json", "intentions.jsonl")
"""Files that may have taken hours to create; they are renamed instead of removed."""


def require_name(name: str) -> None:
    """Check that a name can be used for a data set, its folder and its files.

    Raises:
        ValueError: the name is invalid.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a data set; use letters, digits, '_', '-' and '.'")


@contextmanager
def staged(name: str, folder: Path, overwrite: bool = False, sources: Iterable[Path] = ()) -> Iterator[Path]:
    """Yield a hidden folder whose files are moved to ``folder`` when the block ends without an error.

    After an error, no file is left, nor any folder that was created for them.

    The interaction file, which identifies a data set, is moved last. With ``overwrite``, the other files of an existing
    data set of this name are removed, as they no longer belong to anything, except that an index and intentions are
    renamed to ``*.older``; without it all stay, and the log names them.

    Args:
        name: name of the data set.
        folder: folder for the files; created if needed.
        overwrite: whether to replace an existing data set.
        sources: files that the data set is made from; they are never replaced or removed.

    Raises:
        ValueError: the name is invalid, or the folder is not writable, contains a data set, or contains the sources
            under the same names.
        DiskFullError: the disk is full.
    """
    require_name(name)
    kept = {path.resolve() for path in sources}
    older = [path for suffix in (*_IDENTIFYING, *_OTHERS) if (path := folder / f"{name}.{suffix}").exists()]
    identifying = [path for path in older if path.name in {f"{name}.{suffix}" for suffix in _IDENTIFYING}]
    if identifying and not overwrite:
        raise ValueError(f"{identifying[0]} exists already; use another folder, or replace it with --overwrite")
    partial = folder / f".{name}.writing"
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    except OSError as err:
        raise ValueError(f"{folder} is not writable ({err}); use another folder") from err
    try:
        yield partial
        written = sorted(partial.iterdir(), key=lambda path: path.name.removeprefix(f"{name}.") in _IDENTIFYING)
        finals = {folder / path.name for path in written}
        replaced = sorted(str(path) for path in finals if path.exists() and path.resolve() in kept)
        if replaced:
            raise ValueError(
                f"{', '.join(replaced)} would be replaced, but the new files are made from it; use another folder"
            )
        taken = sorted(str(path) for path in finals if path.exists() and not overwrite)
        if taken:
            raise ValueError(
                f"{', '.join(taken)} would be replaced, but may belong to other data; use another folder, or replace "
                "it with --overwrite"
            )
        for path in identifying:
            if path.resolve() not in kept:
                path.unlink()
        expensive = {folder / f"{name}.{suffix}" for suffix in _EXPENSIVE}
        others = [path for path in older if path.exists() and path.resolve() not in kept]
        changed = {
            path for path in expensive & finals if path.exists() and not cmp(path, partial / path.name, shallow=False)
        }
        others = [path for path in others if path not in finals or path in changed]
        names = ", ".join(path.name for path in others)
        if others and overwrite:
            for path in others:
                if path in expensive:
                    os.replace(path, path.with_name(f"{path.name}.older"))
                else:
                    path.unlink()
            getLogger().info(
                f"Removed files of the older data set: {names}; an index and intentions are kept as *.older"
            )
        elif others:  # possibly put there for the new data set
            getLogger().warning(f"{names}: already in {folder} and kept; remove files that belong to other data")
        for path in written:
            os.replace(path, folder / path.name)
    except OSError as err:
        if (full := disk_full(err, folder)) is None:
            raise
        raise full from err
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        for path in made:
            with suppress(OSError):  # not empty: there was no error, or another process put something there
                path.rmdir()
