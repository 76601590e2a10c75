"""Texts for a data set that has none: the items of a ``.inter`` file joined with Amazon's metadata.

Knows RecBole's names of Amazon data sets, such as ``amazon-video-games-18``, and where metadata lie. Refuses to know
what the metadata's fields mean: they are read and cleaned as for data sets made from raw files.
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
_FASHION = {"2018": "AMAZON_FASHION", "2023": "Amazon_Fashion"}  # the one category with Amazon's name in its own
_TEXT_COLUMNS = tuple(column.partition(":")[0] for column in ITEM_COLUMNS[1:])
_BAD_LINES = 100


def category_in(name: str) -> tuple[str, str | None]:
    """Amazon's category, and the edition, that RecBole's name of a data set tells.

    ``amazon-video-games-18`` is (``Video_Games``, ``2018``): RecBole's list of addresses has the category's name. A
    name that is not in it is a category itself.
    """
    match, addresses = _RECBOLE_NAME.fullmatch(name), recbole_addresses()
    if match is None or name not in addresses:
        return name, None
    edition = f"20{match['year']}"
    category = addresses[name].rsplit("/", 1)[-1].removesuffix(".zip").removeprefix("Amazon_")
    return _FASHION[edition] if category == "Fashion" else category, edition


def find_metadata(name: str, folder: Path, edition: str | None = None) -> Path:
    """The metadata file in a data set's folder, or in ``raw`` there.

    Raises:
        ValueError: there is none, or there are several; says what it should be called and where it comes from.
    """
    found = sorted(path for place in (folder / "raw", folder) for path in place.glob("meta_*.json*"))
    category, told = category_in(name)
    if edition is not None:
        found = [path for path in found if _edition_of(path, None) == edition] or found
    if len(found) > 1:
        found = [path for path in found if path.name.split(".")[0] == f"meta_{category}"] or found
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(
            f"several files hold metadata: {', '.join(path.name for path in found)}; name one by --metadata"
        )
    try:
        remote = [file for file in remote_files(name, edition or told or "2018", category) if file.kind == "metadata"]
        hint = f", fetched from {remote[0].address}"
    except ValueError:  # the name is that of no category, so there is no address to name
        hint = ""
    raise ValueError(
        f"no metadata of {name!r} in {folder / 'raw'}; put meta_<Category>.json.gz of the 2018 edition or "
        f"meta_<Category>.jsonl.gz of the 2023 edition there{hint}, or name the file by --metadata"
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
    """Writes ``<name>.item`` with title, description, brand and categories of every item of ``<name>.inter``.

    Items without metadata get empty texts. The columns and rows of an older item file stay.

    Args:
        name: name of the data set.
        folder: holds ``<name>.inter``; takes ``<name>.item``.
        metadata: Amazon's metadata; by default what :func:`find_metadata` finds.
        edition: ``2018`` or ``2023``; by default what the file's name or the data set's name tells.
        item_field: name of the items' column.
        overwrite: whether the texts of an older item file may go.
        show_progress: whether bars show the bytes read.

    Returns:
        Counts of items, of items without metadata, of those with metadata but no title, and of items with texts.

    Raises:
        ValueError: a file is missing or damaged, the metadata are of other items, the item file has texts, or the
            folder cannot be written to.
        DiskFullError: the disk is full; the older item file stays.
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
        raise ValueError(f"{bought.path} holds no interaction")
    path = metadata or find_metadata(name, folder, edition)
    if not path.is_file():
        raise ValueError(f"{path}: no such file of metadata")
    edition = edition or _edition_of(path, category_in(name)[1])
    known = scan_metadata(path, edition, BadLines(path, _BAD_LINES), show_progress)
    rows = [known.rows[item] for item in catalogue if item in known.rows]
    if not rows:
        raise ValueError(
            f"{path} has none of the {len(catalogue):,} items of {bought.path}: its ids look like "
            f"{next(iter(known.rows))!r}, theirs like {ids[0]!r}; take the metadata of this category and edition, or "
            "the data set with Amazon's own ids"
        )
    kept = np.zeros(len(known.rows), dtype=bool)
    kept[rows] = True
    partial = folder / f".{name}.joining"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
    except OSError as err:
        raise ValueError(f"{folder} cannot be written to ({err}); take a copy of the data set elsewhere") from err
    try:
        write_items(known, kept, partial / "texts", show_progress)
        texts = read_atomic(partial / "texts").columns.set_index("item_id").reindex(catalogue, fill_value="")
        write_atomic(partial / final.name, _joined(catalogue, item_field, texts, older))
        os.replace(partial / final.name, final)
    except OSError as err:
        if (full := disk_full(err, folder, "the older item file stays")) is None:
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


def _edition_of(path: Path, told: str | None) -> str:
    """By the file's name, else by the data set's."""
    return "2023" if ".jsonl" in path.name else told or "2018"


def _present(ids: pd.Series | list[str]) -> list[str]:
    """Distinct ids in their order, without those that RecBole takes for missing."""
    distinct = dict.fromkeys(ids)
    missing = {"", *missing_words(distinct)}
    return [one for one in distinct if one not in missing]


def _older_items(path: Path, item_field: str, overwrite: bool) -> AtomicTable | None:
    if not path.exists():
        return None
    older = read_atomic(path)
    older.require({"--item_field": item_field})
    held = [column for column in _TEXT_COLUMNS if column in older.columns and older.columns[column].str.strip().any()]
    if held and not overwrite:
        raise ValueError(f"{path} has texts already ({', '.join(held)}); put others in their place by --overwrite")
    if older.columns[item_field].duplicated().any():
        raise ValueError(f"{path}: items have several rows; keep one each")
    return older


def _joined(catalogue: list[str], item_field: str, texts: pd.DataFrame, older: AtomicTable | None) -> pd.DataFrame:
    frame = pd.DataFrame({f"{item_field}:token": catalogue})
    if older is not None:
        others = [column for column in older.columns if column not in (item_field, *_TEXT_COLUMNS)]
        rows = older.columns.set_index(item_field)[others].reindex(catalogue, fill_value="")
        for column in others:
            kind = older.types[column]
            # a lone carriage return would end the row for its next reader
            frame[f"{column}:{kind}" if kind else column] = rows[column].str.replace("\r", " ", regex=False).to_numpy()
    for column in ITEM_COLUMNS[1:]:
        frame[column] = texts[column.partition(":")[0]].to_numpy()
    return frame
