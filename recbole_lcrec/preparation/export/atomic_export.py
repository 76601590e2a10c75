"""Export a data set of any format as atomic files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recbole_lcrec.preparation.amazon.prepare import write_amazon
from recbole_lcrec.preparation.forms.convert import convert_published
from recbole_lcrec.preparation.forms.staging import staged
from recbole_lcrec.preparation.locate import DataFiles, find_data_files

__all__ = ["atomic_files", "companions", "export_atomic", "source_files"]

_ATOMIC = ("inter", "item", "user", "kg", "link", "net")
_COMPANIONS = ("index.json", "user.json", "intentions.jsonl")


def source_files(files: DataFiles) -> list[Path]:
    """Return all source files of a data set, including raw ones."""
    known = (*_ATOMIC, *_COMPANIONS, "inter.json", "item.json", "item2id", "user2id")
    beside = [path for suffix in known if (path := files.folder / f"{files.name}.{suffix}").is_file()]
    return [*beside, *(files.raw.all() if files.raw else ())]


def companions(files: DataFiles) -> list[Path]:
    """Return the index and intention files beside a data set; they are exported with it."""
    return [path for suffix in _COMPANIONS if (path := files.folder / f"{files.name}.{suffix}").is_file()]


def _make_atomic(files: DataFiles, target: Path, show_progress: bool) -> None:
    if files.atomic:
        for suffix in _ATOMIC:
            if (path := files.folder / f"{files.name}.{suffix}").is_file():
                shutil.copyfile(path, target / path.name)
    elif files.raw is not None:
        write_amazon(files.raw, target, show_progress=show_progress)
    else:
        convert_published(files.folder, files.name, target)


@contextmanager
def atomic_files(files: DataFiles, scratch: Path, show_progress: bool = False) -> Iterator[Path]:
    """Yield a folder with the atomic files of a data set: its own, or a temporary one in ``scratch``.

    Raises:
        ValueError: the data set is damaged.
    """
    if files.atomic:
        yield files.folder
        return
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        _make_atomic(files, Path(folder), show_progress)
        yield Path(folder)


def export_atomic(
    name: str, folder: Path, out_folder: Path, overwrite: bool = False, show_progress: bool = False
) -> list[Path]:
    """Write a data set of any format as atomic files for plain RecBole.

    An index and intention files beside the data set are copied; RecBole ignores them.

    Args:
        name: name of the data set.
        folder: folder of the data set.
        out_folder: folder for the files; RecBole requires it to have the name of the data set.
        overwrite: whether to replace an existing data set there.
        show_progress: whether to show progress bars for raw files.

    Returns:
        The files written.

    Raises:
        ValueError: the data set is missing or damaged, or the files cannot be put into the folder.
        OSError: for example, the disk is full; partial files have been removed.
    """
    files = find_data_files(name, folder)
    with staged(name, out_folder, overwrite, source_files(files)) as partial:
        _make_atomic(files, partial, show_progress)
        for path in companions(files):
            shutil.copyfile(path, partial / path.name)
        names = [path.name for path in partial.iterdir()]
    return sorted(out_folder / each for each in names)
