"""What kind of table a file is: told by its first bytes, not by its name.

Knows magic numbers, byte order marks and separators. Refuses to know columns and rows.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import re
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from recbole_lcrec.config.values import first_line
from recbole_lcrec.preparation.raw_lines import read_lines

__all__ = ["TableForm", "find_form", "undecodable"]

_SAMPLE = 1 << 16
_LINES = 20
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SEPARATORS = ",\t;|"
_NAMED = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
_NUL_SHARE = 0.3
_JSON_ARRAY = re.compile(r"\s*\[\s*(?:\{|$)")


@dataclass(frozen=True)
class TableForm:
    """How a table is written.

    Attributes:
        kind: ``delimited``, ``jsonl`` or ``parquet``.
        separator: of a delimited one.
        encoding: Python's name of it; parquet files have none.
        quotes: whether double quotes enclose fields.
    """

    kind: str
    separator: str = ","
    encoding: str = "utf-8"
    quotes: bool = True

    def in_words(self) -> str:
        """For the report."""
        if self.kind != "delimited":
            return {"jsonl": "JSON lines", "parquet": "parquet"}[self.kind]
        part = next((name for name, sign in _NAMED.items() if sign == self.separator), repr(self.separator))
        part = "tab" if self.separator == "\t" else part
        return f"separator {part}, {self.encoding}{'' if self.quotes else ', quotes as letters'}"


def find_form(path: Path, separator: str | None, encoding: str | None, quotes: bool) -> TableForm:
    """Finds out how a table is written; what the user says is taken as it is.

    Raises:
        ValueError: there is no such file, it is empty, of no known form, or no such separator or encoding.
    """
    sample = _sample(path)
    if not sample.strip():
        raise ValueError(f"{path} is empty; its first line must name the columns")
    if sample.startswith(b"PAR1"):
        return TableForm("parquet")
    if sample.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise ValueError(f"{path} is a workbook or an archive, no table; save it as CSV (UTF-8)")
    encoding = _known_encoding(encoding, sample) if encoding else _sniffed_encoding(sample)
    text = sample.decode(encoding, errors="replace").lstrip("\ufeff")
    if text.lstrip().startswith("{"):
        if encoding.startswith(("utf-16", "utf-32")):
            raise ValueError(f"{path} holds JSON lines in {encoding}, which are read as UTF-8 alone; save it as UTF-8")
        return TableForm("jsonl", encoding=encoding)
    if _JSON_ARRAY.match(text):
        raise ValueError(f"{path} is one JSON array; write its records as JSON lines, one object a line")
    sign = _NAMED.get(separator, separator) if separator else _sniffed_separator(text)
    if len(sign) != 1 or sign in '"\r\n':
        raise ValueError(f"--separator={separator!r} must be one character, or tab, comma, semicolon, pipe, space")
    return TableForm("delimited", sign, encoding, quotes)


def _sample(path: Path) -> bytes:
    try:
        with path.open("rb") as raw:
            if raw.peek(2)[:2] != b"\x1f\x8b":
                return raw.read(_SAMPLE)
            with gzip.GzipFile(fileobj=raw) as unpacked:
                return unpacked.read(_SAMPLE)
    except (EOFError, gzip.BadGzipFile, zlib.error) as err:
        raise ValueError(f"{path} is damaged or was not fetched to its end ({err}); restore it") from err
    except OSError as err:
        raise ValueError(f"{path} cannot be read: {err.strerror or first_line(err)}") from err


def _known_encoding(name: str, sample: bytes) -> str:
    """Python's name of an encoding, that of the one with a byte order mark where the file begins with such a mark."""
    try:
        known = codecs.lookup(name).name
        "".encode(known)  # hex and rot13 are codecs of other things than text
        return next(
            (marked for mark, marked in _MARKS if sample.startswith(mark) and marked.startswith(known[:6])), known
        )
    except LookupError as err:
        raise ValueError(
            f"--encoding={name!r} is unknown; such as utf-8, utf-16, cp1252, latin-1, cp1251, gb18030"
        ) from err


def _sniffed_encoding(sample: bytes) -> str:
    for mark, encoding in _MARKS:
        if sample.startswith(mark):
            return encoding
    half = max(1, len(sample) // 2)
    if sample[1::2].count(0) / half > _NUL_SHARE:
        return "utf-16-le"
    return "utf-16-be" if sample[0::2].count(0) / half > _NUL_SHARE else "utf-8"


def _sniffed_separator(text: str) -> str:
    """The sign that cuts the first lines into the most columns, all lines into as many as the first if possible."""
    lines = text.splitlines(keepends=True)[: _LINES + 1]
    lines = lines[:_LINES] if len(lines) > _LINES else lines[:-1] or lines

    def fitness(sign: str) -> tuple[float, int]:
        try:
            widths = [len(record) for record in csv.reader(lines, delimiter=sign) if record]
        except csv.Error:
            return 0.0, 0
        if not widths or widths[0] < 2:
            return 0.0, 0
        return Counter(widths)[widths[0]] / len(widths), widths[0]

    return max(_SEPARATORS, key=fitness)


def undecodable(path: Path, encoding: str) -> str:
    """The message that names the first byte that is not of the encoding."""
    for number, line in read_lines(path):
        try:
            line.decode(encoding)
        except UnicodeDecodeError as err:
            near = line[max(0, err.start - 20) : err.start + 20].decode("cp1252", errors="replace").strip()
            return (
                f"{path}: line {number}, byte {err.start + 1} ({line[err.start]:#04x}) is not {encoding}; name the "
                f"right encoding, such as --encoding=cp1252 (Windows), which would read {near!r} there"
            )
    return f"{path} is not {encoding}; name the right encoding by --encoding, such as cp1252, utf-8 or utf-16"
