"""Map the columns of user tables to fields of the data set.

RecBole's types are chosen for the fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_lcrec.config.values import did_you_mean

__all__ = [
    "INTERACTIONS",
    "ITEMS",
    "Header",
    "Pair",
    "candidate_columns",
    "guess_type",
    "match_columns",
    "parse_pairs",
    "parse_types",
]

INTERACTIONS, ITEMS = "interactions", "items"
KNOWN_TYPES: dict[str, dict[str, str]] = {
    INTERACTIONS: {
        "user_id": "token",
        "item_id": "token",
        "timestamp": "float",
        "rating": "float",
        "summary": "token_seq",
        "review": "token_seq",
    },
    ITEMS: {
        "item_id": "token",
        "title": "token_seq",
        "description": "token_seq",
        "brand": "token",
        "categories": "token_seq",
    },
}
"""Table -> field -> type, for fields that need no pair if a column has the same name."""
_REQUIRED = {INTERACTIONS: ("user_id", "item_id", "timestamp"), ITEMS: ("item_id",)}
_FIXED = ("user_id", "item_id", "timestamp")
_TYPES = ("token", "token_seq", "float", "float_seq")
_SPLIT = re.compile(r"[,\s]+(?=[A-Za-z_][\w.]*=)")
_PAIR = re.compile(r"(?:(?P<table>interactions|items)\.)?(?P<ours>[A-Za-z_]\w*)=(?P<theirs>.+)", re.DOTALL)
_NUMBER = r"[+-]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?"
_PROSE = 0.5


@dataclass(frozen=True)
class Pair:
    """``ours=theirs``: a field and its column; ``table`` is empty if the pair applies to any table with the column."""

    ours: str
    theirs: str
    table: str = ""

    def __str__(self) -> str:
        return f"{self.table}{'.' if self.table else ''}{self.ours}={self.theirs}"


@dataclass(frozen=True)
class Header:
    """A table's column names, from its first line."""

    path: Path
    columns: tuple[str, ...]


def parse_pairs(words: Iterable[str], flag: str = "--columns") -> tuple[Pair, ...]:
    """Parse pairs separated by commas or blanks; a column name may contain blanks.

    Raises:
        ValueError: a part is not a pair.
    """
    pairs = []
    for word in words:
        for part in filter(None, _SPLIT.split(word.strip().strip(","))):
            match = _PAIR.fullmatch(part)
            if match is None:
                raise ValueError(
                    f"{flag}: {part!r} is not a pair; write ours=theirs, such as user_id=customer, without blanks "
                    "around '=' (items.item_id=id or interactions.item_id=sku if the two tables differ)"
                )
            pairs.append(Pair(match["ours"], match["theirs"].strip().rstrip(","), match["table"] or ""))
    return tuple(dict.fromkeys(pairs))


def parse_types(words: Iterable[str]) -> dict[str, str]:
    """Parse pairs ``field=type``.

    Raises:
        ValueError: a part is not a pair, the type is unknown, or the type of the field is fixed.
    """
    types = {}
    for pair in parse_pairs(words, "--types"):
        if pair.theirs not in _TYPES:
            near = did_you_mean(pair.theirs, _TYPES)
            raise ValueError(f"--types: no type {pair.theirs!r}; the types are {', '.join(_TYPES)}{near}")
        if pair.ours in _FIXED:
            raise ValueError(f"--types: the type of {pair.ours} is fixed; remove {pair}")
        types[pair.ours] = pair.theirs
    return types


def match_columns(headers: Mapping[str, Header], pairs: Sequence[Pair]) -> dict[str, dict[str, str]]:
    """Find the column of each field.

    A pair applies to the table that it names, or else to the table that its field belongs to, if that has the column.
    Columns with standard names need no pair. Other columns are ignored.

    Args:
        headers: ``interactions`` and optionally ``items``.
        pairs: pairs given by the user.

    Returns:
        table -> field -> name of the column; known fields first, then the others in the order of the pairs.

    Raises:
        ValueError: a column is missing or named twice, a pair matches no table, or a field comes from both tables.
    """
    applicable: dict[Pair, list[str]] = {
        pair: [table for table in _tables_of(pair) if table in headers and pair.theirs in headers[table].columns]
        for pair in pairs
    }
    for pair, tables in applicable.items():
        if not tables:
            raise ValueError(_unmatched(pair, headers))
        if len(tables) > 1 and pair.ours != "item_id":
            raise ValueError(
                f"--columns: both tables have a column {pair.theirs!r}; write items.{pair} or interactions.{pair}"
            )
    found = {table: _fields(table, header, applicable) for table, header in headers.items()}
    both = set(found.get(INTERACTIONS, {})) & set(found.get(ITEMS, {})) - {"item_id"}
    if both:
        raise ValueError(
            f"both tables have a field {min(both)!r}, which RecBole cannot distinguish; rename one by "
            f"--columns, such as items.item_{min(both)}={found[ITEMS][min(both)]}"
        )
    return found


def candidate_columns(table: str, pairs: Sequence[Pair]) -> set[str]:
    """Return the columns that :func:`match_columns` may use: those named in pairs, and those with standard names."""
    return {*KNOWN_TYPES[table], *(pair.theirs for pair in pairs if table in _tables_of(pair))}


def _tables_of(pair: Pair) -> list[str]:
    if pair.table:
        return [pair.table]
    return [table for table, known in KNOWN_TYPES.items() if pair.ours in known] or list(KNOWN_TYPES)


def _unmatched(pair: Pair, headers: Mapping[str, Header]) -> str:
    searched = {table: header for table, header in headers.items() if table in _tables_of(pair)}
    if not searched:
        return f"--columns: {pair} is for the items, but there is no item table; add --items=FILE"
    listed = "; ".join(
        f"{header.path.name} has {', '.join(map(repr, header.columns))}{did_you_mean(pair.theirs, header.columns)}"
        for header in searched.values()
    )
    return f"--columns: no column {pair.theirs!r}, which {pair} needs: {listed}"


def _fields(table: str, header: Header, applicable: Mapping[Pair, Sequence[str]]) -> dict[str, str]:
    given: dict[str, str] = {}
    for pair in (pair for pair, tables in applicable.items() if table in tables):
        if given.setdefault(pair.ours, pair.theirs) != pair.theirs:
            raise ValueError(
                f"--columns: {header.path.name} has both {given[pair.ours]!r} and {pair.theirs!r} for {pair.ours}; "
                f"keep one, or write {table}.{pair.ours}=... for this table alone"
            )
    taken = set(given.values())
    fields = {name: given.get(name, name) for name in KNOWN_TYPES[table] if name in given or _free(name, header, taken)}
    fields.update(given)
    missing = [name for name in _REQUIRED[table] if name not in fields]
    if missing:
        near = "".join(did_you_mean(name, header.columns) for name in missing)
        raise ValueError(
            f"{header.path}: no column {', '.join(map(repr, missing))}; its columns are "
            f"{', '.join(map(repr, header.columns))}{near or '.'} Select one by --columns {missing[0]}=<column>; "
            "the first line must contain the column names, separated by --separator"
        )
    for name, column in fields.items():
        if header.columns.count(column) > 1:
            raise ValueError(f"{header.path}: several columns are called {column!r}, needed as {name}; rename one")
    return fields


def _free(name: str, header: Header, taken: set[str]) -> bool:
    return name in header.columns and name not in taken


def guess_type(table: str, name: str, values: np.ndarray) -> str:
    """Return RecBole's type of a field: fixed for known fields, otherwise a conservative guess.

    ``float`` only if every value is a plain number and at least one has decimals (whole numbers may be codes),
    ``token_seq`` if most values contain blanks, otherwise ``token``.

    Args:
        table: ``interactions`` or ``items``.
        name: name of the field.
        values: object [R], texts.
    """
    if name in KNOWN_TYPES[table]:
        return KNOWN_TYPES[table][name]
    present = pd.Series(values, dtype=object).str.strip()
    present = present[present != ""]
    if not len(present):
        return "token"
    if present.str.fullmatch(_NUMBER).all() and present.str.contains(".", regex=False).any():
        return "float"
    return "token_seq" if present.str.contains(r"\s").mean() > _PROSE else "token"
