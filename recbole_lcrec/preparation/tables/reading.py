"""A user's own table, whatever its form, as columns of texts with the line that each row came from.

Knows csv, tsv, JSON lines and parquet, gzip, encodings and separators. Refuses to know what a column means. Nothing is
converted: 007, 1e5 and NA stay what the file says.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

import numpy as np
import pandas as pd
from tqdm import tqdm

from recbole_lcrec.config.values import first_line
from recbole_lcrec.preparation.raw_lines import read_lines
from recbole_lcrec.preparation.tables.form import TableForm, find_form, undecodable
from recbole_lcrec.preparation.tables.parquet import column_names, column_texts
from recbole_lcrec.preparation.tables.typed_texts import json_text

__all__ = ["Broken", "RawTable", "TableSource", "open_table"]

_ROWS_AT_ONCE = 1 << 16
_GZIP_MAGIC = b"\x1f\x8b"
_KEYS_FROM = 1000
"""Lines of JSON whose names all count as columns."""
_HALF = re.compile("[\ud800-\udfff]")  # of a surrogate pair, as "\\ud83d" alone in JSON; no file can hold it


@dataclass(frozen=True)
class Broken:
    """A record that is none: where it begins, how many lines it takes, and why."""

    line: int
    n_lines: int
    reason: str


@dataclass(frozen=True, eq=False)
class RawTable:
    """The wanted columns of a table of R rows.

    Attributes:
        path: the file.
        columns: field -> texts, object dtype, as the file has them; "" where a value is missing.
        lines: int64 [R], the line on which each row begins, from 1 (of parquet: the row).
        digests: int64 [R], equal where all columns of the file are equal, the unwanted ones too.
        broken: records that could not be read; they are no rows here.
        unit: what ``lines`` counts, ``line`` or ``row``.
    """

    path: Path
    columns: pd.DataFrame
    lines: np.ndarray
    digests: np.ndarray
    broken: tuple[Broken, ...] = ()
    unit: str = "line"

    def __len__(self) -> int:
        return len(self.lines)


@dataclass(frozen=True)
class TableSource:
    """A table whose columns are known and whose rows are not yet read."""

    path: Path
    form: TableForm
    columns: tuple[str, ...]

    def read(self, wanted: Mapping[str, str], repeated: Collection[str] = ()) -> RawTable:
        """Reads the rows.

        Args:
            wanted: field -> name of its column.
            repeated: fields whose values come up again and again; each value is held once.

        Raises:
            ValueError: the file is damaged, holds what its encoding does not know, or has no rows.
        """
        readers: dict[str, Callable[..., RawTable]] = {
            "delimited": _read_delimited,
            "jsonl": _read_json_lines,
            "parquet": _read_parquet,
        }
        table = readers[self.form.kind](self, wanted, set(repeated))
        if not len(table) and not table.broken:
            raise ValueError(f"{self.path} has names of columns but no rows; nothing can be imported from it")
        return table


def open_table(
    path: Path,
    separator: str | None = None,
    encoding: str | None = None,
    quotes: bool = True,
    looked_for: Collection[str] = (),
) -> TableSource:
    """Finds out the form and the columns of a table.

    Args:
        path: the file.
        separator: what parts the columns; None: found out.
        encoding: of the text; None: UTF-8, or UTF-16 where the file shows it.
        quotes: whether double quotes enclose fields.
        looked_for: names that are found on whatever JSON line they first stand; others on the first thousand lines.

    Raises:
        ValueError: there is no such file, it is empty, damaged, or of no known form.
    """
    form = find_form(path, separator, encoding, quotes)
    if form.kind == "parquet":
        return TableSource(path, form, column_names(path))
    if form.kind == "jsonl":
        keys: dict[str, None] = {}
        broken: list[Broken] = []
        marks = {name: _as_json(name, form.encoding) for name in looked_for}

        def may_name_more(number: int, line: bytes) -> bool:
            if not keys or number <= _KEYS_FROM:
                return True
            lacking = [mark for name, mark in marks.items() if name not in keys]
            return any(plain in line or escaped in line.lower() for plain, escaped in lacking)

        for _, record in _json_objects(path, form.encoding, broken, may_name_more):
            keys.update(dict.fromkeys(record))
        if not keys:
            first = f"; line {broken[0].line}: {broken[0].reason}" if broken else ""
            raise ValueError(f"{path} has no line that is a JSON object with names{first}; write one object a line")
        return TableSource(path, form, tuple(keys))
    with _text_lines(path, form) as stream:
        try:
            names: list[str] = next(_reader(stream, form), [])
        except csv.Error as err:
            raise ValueError(f"{path}: line 1 is no line of column names ({err})") from err
    if not any(names) or names[0].lower() == "sep=":
        raise ValueError(
            f"{path}: line 1 {'names the separator' if any(names) else 'is blank'}; remove it, as the "
            "first line must name the columns"
        )
    return TableSource(path, form, tuple(name.strip() for name in names))


def _reader(stream: TextIO, form: TableForm) -> Any:
    quoting: Any = {"quoting": csv.QUOTE_MINIMAL} if form.quotes else {"quoting": csv.QUOTE_NONE, "quotechar": None}
    return csv.reader(stream, delimiter=form.separator, strict=True, **quoting)


@contextmanager
def _text_lines(path: Path, form: TableForm) -> Iterator[TextIO]:
    """The text of a file; what is wrong with its bytes is told by line."""
    try:
        with path.open("rb") as raw:
            packed = raw.peek(2)[:2] == _GZIP_MAGIC
        with (
            cast(TextIO, gzip.open(path, "rt", encoding=form.encoding, newline=""))
            if packed
            else path.open(encoding=form.encoding, newline="")
        ) as stream:
            yield stream
    except UnicodeError as err:
        raise ValueError(undecodable(path, form.encoding)) from err
    except (EOFError, gzip.BadGzipFile, zlib.error) as err:
        raise ValueError(f"{path} is damaged or was not fetched to its end ({err}); restore it") from err


@dataclass(eq=False)
class _Rows:
    """Grows as rows are read."""

    names: list[str]
    repeated: set[str]
    columns: list[list[str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    digests: list[int] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    waiting: list[tuple[str, ...]] = field(default_factory=list)
    pool: dict[str, str] = field(default_factory=dict)
    bar: tqdm[NoReturn] = field(default_factory=lambda: tqdm(unit=" rows", unit_scale=True, delay=2, leave=False))

    def add(self, line: int, values: tuple[str, ...], digest: int) -> None:
        self.lines.append(line)
        self.digests.append(digest)
        self.waiting.append(values)
        if len(self.waiting) >= _ROWS_AT_ONCE:
            self.settle()

    def settle(self) -> None:
        self.columns = self.columns or [[] for _ in self.names]
        for name, column, values in zip(self.names, self.columns, zip(*self.waiting, strict=True), strict=False):
            once = self.pool.setdefault
            column.extend([once(value, value) for value in values] if name in self.repeated else values)
        self.bar.update(len(self.waiting))
        self.waiting.clear()

    def table(self, path: Path) -> RawTable:
        self.settle()
        self.bar.close()
        frame = pd.DataFrame({name: _objects(column) for name, column in zip(self.names, self.columns, strict=True)})
        counts = np.array(self.lines, dtype=np.int64), np.array(self.digests, dtype=np.int64)
        return RawTable(path, frame, *counts, tuple(self.broken))


def _objects(values: list[str]) -> pd.Series:
    return pd.Series(values, dtype=object)


def _read_delimited(source: TableSource, wanted: Mapping[str, str], repeated: set[str]) -> RawTable:
    places = [source.columns.index(column) for column in wanted.values()]
    take = itemgetter(*places, places[0])  # with one place alone itemgetter would give no tuple
    width, rows = len(source.columns), _Rows(list(wanted), repeated)
    with _text_lines(source.path, source.form) as stream:
        reader = _reader(stream, source.form)
        next(reader, None)
        while True:
            before = reader.line_num
            try:
                record = next(reader)
            except StopIteration:
                break
            except csv.Error as err:
                rows.broken.append(Broken(before + 1, reader.line_num - before, f"no record: {_in_words(err)}"))
                continue
            if len(record) == width:
                rows.add(before + 1, take(record)[:-1], hash(tuple(record)))
            elif record:
                reason = f"{len(record)} fields where the first line has {width}"
                rows.broken.append(Broken(before + 1, reader.line_num - before, reason))
    return rows.table(source.path)


def _in_words(err: csv.Error) -> str:
    text = str(err)
    if "expected after" in text:
        return "a double quote begins the field but does not end it (--no_quotes takes quotes as letters)"
    if "unexpected end" in text:
        return "a double quote is opened and never closed (--no_quotes takes quotes as letters)"
    if "field larger" in text:
        limit = csv.field_size_limit()
        return f"a field of over {limit:,} characters: an open double quote (--no_quotes), or a text to shorten"
    return text


def _as_json(name: str, encoding: str) -> tuple[bytes, bytes]:
    """A name as JSON has it: in letters, and with escapes in small letters."""
    letters = json.dumps(name, ensure_ascii=False).encode(encoding.removesuffix("-sig"), "replace")
    return letters, json.dumps(name).lower().encode()


def _json_objects(
    path: Path, encoding: str, broken: list[Broken], wanted: Callable[[int, bytes], bool] = lambda *_: True
) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in read_lines(path):
        if not line.strip() or not wanted(number, line):
            continue
        try:
            record = json.loads(line.decode(encoding).strip("\ufeff \t\r\n"), strict=False)
        except (ValueError, RecursionError) as err:
            broken.append(Broken(number, 1, f"no JSON ({first_line(err)})"))
            continue
        if isinstance(record, dict):
            yield number, record
        else:
            broken.append(Broken(number, 1, f"holds a {type(record).__name__}, no object"))


def _read_json_lines(source: TableSource, wanted: Mapping[str, str], repeated: set[str]) -> RawTable:
    rows = _Rows(list(wanted), repeated)
    for line, record in _json_objects(source.path, source.form.encoding, rows.broken):
        values = tuple(json_text(record.get(column)) for column in wanted.values())
        halves = [name for name, value in zip(wanted, values, strict=True) if name in repeated and _HALF.search(value)]
        if halves:
            rows.broken.append(Broken(line, 1, f"{halves[0]} holds half of a character (a lone surrogate)"))
            continue
        rows.add(line, values, hash(json.dumps(record, sort_keys=True)))
    return rows.table(source.path)


def _read_parquet(source: TableSource, wanted: Mapping[str, str], repeated: set[str]) -> RawTable:
    texts = column_texts(source.path, set(wanted.values()))
    frame = pd.DataFrame({name: texts[source.columns.index(column)] for name, column in wanted.items()})
    digests = pd.util.hash_pandas_object(pd.DataFrame(dict(enumerate(texts))), index=False).to_numpy().view(np.int64)
    return RawTable(source.path, frame, np.arange(1, len(frame) + 1), digests, unit="row")
