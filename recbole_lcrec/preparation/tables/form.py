"""Detect the format of a table from its first bytes, not from its file name."""

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
    """Format of a table.

    Attributes:
        kind: ``delimited``, ``jsonl`` or ``parquet``.
        separator: column separator of a delimited file.
        encoding: Python's name of the encoding; unused for parquet.
        quotes: whether double quotes enclose fields.
    """

    kind: str
    separator: str = ","
    encoding: str = "utf-8"
    quotes: bool = True

    def in_words(self) -> str:
        """Describe the format for the report."""
        if self.kind != "delimited":
            return {"jsonl": "JSON lines", "parquet": "parquet"}[self.kind]
        name = next((name for name, sign in _NAMED.items() if sign == self.separator), repr(self.separator))
        return f"separator {name}, {self.encoding}{'' if self.quotes else ', quotes as ordinary characters'}"


def find_form(path: Path, separator: str | None, encoding: str | None, quotes: bool) -> TableForm:
    """Detect the format of a table; what the user specifies is used as given.

    Raises:
        ValueError: the file does not exist, is empty or has an unknown format, or the separator or encoding is invalid.
    """
    sample = _sample(path)
    if not sample.strip():
        raise ValueError(f"{path} is empty; its first line must name the columns")
    if sample.startswith(b"PAR1"):
        return TableForm("parquet")
    if sample.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise ValueError(f"{path} is a workbook or an archive, not a table; save it as CSV (UTF-8)")
    encoding = _known_encoding(encoding, sample) if encoding else _sniffed_encoding(sample)
    text = sample.decode(encoding, errors="replace").lstrip("\ufeff")
    if text.lstrip().startswith("{"):
        if encoding.startswith(("utf-16", "utf-32")):
            raise ValueError(f"{path} contains JSON lines in {encoding}, but only UTF-8 is supported; save it as UTF-8")
        return TableForm("jsonl", encoding=encoding)
    if _JSON_ARRAY.match(text):
        raise ValueError(f"{path} is one JSON array; write its records as JSON lines, one object per line")
    sign = _NAMED.get(separator, separator) if separator else _sniffed_separator(text)
    if len(sign) != 1 or sign in '"\r\n':
        raise ValueError(f"--separator={separator!r} must be one character, or tab, comma, semicolon, pipe or space")
    return TableForm("delimited", sign, encoding, quotes)


def _sample(path: Path) -> bytes:
    try:
        with path.open("rb") as raw:
            if raw.peek(2)[:2] != b"\x1f\x8b":
                return raw.read(_SAMPLE)
            with gzip.GzipFile(fileobj=raw) as unpacked:
                return unpacked.read(_SAMPLE)
    except (EOFError, gzip.BadGzipFile, zlib.error) as err:
        raise ValueError(f"{path} is damaged or incomplete ({err}); restore it") from err
    except OSError as err:
        raise ValueError(f"{path} cannot be read: {err.strerror or first_line(err)}") from err


def _known_encoding(name: str, sample: bytes) -> str:
    """Return Python's name of an encoding, in its variant with a byte order mark if the file starts with one."""
    try:
        known = codecs.lookup(name).name
        "".encode(known)  # raises for codecs such as hex and rot13, which are not text encodings
        return next(
            (marked for mark, marked in _MARKS if sample.startswith(mark) and marked.startswith(known[:6])), known
        )
    except LookupError as err:
        raise ValueError(
            f"--encoding={name!r} is unknown; use one such as utf-8, utf-16, cp1252, latin-1, cp1251 or gb18030"
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
    """Return the separator that gives the most consistent column count over the first lines, then the most columns."""
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
    """Return an error message that names the first byte that is invalid in the encoding."""
    for number, line in read_lines(path):
        try:
            line.decode(encoding)
        except UnicodeDecodeError as err:
            near = line[max(0, err.start - 20) : err.start + 20].decode("cp1252", errors="replace").strip()
            return (
                f"{path}: line {number}, byte {err.start + 1} ({line[err.start]:#04x}) is not {encoding}; set the "
                f"right encoding, such as --encoding=cp1252 (Windows), which would read {near!r} there"
            )
    return f"{path} is not {encoding}; set --encoding to the right encoding, such as cp1252, utf-8 or utf-16"
