"""Any data set that can be read, in the form in which the authors of LC-Rec published theirs.

Knows the published files and the columns of atomic ones. Refuses to know models and Config.

The published form has whole numbers for users and items and no times: a user's items stand in exact order of time,
equal times in the order of the file, as they do in every run.
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
from recbole_lcrec.preparation.forms.placing import placed
from recbole_lcrec.preparation.locate import find_data_files

__all__ = ["SourceColumns", "publish"]

_NAMED = 10


@dataclass(frozen=True)
class SourceColumns:
    """Names of the columns that are published.

    Attributes:
        user: users' ids in the ``.inter`` and ``.user`` file.
        item: items' ids in the ``.inter`` and ``.item`` file.
        time: times, any unit.
        title: of the ``.item`` file; None: ``title``, which must be there if the file describes items at all; "": none.
        description: None: ``description`` if there is such a column; "": none.
        brand: likewise.
        categories: likewise.
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
    """Writes ``<name>.inter.json``, ``.item.json``, ``.index.json``, ``.user.json``, ``item2id`` and ``user2id``.

    Ids that are whole numbers stay, and ``item2id`` and ``user2id`` are written where the data know original ids. Else
    users are numbered in the order of the file and items in the order in which the sequences, one after another, first
    name them; those that nobody bought follow. The two id files then hold the ids, and an index and intentions are
    renumbered along. Items without any text are written only where no other file names them.

    Args:
        name: name of the data set.
        folder: where the data set is, in any form.
        out_folder: takes the files.
        index_file: an index of these items; by default ``<name>.index.json`` beside the data, if there is one.
        user_file: intentions of the published form; by default ``<name>.user.json`` beside the data, if there is one.
            ``<name>.intentions.jsonl`` there goes along as well.
        renumber: whether ids that are whole numbers get new numbers, too.
        columns: names of the columns.
        overwrite: whether an older data set there may go.
        show_progress: whether raw files are read with a bar.

    Returns:
        Counts of users, items, interactions, and items with texts.

    Raises:
        ValueError: the data set is missing or damaged, lacks a column, or the folder cannot take the files.
        OSError: the disk is full, say; what was half written is gone.
    """
    columns = columns or SourceColumns()
    files = find_data_files(name, folder)
    index_file = _named(index_file) or files.index
    beside = files.folder / f"{name}.user.json"
    user_file = _named(user_file) or (beside if beside.is_file() else None)
    lines_file = files.folder / f"{name}.intentions.jsonl"
    sources = [*source_files(files), *(path for path in (index_file, user_file) if path)]
    with placed(name, out_folder, overwrite, sources) as target:
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
        index = _pass_index(index_file, items, target / f"{name}.index.json")
        texts = _texts(item_table, items, columns) if item_table is not None else {}
        n_texts = sum(any(entry.values()) for entry in texts.values())
        if n_texts or any(item not in index for item in list(items.values())[bought:]):
            ordered = {number: texts[number] for number in sorted(texts, key=numbers_first)}
            _write_json(target / f"{name}.item.json", ordered)
        _pass_user_texts(user_file, lines_file, users, items, target, name)
        _write_ids(target / f"{name}.item2id", items, item_table, columns.item, "original_id")
        _write_ids(target / f"{name}.user2id", users, user_table, columns.user, "original_user_id")
    return {
        "users": len(users),
        "items": len(items),
        "interactions": sum(map(len, sequences.values())),
        "items with texts": n_texts,
    }


def _named(path: Path | None) -> Path | None:
    if path is not None and not path.is_file():
        raise ValueError(f"{path}: no such file")
    return path


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _table(path: Path, id_column: str) -> AtomicTable | None:
    if not path.is_file():
        return None
    table = read_atomic(path)
    table.require({"the ids' column": id_column})
    ids = table.columns[id_column]
    left_out = set(missing_words(ids)) | {""}
    kept = table.columns[~ids.isin(left_out)]
    twins = kept[id_column][kept[id_column].duplicated()].unique().tolist()
    if twins:
        raise ValueError(f"{path}: {len(twins)} id(s) have several rows, first {twins[:_NAMED]}; keep one each")
    return AtomicTable(path, kept, table.types)


def _sequences(table: AtomicTable, columns: SourceColumns) -> dict[str, list[str]]:
    """User id -> item ids in exact order of time, users in the order of the file."""
    table.require({"--user_field": columns.user, "--item_field": columns.item, "--time_field": columns.time})
    frame = table.columns
    missing = {*missing_words(frame[columns.user].unique()), *missing_words(frame[columns.item].unique()), ""}
    named = ~(frame[columns.user].isin(missing) | frame[columns.item].isin(missing)).to_numpy()
    if not named.all():
        getLogger().warning(
            f"{table.path.name}: {int((~named).sum()):,} rows without a user or an item, as RecBole reads ids, left "
            f"out; the first is line {int(np.flatnonzero(~named)[0]) + 2}"
        )
    rows = np.flatnonzero(named)
    if not len(rows):
        raise ValueError(f"{table.path} holds no interaction")
    users, items = (frame[name].to_numpy()[rows] for name in (columns.user, columns.item))
    times = _numbers(frame[columns.time].to_numpy()[rows])
    codes, names = pd.factorize(users)
    ranks = exact_time_ranks(times, codes, rows)
    order = np.lexsort((ranks, codes))
    bounds = np.flatnonzero(np.diff(codes[order])) + 1
    return {str(user): part.tolist() for user, part in zip(names, np.split(items[order], bounds), strict=True)}


def _numbers(texts: np.ndarray) -> np.ndarray:
    """Texts as Python reads numbers, to the last bit; NaN where one is no number."""
    try:
        return texts.astype(object).astype(np.float64)
    except ValueError:
        return pd.to_numeric(pd.Series(texts), errors="coerce").to_numpy(np.float64)


def _text_columns(table: AtomicTable, columns: SourceColumns) -> dict[str, str]:
    """Published name -> column that holds it."""
    found = {}
    described = set(table.columns) - {columns.item, "original_id"}
    for field in TEXT_FIELDS:
        asked = getattr(columns, field)
        if asked or (asked is None and field == "title" and described):
            table.require({f"--{field}_field": asked or field})
        column = field if asked is None else asked
        if column and column in table.columns:
            found[field] = column
    return found


def _texts(table: AtomicTable, items: Mapping[str, str], columns: SourceColumns) -> dict[str, dict[str, str]]:
    """Number -> title, description, brand and categories, "" where there is none; of the whole catalogue."""
    found = _text_columns(table, columns)
    entries: dict[str, dict[str, str]] = {number: dict.fromkeys(TEXT_FIELDS, "") for number in items.values()}
    for field, column in found.items():
        for item, text in zip(table.columns[columns.item], table.columns[column], strict=True):
            entries[items[item]][field] = one_line(text)
    return entries


def _pass_index(path: Path | None, items: Mapping[str, str], target: Path) -> Mapping[str, Any]:
    if path is None:
        return {}
    index = numbered_index(path, items)
    if _same(items):
        shutil.copyfile(path, target)
    else:
        _write_json(target, index)
    return index


def _pass_user_texts(
    user_file: Path | None,
    lines_file: Path,
    users: Mapping[str, str],
    items: Mapping[str, str],
    target: Path,
    name: str,
) -> None:
    same = _same(users) and _same(items)
    if user_file is not None:
        numbered = numbered_user_texts(user_file, users, items)  # also where ids stay: a damaged file is told
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
    """Writes an id file where the ids were renumbered, or where the data know original ids."""
    originals = {}
    if table is not None and original_column in table.columns:
        known = zip(table.columns[id_column], table.columns[original_column], strict=True)
        originals = {one: original for one, original in known if original and one in numbers}
    if not _same(numbers) and len(originals) < len(numbers):  # a file of both kinds of ids could be read by nobody
        originals = {one: one for one in numbers}
    if originals:
        write_id_file(path, {numbers[one]: originals[one] for one in numbers if one in originals})
