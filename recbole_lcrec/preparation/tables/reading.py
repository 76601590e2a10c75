"""Read a user table of any supported format as text columns, with the line of each row.

Supports csv, tsv, JSON lines and parquet, plain or gzipped, in any encoding. Values are not converted: 007, 1e5 and NA
are read as written.
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

__all__ = ["BrokenRecord", "RawTable", "TableSource", "open_table"]

_ROWS_AT_ONCE = 1 << 16
_GZIP_MAGIC = b"\x1f\x8b"
_KEYS_FROM = 1000
"""Number of JSON lines whose keys all count as columns."""
_SURROGATE = re.compile("[\ud800-\udfff]")  # a lone surrogate, such as "\\ud83d" in JSON, cannot be encoded in UTF-8


@dataclass(frozen=True)
class BrokenRecord:
    """A record that cannot be read: its first line, its number of lines, and the reason."""

    line: int
    n_lines: int
    reason: str


@dataclass(frozen=True, eq=False)
class RawTable:
    """The requested columns of a table of R rows, as texts.

    Attributes:
        path: the file.
        columns: field -> texts, object dtype, as written in the file; "" for missing values.
        lines: int64 [R], first line of each row, counted from 1 (for parquet: the row number).
        digests: int64 [R], equal for rows whose columns are all equal, including columns that were not requested.
        broken: records that could not be read; they are not among the rows.
        unit: what ``lines`` counts, ``line`` or ``row``.
    """

    path: Path
    columns: pd.DataFrame
    lines: np.ndarray
    digests: np.ndarray
    broken: tuple[BrokenRecord, ...] = ()
    unit: str = "line"

    def __len__(self) -> int:
        return len(self.lines)


@dataclass(frozen=True)
class TableSource:
    """A table whose header has been read, but not its rows."""

    path: Path
    form: TableForm
    columns: tuple[str, ...]

    def read(self, requested: Mapping[str, str], repeated: Collection[str] = ()) -> RawTable:
        """Read the rows.

        Args:
            requested: field -> name of its column.
            repeated: fields with many repeated values; each distinct value is stored once.

        Raises:
            ValueError: the file is damaged, is invalid in its encoding, or has no rows.
        """
        readers: dict[str, Callable[..., RawTable]] = {
            "delimited": _read_delimited,
            "jsonl": _read_json_lines,
            "parquet": _read_parquet,
        }
        table = readers[self.form.kind](self, requested, set(repeated))
        if not len(table) and not table.broken:
            raise ValueError(f"{self.path} has a header but no rows; there is nothing to import")
        return table


def open_table(
    path: Path,
    separator: str | None = None,
    encoding: str | None = None,
    quotes: bool = True,
    expected: Collection[str] = (),
) -> TableSource:
    """Detect the format of a table and read its header.

    Args:
        path: the file.
        separator: column separator; None to detect it.
        encoding: encoding of the text; None for UTF-8, or UTF-16 where it is detected.
        quotes: whether double quotes enclose fields.
        expected: names that are found on whichever JSON line they first appear; other names only on the first 1000
            lines.

    Raises:
        ValueError: the file does not exist, is empty, damaged, or of an unknown format.
    """
    form = find_form(path, separator, encoding, quotes)
    if form.kind == "parquet":
        return TableSource(path, form, column_names(path))
    if form.kind == "jsonl":
        keys: dict[str, None] = {}
        broken: list[BrokenRecord] = []
        written = {name: _as_json(name, form.encoding) for name in expected}

        def may_add_columns(number: int, line: bytes) -> bool:
            if not keys or number <= _KEYS_FROM:
                return True
            missing = [form for name, form in written.items() if name not in keys]
            return any(plain in line or escaped in line.lower() for plain, escaped in missing)

        for _, record in _json_objects(path, form.encoding, broken, may_add_columns):
            keys.update(dict.fromkeys(record))
        if not keys:
            first = f"; line {broken[0].line}: {broken[0].reason}" if broken else ""
            raise ValueError(f"{path} has no line with a JSON object{first}; write one object per line")
        return TableSource(path, form, tuple(keys))
    with _text_lines(path, form) as stream:
        try:
            names: list[str] = next(_reader(stream, form), [])
        except csv.Error as err:
            raise ValueError(f"{path}: line 1 is not a line of column names ({err})") from err
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
    """Open a file as text; errors in its bytes are reported with their line."""
    try:
        with path.open("rb") as raw:
            compressed = raw.peek(2)[:2] == _GZIP_MAGIC
        with (
            cast(TextIO, gzip.open(path, "rt", encoding=form.encoding, newline=""))
            if compressed
            else path.open(encoding=form.encoding, newline="")
        ) as stream:
            yield stream
    except UnicodeError as err:
        raise ValueError(undecodable(path, form.encoding)) from err
    except (EOFError, gzip.BadGzipFile, zlib.error) as err:
        raise ValueError(f"{path} is damaged or incomplete ({err}); restore it") from err


@dataclass(eq=False)
class _Rows:
    """Accumulates rows as they are read."""

    names: list[str]
    repeated: set[str]
    columns: list[list[str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    digests: list[int] = field(default_factory=list)
    broken: list[BrokenRecord] = field(default_factory=list)
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


def _read_delimited(source: TableSource, requested: Mapping[str, str], repeated: set[str]) -> RawTable:
    places = [source.columns.index(column) for column in requested.values()]
    take = itemgetter(*places, places[0])  # at least two, so that itemgetter returns a tuple
    width, rows = len(source.columns), _Rows(list(requested), repeated)
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
                rows.broken.append(
                    BrokenRecord(before + 1, reader.line_num - before, f"not a record: {_in_words(err)}")
                )
                continue
            if len(record) == width:
                rows.add(before + 1, take(record)[:-1], hash(tuple(record)))
            elif record:
                reason = f"{len(record)} fields where the first line has {width}"
                rows.broken.append(BrokenRecord(before + 1, reader.line_num - before, reason))
    return rows.table(source.path)


def _in_words(err: csv.Error) -> str:
    text = str(err)
    if "expected after" in text:
        return "a double quote starts the field but does not end it (--no_quotes reads quotes as ordinary characters)"
    if "unexpected end" in text:
        return "a double quote is never closed (--no_quotes reads quotes as ordinary characters)"
    if "field larger" in text:
        limit = csv.field_size_limit()
        return f"a field of over {limit:,} characters: an unclosed double quote (--no_quotes), or a text to shorten"
    return text


def _as_json(name: str, encoding: str) -> tuple[bytes, bytes]:
    """Return a name as it appears in JSON: unescaped, and escaped in lower case."""
    letters = json.dumps(name, ensure_ascii=False).encode(encoding.removesuffix("-sig"), "replace")
    return letters, json.dumps(name).lower().encode()


def _json_objects(
    path: Path, encoding: str, broken: list[BrokenRecord], relevant: Callable[[int, bytes], bool] = lambda *_: True
) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in read_lines(path):
        if not line.strip() or not relevant(number, line):
            continue
        try:
            record = json.loads(line.decode(encoding).strip("\ufeff \t\r\n"), strict=False)
        except (ValueError, RecursionError) as err:
            broken.append(BrokenRecord(number, 1, f"not JSON ({first_line(err)})"))
            continue
        if isinstance(record, dict):
            yield number, record
        else:
            broken.append(BrokenRecord(number, 1, f"a {type(record).__name__}, not an object"))


def _read_json_lines(source: TableSource, requested: Mapping[str, str], repeated: set[str]) -> RawTable:
    rows = _Rows(list(requested), repeated)
    for line, record in _json_objects(source.path, source.form.encoding, rows.broken):
        values = tuple(json_text(record.get(column)) for column in requested.values())
        invalid = [n for n, value in zip(requested, values, strict=True) if n in repeated and _SURROGATE.search(value)]
        if invalid:
            rows.broken.append(BrokenRecord(line, 1, f"{invalid[0]} contains half of a character (a lone surrogate)"))
            continue
        rows.add(line, values, hash(json.dumps(record, sort_keys=True)))
    return rows.table(source.path)


def _read_parquet(source: TableSource, requested: Mapping[str, str], repeated: set[str]) -> RawTable:
    texts = column_texts(source.path, set(requested.values()))
    frame = pd.DataFrame({name: texts[source.columns.index(column)] for name, column in requested.items()})
    digests = pd.util.hash_pandas_object(pd.DataFrame(dict(enumerate(texts))), index=False).to_numpy().view(np.int64)
    return RawTable(source.path, frame, np.arange(1, len(frame) + 1), digests, unit="row")
