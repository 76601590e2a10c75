"""Files of a data set put into a folder, all or none.

Knows how a data set's files are called and which of them tell that it is there. Refuses to know what is in them.
"""

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

__all__ = ["placed", "require_name"]

_NAME = re.compile(r"\w[\w.-]*")
_DECIDING = ("inter", "inter.json")
"""Files by which a data set is found."""
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
_DEAR = ("index.json", "user.json", "intentions.jsonl")
"""Files that may have cost hours to make; they are put aside rather than removed."""


def require_name(name: str) -> None:
    """Makes sure that a data set can be called so: its name is that of a folder and begins that of its files.

    Raises:
        ValueError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a data set; write letters, digits, '_', '-' and '.'")


@contextmanager
def placed(name: str, folder: Path, overwrite: bool = False, sources: Iterable[Path] = ()) -> Iterator[Path]:
    """A hidden folder whose files move to ``folder`` once all are written.

    After an error nothing is left of them, nor of folders that were made for them.

    The file by which a data set is found moves last. With ``overwrite`` the other files of an older data set of this
    name go, for they would belong to nothing, but an index and intentions are renamed to ``*.older``; without it all
    stay, with a word in the log.

    Args:
        name: name of the data set.
        folder: takes the files; made when absent.
        overwrite: whether files of an older data set may go.
        sources: what the data set is made from; none of them may be replaced or removed.

    Raises:
        ValueError: no such name can be, or the folder cannot be written to, holds a data set, or holds the sources
            under the same names.
        DiskFullError: the disk is full.
    """
    require_name(name)
    kept = {path.resolve() for path in sources}
    older = [path for suffix in (*_DECIDING, *_OTHERS) if (path := folder / f"{name}.{suffix}").exists()]
    deciding = [path for path in older if path.name in {f"{name}.{suffix}" for suffix in _DECIDING}]
    if deciding and not overwrite:
        raise ValueError(
            f"{deciding[0]} is there already; name another folder, or put the new files in its place by --overwrite"
        )
    partial = folder / f".{name}.writing"
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    except OSError as err:
        raise ValueError(f"{folder} cannot be written to ({err}); name another folder") from err
    try:
        yield partial
        written = sorted(partial.iterdir(), key=lambda path: path.name.removeprefix(f"{name}.") in _DECIDING)
        finals = {folder / path.name for path in written}
        own = sorted(str(path) for path in finals if path.exists() and path.resolve() in kept)
        if own:
            raise ValueError(
                f"{', '.join(own)} would be replaced, which the new files are made from; name another folder"
            )
        taken = sorted(str(path) for path in finals if path.exists() and not overwrite)
        if taken:
            raise ValueError(
                f"{', '.join(taken)} would be replaced, which may belong to other data; name another folder, or put "
                "the new files in its place by --overwrite"
            )
        for path in deciding:
            if path.resolve() not in kept:
                path.unlink()
        dear = {folder / f"{name}.{suffix}" for suffix in _DEAR}
        others = [path for path in older if path.exists() and path.resolve() not in kept]
        changed = {
            path for path in dear & finals if path.exists() and not cmp(path, partial / path.name, shallow=False)
        }
        others = [path for path in others if path not in finals or path in changed]
        names = ", ".join(path.name for path in others)
        if others and overwrite:
            for path in others:
                if path in dear:
                    os.replace(path, path.with_name(f"{path.name}.older"))
                else:
                    path.unlink()
            getLogger().info(
                f"Removed what belonged to the older data set: {names}; an index and intentions stay as *.older"
            )
        elif others:  # put there for the new data set, perhaps: nobody asked for their removal
            getLogger().warning(f"{names}: in {folder} already and kept; remove what belongs to other data")
        for path in written:
            os.replace(path, folder / path.name)
    except OSError as err:
        if (full := disk_full(err, folder)) is None:
            raise
        raise full from err
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        for path in made:
            with suppress(OSError):  # not empty: all went well, or others have put something there
                path.rmdir()
