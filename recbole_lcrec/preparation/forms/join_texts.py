"""Add texts from Amazon's metadata to a data set without texts.

An example is RecBole's ``amazon-video-games-18``.
"""

from __future__ import annotations

import os
import re
import shutil
from logging import getLogger
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_lcrec.config.values import did_you_mean
from recbole_lcrec.data.reserved_ids import missing_words
from recbole_lcrec.preparation.amazon.files import EDITIONS, remote_files
from recbole_lcrec.preparation.amazon.metadata import ITEM_COLUMNS, scan_metadata, write_items
from recbole_lcrec.preparation.forms.atomic_table import AtomicTable, read_atomic
from recbole_lcrec.preparation.forms.atomic_writer import write_atomic
from recbole_lcrec.preparation.forms.recbole_downloads import recbole_addresses
from recbole_lcrec.preparation.raw_lines import BadLines
from recbole_lcrec.runtime.disk_full import disk_full

__all__ = ["category_in", "find_metadata", "join_texts"]

_RECBOLE_NAME = re.compile(r"amazon-[a-z0-9-]+-(?P<year>18|23)")
_FASHION = {"2018": "AMAZON_FASHION", "2023": "Amazon_Fashion"}  # the only category that contains Amazon's name
_TEXT_COLUMNS = tuple(column.partition(":")[0] for column in ITEM_COLUMNS[1:])
_BAD_LINES = 100


def category_in(name: str) -> tuple[str, str | None]:
    """Return Amazon's category and the edition that a RecBole data set name refers to.

    ``amazon-video-games-18`` gives (``Video_Games``, ``2018``), from RecBole's list of addresses. A name that is not in
    the list is taken as a category, without an edition.
    """
    match, addresses = _RECBOLE_NAME.fullmatch(name), recbole_addresses()
    if match is None or name not in addresses:
        return name, None
    edition = f"20{match['year']}"
    category = addresses[name].rsplit("/", 1)[-1].removesuffix(".zip").removeprefix("Amazon_")
    return _FASHION[edition] if category == "Fashion" else category, edition


def find_metadata(name: str, folder: Path, edition: str | None = None) -> Path:
    """Find the metadata file in a data set's folder or in its subfolder ``raw``.

    Raises:
        ValueError: there is none, or there are several; names the expected file and where to get it.
    """
    found = sorted(path for place in (folder / "raw", folder) for path in place.glob("meta_*.json*"))
    category, named_edition = category_in(name)
    if edition is not None:
        found = [path for path in found if _edition_of(path, None) == edition] or found
    if len(found) > 1:
        found = [path for path in found if path.name.split(".")[0] == f"meta_{category}"] or found
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(
            f"several files contain metadata: {', '.join(path.name for path in found)}; select one with --metadata"
        )
    try:
        remote = [
            file for file in remote_files(name, edition or named_edition or "2018", category) if file.kind == "metadata"
        ]
        hint = f", downloaded from {remote[0].address}"
    except ValueError:  # the name is not a category, so there is no address
        hint = ""
    raise ValueError(
        f"no metadata of {name!r} in {folder / 'raw'}; put meta_<Category>.json.gz of the 2018 edition or "
        f"meta_<Category>.jsonl.gz of the 2023 edition there{hint}, or select the file with --metadata"
    )


def join_texts(
    name: str,
    folder: Path,
    metadata: Path | None = None,
    edition: str | None = None,
    item_field: str = "item_id",
    overwrite: bool = False,
    show_progress: bool = False,
) -> dict[str, int]:
    """Write ``<name>.item`` with title, description, brand and categories of every item of ``<name>.inter``.

    Items without metadata get empty texts. Other columns and rows of an existing item file are kept.

    Args:
        name: name of the data set.
        folder: folder of ``<name>.inter``, which also receives ``<name>.item``.
        metadata: Amazon's metadata; by default the file found by :func:`find_metadata`.
        edition: ``2018`` or ``2023``; by default inferred from the name of the file or of the data set.
        item_field: name of the item id column.
        overwrite: whether to replace texts of an existing item file.
        show_progress: whether to show progress bars.

    Returns:
        Counts of items, items without metadata, items with metadata but no title, and items with texts.

    Raises:
        ValueError: a file is missing or damaged, the metadata belong to other items, the item file has texts, or the
            folder is not writable.
        DiskFullError: the disk is full; the existing item file is unchanged.
    """
    if edition is not None and edition not in EDITIONS:
        raise ValueError(f"edition = {edition!r} must be one of {', '.join(EDITIONS)}{did_you_mean(edition, EDITIONS)}")
    final = folder / f"{name}.item"
    bought = read_atomic(folder / f"{name}.inter")
    bought.require({"--item_field": item_field})
    older = _older_items(final, item_field, overwrite)
    ids = _present(bought.columns[item_field])
    catalogue = ids if older is None else _present([*ids, *older.columns[item_field]])
    if not ids:
        raise ValueError(f"{bought.path} contains no interaction")
    path = metadata or find_metadata(name, folder, edition)
    if not path.is_file():
        raise ValueError(f"{path}: no such metadata file")
    edition = edition or _edition_of(path, category_in(name)[1])
    known = scan_metadata(path, edition, BadLines(path, _BAD_LINES), show_progress)
    rows = [known.rows[item] for item in catalogue if item in known.rows]
    if not rows:
        raise ValueError(
            f"{path} has none of the {len(catalogue):,} items of {bought.path}: its ids look like "
            f"{next(iter(known.rows))!r}, theirs like {ids[0]!r}; use the metadata of this category and edition, or "
            "a data set with Amazon's original ids"
        )
    kept = np.zeros(len(known.rows), dtype=bool)
    kept[rows] = True
    partial = folder / f".{name}.joining"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
    except OSError as err:
        raise ValueError(f"{folder} is not writable ({err}); copy the data set to another folder") from err
    try:
        write_items(known, kept, partial / "texts", show_progress)
        texts = read_atomic(partial / "texts").columns.set_index("item_id").reindex(catalogue, fill_value="")
        write_atomic(partial / final.name, _joined(catalogue, item_field, texts, older))
        os.replace(partial / final.name, final)
    except OSError as err:
        if (full := disk_full(err, folder, "the existing item file is unchanged")) is None:
            raise
        raise full from err
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    counts = {
        "items": len(catalogue),
        "items without metadata": len(catalogue) - len(rows),
        "items with metadata but without a title": int((~known.titled[rows]).sum()),
        "items with texts": int((texts != "").any(axis=1).sum()),
    }
    getLogger().info(f"{final}: " + ", ".join(f"{count:,} {what}" for what, count in counts.items()))
    return counts


def _edition_of(path: Path, named_edition: str | None) -> str:
    """Infer the edition from the file's name, otherwise from the data set's."""
    return "2023" if ".jsonl" in path.name else named_edition or "2018"


def _present(ids: pd.Series | list[str]) -> list[str]:
    """Return the distinct ids in order, without those that RecBole reads as missing."""
    distinct = dict.fromkeys(ids)
    missing = {"", *missing_words(distinct)}
    return [one for one in distinct if one not in missing]


def _older_items(path: Path, item_field: str, overwrite: bool) -> AtomicTable | None:
    if not path.exists():
        return None
    older = read_atomic(path)
    older.require({"--item_field": item_field})
    filled = [name for name in _TEXT_COLUMNS if name in older.columns and older.columns[name].str.strip().any()]
    if filled and not overwrite:
        raise ValueError(f"{path} has texts already ({', '.join(filled)}); use --overwrite to replace them")
    if older.columns[item_field].duplicated().any():
        raise ValueError(f"{path}: items have several rows; keep one row each")
    return older


def _joined(catalogue: list[str], item_field: str, texts: pd.DataFrame, older: AtomicTable | None) -> pd.DataFrame:
    frame = pd.DataFrame({f"{item_field}:token": catalogue})
    if older is not None:
        others = [column for column in older.columns if column not in (item_field, *_TEXT_COLUMNS)]
        rows = older.columns.set_index(item_field)[others].reindex(catalogue, fill_value="")
        for column in others:
            kind = older.types[column]
            # a lone carriage return would be read as the end of the row
            frame[f"{column}:{kind}" if kind else column] = rows[column].str.replace("\r", " ", regex=False).to_numpy()
    for column in ITEM_COLUMNS[1:]:
        frame[column] = texts[column.partition(":")[0]].to_numpy()
    return frame
