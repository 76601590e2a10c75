"""Files of a data set put into a folder, all or none.

Knows how a data set's files are called and which of them tell that it is there. Refuses to know what is in them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path

__all__ = ["placed"]

_DECIDING = ("inter", "inter.json")
"""Files by which a data set is found."""
_OTHERS = ("item", "user", "item.json", "index.json", "user.json", "intentions.jsonl", "item2id", "user2id")


@contextmanager
def placed(name: str, folder: Path, overwrite: bool = False, sources: Iterable[Path] = ()) -> Iterator[Path]:
    """A hidden folder whose files move to ``folder`` once all are written; after an error nothing is left of them.

    The file by which a data set is found moves last. With ``overwrite`` the other files of an older data set of this
    name go, for they would belong to nothing; without it they stay, with a word in the log.

    Args:
        name: name of the data set.
        folder: takes the files; made when absent.
        overwrite: whether files of an older data set may go.
        sources: what the data set is made from; none of them may be replaced or removed.

    Raises:
        ValueError: the folder cannot be written to, holds a data set, or holds the sources under the same names.
        OSError: the disk is full, say.
    """
    kept = {path.resolve() for path in sources}
    older = [path for suffix in (*_DECIDING, *_OTHERS) if (path := folder / f"{name}.{suffix}").exists()]
    deciding = [path for path in older if path.name in {f"{name}.{suffix}" for suffix in _DECIDING}]
    if deciding and not overwrite:
        raise ValueError(
            f"{deciding[0]} is there already; name another folder, or put the new files in its place by --overwrite"
        )
    partial = folder / f".{name}.writing"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    except OSError as err:
        raise ValueError(f"{folder} cannot be written to ({err}); name another folder") from err
    try:
        yield partial
        written = sorted(partial.iterdir(), key=lambda path: path.name.removeprefix(f"{name}.") in _DECIDING)
        finals = {folder / path.name for path in written}
        taken = sorted(str(path) for path in finals if path.exists() and (path.resolve() in kept or not overwrite))
        if taken:
            raise ValueError(
                f"{', '.join(taken)} would be replaced, which the new files are made from or which belongs to other "
                "data; name another folder"
            )
        for path in deciding:
            if path.resolve() not in kept:
                path.unlink()
        others = [path for path in older if path not in finals and path.exists() and path.resolve() not in kept]
        names = ", ".join(path.name for path in others)
        if others and overwrite:
            for path in others:
                path.unlink()
            getLogger().info(f"Removed what belonged to the older data set: {names}")
        elif others:  # put there for the new data set, perhaps: nobody asked for their removal
            getLogger().warning(f"{names}: in {folder} already and kept; remove what belongs to other data")
        for path in written:
            os.replace(path, folder / path.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
