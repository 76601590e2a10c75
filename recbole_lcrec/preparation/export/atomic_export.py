"""Any data set that can be read, as atomic files in a folder of the user's.

Knows which files make a data set. Refuses to know what is in them: each form has a module that makes atomic files.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recbole_lcrec.preparation.amazon.prepare import write_amazon
from recbole_lcrec.preparation.forms.convert import convert_published
from recbole_lcrec.preparation.forms.placing import placed
from recbole_lcrec.preparation.locate import DataFiles, find_data_files

__all__ = ["atomic_files", "companions", "export_atomic", "source_files"]

_ATOMIC = ("inter", "item", "user", "kg", "link", "net")
_COMPANIONS = ("index.json", "user.json", "intentions.jsonl")


def source_files(files: DataFiles) -> list[Path]:
    """Every file of a data set where the user keeps it, raw ones included."""
    known = (*_ATOMIC, *_COMPANIONS, "inter.json", "item.json", "item2id", "user2id")
    beside = [path for suffix in known if (path := files.folder / f"{files.name}.{suffix}").is_file()]
    return [*beside, *(files.raw.all() if files.raw else ())]


def companions(files: DataFiles) -> list[Path]:
    """The index and the files of intentions that lie beside a data set; they go with it into every form."""
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
    """A folder with the atomic files of a data set: its own, or one in ``scratch`` that goes afterwards.

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
    """Writes a data set of any form as atomic files, which RecBole reads as it is.

    An index and files of intentions that lie beside the data set are copied; RecBole passes them over.

    Args:
        name: name of the data set.
        folder: where the data set is.
        out_folder: takes the files; RecBole wants it to be called as the data set.
        overwrite: whether an older data set there may go.
        show_progress: whether raw files are read with a bar.

    Returns:
        The files written.

    Raises:
        ValueError: the data set is missing or damaged, or the folder cannot take it.
        OSError: the disk is full, say; what was half written is gone.
    """
    files = find_data_files(name, folder)
    with placed(name, out_folder, overwrite, source_files(files)) as partial:
        _make_atomic(files, partial, show_progress)
        for path in companions(files):
            shutil.copyfile(path, partial / path.name)
        names = [path.name for path in partial.iterdir()]
    return sorted(out_folder / each for each in names)
