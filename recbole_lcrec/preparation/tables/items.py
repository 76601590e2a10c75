"""Checks of an item table.

One row per item, cleaned texts, and the catalogue that a run ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from recbole_lcrec.data.item_text import clean_text
from recbole_lcrec.data.reserved_ids import RESERVED_IDS
from recbole_lcrec.preparation.tables.findings import BadRowLimit, Finding, examples_of, finding
from recbole_lcrec.preparation.tables.reading import RawTable
from recbole_lcrec.preparation.tables.rows import usable_rows

__all__ = ["Catalogue", "clean_columns", "complete_catalogue", "read_catalogue"]

# Texts that clean_text may change; most texts do not match and need no cleaning.
_PLAIN = r"[<&\x00-\x1f\x7f-\xa0\u1680\u2000-\u200b\u2028\u2029\u202f\u205f\u3000\ufeff\ud800-\udfff]|  |^[ \[]| $"
_PLACEHOLDERS = {"n/a", "na", "nan", "null", "none", "unknown", "untitled", "no title", "tbd", "test", "-", "?", "."}


@dataclass(frozen=True, eq=False)
class Catalogue:
    """N items, one row each.

    Attributes:
        columns: field -> texts, ``item_id`` first.
        lines: int64 [N], line of each item; 0 for items that are not in the table.
    """

    columns: pd.DataFrame
    lines: np.ndarray

    def __len__(self) -> int:
        return len(self.lines)


def read_catalogue(table: RawTable, limit: BadRowLimit) -> tuple[Catalogue, tuple[Finding, ...]]:
    """Return the items of the table, in its order.

    Args:
        table: with ``item_id``.
        limit: allowed number of bad rows.

    Raises:
        ValueError: more bad rows than the limit, or an item with several different rows.
    """
    ids = table.columns["item_id"]
    bad = {
        "blank_item_rows": (ids.str.strip().eq("").to_numpy(bool), ids),
        "nul_id": (ids.str.contains("\0", regex=False).to_numpy(bool), ids),
        "missing_id": (ids.isin(RESERVED_IDS).to_numpy(bool), ids),
    }
    usable, found = usable_rows(table, bad, limit)
    columns, lines = table.columns[usable].reset_index(drop=True), table.lines[usable]
    copies = columns.duplicated().to_numpy()
    found += finding(
        "item_copies",
        copies.sum(),
        len(columns),
        "dropped",
        examples_of(table.path.name, table.unit, lines[copies], columns["item_id"][copies]),
    )
    columns, lines = columns[~copies].reset_index(drop=True), lines[~copies]
    _require_one_row(table, columns, lines)
    return Catalogue(columns, lines), found


def _require_one_row(table: RawTable, columns: pd.DataFrame, lines: np.ndarray) -> None:
    duplicates = columns["item_id"].duplicated(keep=False).to_numpy()
    if not duplicates.any():
        return
    examples = []
    for item, rows in columns[duplicates].groupby("item_id", sort=False):
        differing = [str(name) for name in columns.columns if rows[name].nunique() > 1]
        examples.append(
            f"{item!r} on {table.unit}s {', '.join(map(str, lines[rows.index][:4]))} ({', '.join(differing)})"
        )
        if len(examples) == 5:
            break
    count = columns["item_id"][duplicates].nunique()
    raise ValueError(
        f"{table.path}: {count:,} item(s) have several different rows: {'; '.join(examples)}; keep one row each"
    )


def clean_columns(
    key: str, columns: pd.DataFrame, types: Mapping[str, str], lines: np.ndarray, source: str, unit: str
) -> tuple[pd.DataFrame, tuple[Finding, ...]]:
    """Clean the texts of all columns except ids and times with :func:`clean_text`, one plain line per value.

    Args:
        key: key of the finding, ``cleaned_items`` or ``cleaned_interactions``.
        columns: field -> texts.
        types: field -> RecBole's type.
        lines: int64 [R].
        source: name of the file.
        unit: ``line`` or ``row``.
    """
    cleaned, changed = columns.copy(), np.zeros(len(columns), dtype=bool)
    before = np.full(len(columns), "", dtype=object)
    for name in columns.columns:
        if name in ("user_id", "item_id", "timestamp"):
            continue
        column = columns[name]
        rows = np.flatnonzero(column.str.contains(_PLAIN).to_numpy(bool))
        if not len(rows):
            continue
        values = column.to_numpy(object).copy()
        values[rows] = [clean_text(text) for text in values[rows]]
        cleaned[name] = pd.Series(values, index=columns.index, dtype=object)
        if types.get(name) != "float":
            altered = values != column.str.strip(" ").to_numpy(object)
            before[altered & ~changed] = column.to_numpy(object)[altered & ~changed]
            changed |= altered
    shown = [repr(text) for text in before[changed][:5]]
    return cleaned, finding(
        key, changed.sum(), len(columns), "changed", examples_of(source, unit, lines[changed][:5], shown)
    )


def complete_catalogue(
    catalogue: Catalogue, bought: Sequence[str], k_item: int, source: str, unit: str, has_table: bool
) -> tuple[Catalogue, tuple[Finding, ...]]:
    """Return the catalogue that a run ranks: the table's items, then those that occur only in interactions.

    Args:
        catalogue: items of the table; empty if there is no table.
        bought: distinct item ids of the interactions, in order of first appearance.
        k_item: minimum interactions per item; above 1, items not in ``bought`` are dropped.
        source: name of the table.
        unit: ``line`` or ``row``.
        has_table: whether there is an item table.
    """
    found: tuple[Finding, ...] = ()
    columns, lines = catalogue.columns, catalogue.lines

    def found_in(key: str, rows: np.ndarray, action: str) -> tuple[Finding, ...]:
        shown = examples_of(source, unit, lines[rows][:5], columns["item_id"][rows][:5])
        return finding(key, rows.sum(), len(columns), action, shown)

    idle = ~columns["item_id"].isin(bought).to_numpy(bool)
    if k_item > 1:
        found += found_in("rare_items", idle, "dropped")
        columns, lines = columns[~idle].reset_index(drop=True), lines[~idle]
    elif has_table:
        found += found_in("never_bought", idle, "kept")
    if has_table:
        found += _text_findings(columns, found_in)
    listed = set(columns["item_id"])
    new = [item for item in bought if item not in listed]
    added = pd.DataFrame({"item_id": pd.Series(new, dtype=object)}).reindex(columns=columns.columns, fill_value="")
    whole = pd.concat([columns, added.astype(object)], ignore_index=True)
    if not has_table:
        found += finding("no_items_table", len(whole), len(whole), "note")
    return Catalogue(whole, np.concatenate([lines, np.zeros(len(new), dtype=np.int64)])), found


def _text_findings(
    columns: pd.DataFrame, found_in: Callable[[str, np.ndarray, str], tuple[Finding, ...]]
) -> tuple[Finding, ...]:
    texts = [name for name in columns.columns if name != "item_id"]
    found: tuple[Finding, ...] = ()
    if "title" in texts:
        found += found_in("blank_titles", columns["title"].eq("").to_numpy(bool), "kept")
        placeholder = columns["title"].str.lower().isin(_PLACEHOLDERS).to_numpy(bool)
        found += found_in("placeholder_titles", placeholder, "kept")
    blank = np.logical_and.reduce(
        [columns[name].eq("").to_numpy(bool) for name in texts] or [np.ones(len(columns), bool)]
    )
    return found + found_in("no_text", blank, "kept")
