"""Import user tables as a data set.

Read, check, and write atomic files together with a report.

Interactions are written user by user in order of first appearance, each user's in time order, ties in the order of the
file. Every change and every dropped row is counted in the report.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from logging import getLogger
from pathlib import Path
from time import perf_counter, time_ns

import numpy as np
import pandas as pd

from recbole_lcrec.config.values import did_you_mean
from recbole_lcrec.data.times import decimal_seconds
from recbole_lcrec.preparation.forms.atomic_writer import write_atomic
from recbole_lcrec.preparation.forms.staging import require_name, staged
from recbole_lcrec.preparation.tables.checks import choose_rows, read_interactions
from recbole_lcrec.preparation.tables.columns import (
    INTERACTIONS,
    ITEMS,
    Header,
    Pair,
    candidate_columns,
    guess_type,
    match_columns,
)
from recbole_lcrec.preparation.tables.findings import BadRowLimit, Finding
from recbole_lcrec.preparation.tables.items import Catalogue, clean_columns, complete_catalogue, read_catalogue
from recbole_lcrec.preparation.tables.page import render_import
from recbole_lcrec.preparation.tables.reading import RawTable, TableSource, open_table
from recbole_lcrec.preparation.tables.report import ImportReport, describe, describe_texts, suggest_commands
from recbole_lcrec.preparation.tables.rows import require_numbers, without_reserved_ids

__all__ = ["ImportOptions", "import_tables", "name_of"]

_RESERVED_ID_MODES = ("stop", "mark")
_SUFFIXES = re.compile(r"(?:\.(?:csv|tsv|tab|txt|json|jsonl|ndjson|parquet|pq|gz))+\Z", re.IGNORECASE)


@dataclass(frozen=True)
class ImportOptions:
    """The tables of an import and its options.

    Attributes:
        name: name of the data set.
        interactions: table of users, items and times.
        items: item table with texts; None for none.
        data_path: folder that contains a folder for each data set.
        pairs: which column is which field.
        types: field -> RecBole's type, to override the guess.
        separator: column separator; None to detect it for each table.
        encoding: encoding of the tables; None for UTF-8, or UTF-16 where it is detected.
        quotes: whether double quotes enclose fields.
        time_format: format of the times; None to detect it.
        bad_row_limit: how many unusable rows of each table may be dropped.
        reserved_ids: ``stop`` counts ids that RecBole reads as missing (NA, null) as bad rows, ``mark`` writes NA_.
        first_only: whether to drop a user's later interactions with the same item.
        drop_unknown_items: whether to drop interactions with items that are not in the item table.
        min_user_interactions: minimum interactions per user; 0 for any.
        min_item_interactions: minimum interactions per item; 0 for any.
        overwrite: whether to replace an existing data set of this name.

    Raises:
        ValueError: the name cannot be a folder name, or a value is out of range.
    """

    name: str
    interactions: Path
    items: Path | None = None
    data_path: Path = Path("dataset")
    pairs: tuple[Pair, ...] = ()
    types: Mapping[str, str] = field(default_factory=dict)
    separator: str | None = None
    encoding: str | None = None
    quotes: bool = True
    time_format: str | None = None
    bad_row_limit: BadRowLimit = field(default_factory=BadRowLimit)
    reserved_ids: str = "stop"
    first_only: bool = False
    drop_unknown_items: bool = False
    min_user_interactions: int = 0
    min_item_interactions: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        require_name(self.name)
        if self.reserved_ids not in _RESERVED_ID_MODES:
            raise ValueError(f"--reserved_ids={self.reserved_ids!r} must be one of {', '.join(_RESERVED_ID_MODES)}")
        for key in ("min_user_interactions", "min_item_interactions"):
            if getattr(self, key) < 0:
                raise ValueError(f"--{key}={getattr(self, key)} must be 0 or more")
        if self.drop_unknown_items and self.items is None:
            raise ValueError("--drop_unknown_items needs an item table; add --items=FILE")


def name_of(interactions: Path) -> str:
    """Return the default name of a data set: the name of the table's file without its suffixes.

    Args:
        interactions: path of the table, such as ``shop.csv.gz``.

    Raises:
        ValueError: the result is not a valid name of a data set.
    """
    name = _SUFFIXES.sub("", interactions.name)
    try:
        require_name(name)
    except ValueError as err:
        raise ValueError(
            f"{err}; it is derived from {interactions}, so give a name: import NAME --interactions=FILE"
        ) from err
    return name


def import_tables(options: ImportOptions) -> ImportReport:
    """Read and check the tables, and write ``<name>.inter``, ``<name>.item`` and the report as HTML and JSON.

    The files are written to a temporary folder and moved when all are complete; ``<name>.inter`` comes last.

    Args:
        options: what to import, and how.

    Raises:
        ValueError: a table cannot be read or used, the data set exists already, or its folder is not writable.
        OSError: the disk is full; partial files have been removed.
    """
    begin, folder = perf_counter(), options.data_path / options.name
    given = [path for path in (options.interactions, options.items) if path is not None]
    with staged(options.name, folder, options.overwrite, given) as partial:
        report = _write(options, partial, begin)
    report.log()
    getLogger().info(f"{folder}: imported in {report.seconds:.1f} s; see {options.name}.import.html")
    return report


@dataclass(frozen=True)
class _Inputs:
    """Contents of the tables, each by table: source, field -> column, rows, field -> type."""

    sources: Mapping[str, TableSource]
    fields: Mapping[str, Mapping[str, str]]
    tables: Mapping[str, RawTable]
    types: Mapping[str, Mapping[str, str]]


def _read(options: ImportOptions) -> _Inputs:
    paths = {INTERACTIONS: options.interactions, ITEMS: options.items}
    sources = {
        table: open_table(
            path,
            options.separator,
            options.encoding,
            options.quotes,
            expected=candidate_columns(table, options.pairs),
        )
        for table, path in paths.items()
        if path is not None
    }
    fields = match_columns(
        {table: Header(source.path, source.columns) for table, source in sources.items()}, options.pairs
    )
    known = sorted({name for own in fields.values() for name in own})
    if unknown := sorted(set(options.types) - set(known)):
        raise ValueError(f"--types: there is no field {unknown[0]!r}{did_you_mean(unknown[0], known)}")
    tables = {table: source.read(fields[table], repeated=("user_id", "item_id")) for table, source in sources.items()}
    types = {
        table: {
            name: options.types.get(name) or guess_type(table, name, read.columns[name].to_numpy(object))
            for name in fields[table]
        }
        for table, read in tables.items()
    }
    for table, read in tables.items():
        require_numbers(read, types[table])
    return _Inputs(sources, fields, tables, types)


def _write(options: ImportOptions, target: Path, begin: float) -> ImportReport:
    """Run all steps, from the tables to the files in an existing folder."""
    given = _read(options)
    item_types, types = given.types.get(ITEMS, {"item_id": "token"}), given.types[INTERACTIONS]
    catalogue, on_items = _catalogue(options, given.tables.get(ITEMS), item_types)
    kept, steps, found = read_interactions(
        given.tables[INTERACTIONS], options.time_format, options.reserved_ids, options.bad_row_limit, time_ns()
    )
    kept, later_steps, later_found = choose_rows(
        kept,
        None if options.items is None else set(catalogue.columns["item_id"]),
        options.first_only,
        options.drop_unknown_items,
        options.min_user_interactions,
        options.min_item_interactions,
    )
    columns, cleaned = clean_columns("cleaned_interactions", kept.columns, types, kept.lines, kept.source, kept.unit)
    items_source = given.sources.get(ITEMS)
    catalogue, on_catalogue = complete_catalogue(
        catalogue,
        kept.columns["item_id"].drop_duplicates().tolist(),
        options.min_item_interactions,
        items_source.path.name if items_source else "",
        "row" if items_source and items_source.form.kind == "parquet" else "line",
        items_source is not None,
    )
    users, items = kept.codes()
    order = np.lexsort((np.arange(len(kept)), kept.nanoseconds, users))
    texts = describe_texts(ITEMS, catalogue.columns, item_types)
    longest = np.flatnonzero(users[order] == np.bincount(users).argmax())
    report = ImportReport(
        name=options.name,
        folder=str(options.data_path / options.name),
        sources={table: f"{source.path} ({source.form.in_words()})" for table, source in given.sources.items()},
        columns={
            table: {f"{name}:{given.types[table][name]}": column for name, column in own.items()}
            for table, own in given.fields.items()
        },
        steps=(*steps, *later_steps),
        findings=(*found, *later_found, *cleaned, *on_items, *on_catalogue),
        numbers=describe(users, items, kept.nanoseconds, len(catalogue)),
        texts=(*texts, *describe_texts(INTERACTIONS, columns, types)),
        commands=suggest_commands(
            options.name,
            str(options.data_path),
            [text.name for text in texts if text.filled],
            columns["item_id"].iloc[order[longest]].tolist(),
        ),
    )
    columns["timestamp"] = pd.Series(decimal_seconds(kept.nanoseconds), dtype=object)
    write_atomic(target / f"{options.name}.inter", _typed(columns, types).iloc[order])
    write_atomic(target / f"{options.name}.item", _typed(catalogue.columns, item_types))
    report = replace(report, seconds=round(perf_counter() - begin, 2))
    (target / f"{options.name}.import.html").write_text(render_import(report), encoding="utf-8")
    report.save(target / f"{options.name}.import.json")
    return report


def _catalogue(
    options: ImportOptions, table: RawTable | None, types: Mapping[str, str]
) -> tuple[Catalogue, tuple[Finding, ...]]:
    if table is None:
        return Catalogue(pd.DataFrame({"item_id": pd.Series([], dtype=object)}), np.zeros(0, dtype=np.int64)), ()
    marked: tuple[Finding, ...] = ()
    if options.reserved_ids == "mark":
        columns, marked = without_reserved_ids(table, ("item_id",))
        table = replace(table, columns=columns)
    columns, cleaned = clean_columns("cleaned_items", table.columns, types, table.lines, table.path.name, table.unit)
    catalogue, found = read_catalogue(replace(table, columns=columns), options.bad_row_limit)
    return catalogue, (*marked, *found, *cleaned)


def _typed(columns: pd.DataFrame, types: Mapping[str, str]) -> pd.DataFrame:
    return columns.rename(columns={name: f"{name}:{types[name]}" for name in columns.columns})
