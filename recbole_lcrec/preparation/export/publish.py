"""Export a data set of any format in the format published by LC-Rec's authors.

The published format uses whole numbers as user and item ids and has no times: each user's items are in exact time
order, ties in the order of the file, as in every run.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_lcrec.data.reserved_ids import missing_words
from recbole_lcrec.data.sequences import exact_time_ranks
from recbole_lcrec.preparation.export.atomic_export import atomic_files, source_files
from recbole_lcrec.preparation.export.renumber import numbered_index, numbered_lines, numbered_user_texts, numbers_of
from recbole_lcrec.preparation.forms.atomic_table import AtomicTable, read_atomic
from recbole_lcrec.preparation.forms.convert import TEXT_FIELDS, numbers_first, one_line
from recbole_lcrec.preparation.forms.id_files import write_id_file
from recbole_lcrec.preparation.forms.staging import staged
from recbole_lcrec.preparation.locate import find_data_files

__all__ = ["SourceColumns", "publish"]

_NAMED = 10


@dataclass(frozen=True)
class SourceColumns:
    """Names of the columns to publish.

    Attributes:
        user: user ids in the ``.inter`` and ``.user`` file.
        item: item ids in the ``.inter`` and ``.item`` file.
        time: times, in any unit.
        title: column of the ``.item`` file; None for ``title``, which is required if items are described at all; "" for
            none.
        description: None for ``description`` if there is such a column; "" for none.
        brand: like ``description``.
        categories: like ``description``.
    """

    user: str = "user_id"
    item: str = "item_id"
    time: str = "timestamp"
    title: str | None = None
    description: str | None = None
    brand: str | None = None
    categories: str | None = None


def publish(
    name: str,
    folder: Path,
    out_folder: Path,
    index_file: Path | None = None,
    user_file: Path | None = None,
    renumber: bool = False,
    columns: SourceColumns | None = None,
    overwrite: bool = False,
    show_progress: bool = False,
) -> dict[str, int]:
    """Write ``<name>.inter.json``, ``.item.json``, ``.index.json``, ``.user.json``, ``item2id`` and ``user2id``.

    Ids that are whole numbers are kept, and ``item2id`` and ``user2id`` are written only if original ids are known.
    Other ids are replaced by numbers: users in the order of the file, items in order of first appearance in the
    concatenated sequences, then items without interactions. The two id files then map the ids, and index and intentions
    are renumbered in the same way. Items without any text are written only if no other file names them.

    Args:
        name: name of the data set.
        folder: folder of the data set, in any format.
        out_folder: folder for the files.
        index_file: an index of these items; by default ``<name>.index.json`` beside the data, if it exists.
        user_file: intentions in the published format; by default ``<name>.user.json`` beside the data, if it exists.
            ``<name>.intentions.jsonl`` beside the data is exported as well.
        renumber: whether to renumber ids that are whole numbers too.
        columns: names of the columns.
        overwrite: whether to replace an existing data set there.
        show_progress: whether to show progress bars for raw files.

    Returns:
        Counts of users, items, interactions, and items with texts.

    Raises:
        ValueError: the data set is missing or damaged or lacks a column, or the files cannot be put into the folder.
        OSError: for example, the disk is full; partial files have been removed.
    """
    columns = columns or SourceColumns()
    files = find_data_files(name, folder)
    index_file = _existing(index_file) or files.index
    beside = files.folder / f"{name}.user.json"
    user_file = _existing(user_file) or (beside if beside.is_file() else None)
    lines_file = files.folder / f"{name}.intentions.jsonl"
    sources = [*source_files(files), *(path for path in (index_file, user_file) if path)]
    with staged(name, out_folder, overwrite, sources) as target:
        with atomic_files(files, target, show_progress) as source:
            sequences = _sequences(read_atomic(source / f"{name}.inter"), columns)
            item_table = _table(source / f"{name}.item", columns.item)
            user_table = _table(source / f"{name}.user", columns.user)
        catalogue = dict.fromkeys(item for sequence in sequences.values() for item in sequence)
        bought = len(catalogue)
        if item_table is not None:
            catalogue |= dict.fromkeys(item_table.columns[columns.item])
        users, items = numbers_of(sequences, renumber), numbers_of(catalogue, renumber)
        numbered = {users[user]: [int(items[item]) for item in sequence] for user, sequence in sequences.items()}
        _write_json(target / f"{name}.inter.json", numbered)
        index = _write_index(index_file, items, target / f"{name}.index.json")
        texts = _texts(item_table, items, columns) if item_table is not None else {}
        n_texts = sum(any(entry.values()) for entry in texts.values())
        if n_texts or any(item not in index for item in list(items.values())[bought:]):
            ordered = {number: texts[number] for number in sorted(texts, key=numbers_first)}
            _write_json(target / f"{name}.item.json", ordered)
        _write_user_texts(user_file, lines_file, users, items, target, name)
        _write_ids(target / f"{name}.item2id", items, item_table, columns.item, "original_id")
        _write_ids(target / f"{name}.user2id", users, user_table, columns.user, "original_user_id")
    return {
        "users": len(users),
        "items": len(items),
        "interactions": sum(map(len, sequences.values())),
        "items with texts": n_texts,
    }


def _existing(path: Path | None) -> Path | None:
    if path is not None and not path.is_file():
        raise ValueError(f"{path}: no such file")
    return path


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _table(path: Path, id_column: str) -> AtomicTable | None:
    if not path.is_file():
        return None
    table = read_atomic(path)
    table.require({"the id column": id_column})
    ids = table.columns[id_column]
    missing = set(missing_words(ids)) | {""}
    kept = table.columns[~ids.isin(missing)]
    duplicates = kept[id_column][kept[id_column].duplicated()].unique().tolist()
    if duplicates:
        raise ValueError(
            f"{path}: {len(duplicates)} id(s) have several rows, first {duplicates[:_NAMED]}; keep one row each"
        )
    return AtomicTable(path, kept, table.types)


def _sequences(table: AtomicTable, columns: SourceColumns) -> dict[str, list[str]]:
    """Return user id -> item ids in exact time order, users in the order of the file."""
    table.require({"--user_field": columns.user, "--item_field": columns.item, "--time_field": columns.time})
    frame = table.columns
    missing = {*missing_words(frame[columns.user].unique()), *missing_words(frame[columns.item].unique()), ""}
    named = ~(frame[columns.user].isin(missing) | frame[columns.item].isin(missing)).to_numpy()
    if not named.all():
        getLogger().warning(
            f"{table.path.name}: {int((~named).sum()):,} rows without a user or an item, or with an id that RecBole "
            f"reads as missing, dropped; the first is line {int(np.flatnonzero(~named)[0]) + 2}"
        )
    rows = np.flatnonzero(named)
    if not len(rows):
        raise ValueError(f"{table.path} contains no interaction")
    users, items = (frame[name].to_numpy()[rows] for name in (columns.user, columns.item))
    times = _numbers(frame[columns.time].to_numpy()[rows])
    codes, names = pd.factorize(users)
    ranks = exact_time_ranks(times, codes, rows)
    order = np.lexsort((ranks, codes))
    bounds = np.flatnonzero(np.diff(codes[order])) + 1
    return {str(user): part.tolist() for user, part in zip(names, np.split(items[order], bounds), strict=True)}


def _numbers(texts: np.ndarray) -> np.ndarray:
    """Convert texts to float64 as Python does, exactly; NaN for texts that are not numbers."""
    try:
        return texts.astype(object).astype(np.float64)
    except ValueError:
        return pd.to_numeric(pd.Series(texts), errors="coerce").to_numpy(np.float64)


def _text_columns(table: AtomicTable, columns: SourceColumns) -> dict[str, str]:
    """Return published field -> name of its column."""
    found = {}
    described = set(table.columns) - {columns.item, "original_id"}
    for field in TEXT_FIELDS:
        requested = getattr(columns, field)
        if requested or (requested is None and field == "title" and described):
            table.require({f"--{field}_field": requested or field})
        column = field if requested is None else requested
        if column and column in table.columns:
            found[field] = column
    return found


def _texts(table: AtomicTable, items: Mapping[str, str], columns: SourceColumns) -> dict[str, dict[str, str]]:
    """Return number -> title, description, brand and categories ("" if missing), for the whole catalogue."""
    found = _text_columns(table, columns)
    entries: dict[str, dict[str, str]] = {number: dict.fromkeys(TEXT_FIELDS, "") for number in items.values()}
    for field, column in found.items():
        for item, text in zip(table.columns[columns.item], table.columns[column], strict=True):
            entries[items[item]][field] = one_line(text)
    return entries


def _write_index(path: Path | None, items: Mapping[str, str], target: Path) -> Mapping[str, Any]:
    if path is None:
        return {}
    index = numbered_index(path, items)
    if _same(items):
        shutil.copyfile(path, target)
    else:
        _write_json(target, index)
    return index


def _write_user_texts(
    user_file: Path | None,
    lines_file: Path,
    users: Mapping[str, str],
    items: Mapping[str, str],
    target: Path,
    name: str,
) -> None:
    same = _same(users) and _same(items)
    if user_file is not None:
        numbered = numbered_user_texts(user_file, users, items)  # even if ids stay, to detect a damaged file
        if same:
            shutil.copyfile(user_file, target / f"{name}.user.json")
        else:
            _write_json(target / f"{name}.user.json", numbered)
    if lines_file.is_file():
        text = numbered_lines(lines_file, users, items)
        if same:
            shutil.copyfile(lines_file, target / lines_file.name)
        else:
            (target / lines_file.name).write_text(text, encoding="utf-8", newline="")


def _same(numbers: Mapping[str, str]) -> bool:
    return all(one == number for one, number in numbers.items())


def _write_ids(
    path: Path, numbers: Mapping[str, str], table: AtomicTable | None, id_column: str, original_column: str
) -> None:
    """Write an id file if ids were renumbered, or if original ids are known."""
    originals = {}
    if table is not None and original_column in table.columns:
        known = zip(table.columns[id_column], table.columns[original_column], strict=True)
        originals = {one: original for one, original in known if original and one in numbers}
    if not _same(numbers) and len(originals) < len(numbers):  # mixing both kinds of ids would be ambiguous
        originals = {one: one for one in numbers}
    if originals:
        write_id_file(path, {numbers[one]: originals[one] for one in numbers if one in originals})
