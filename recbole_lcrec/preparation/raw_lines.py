"""Lines of big text files, plain or gzipped, read one by one, with those that are broken counted and named.

Knows gzip, JSON and comma-separated values. Refuses to know what a record means.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator
from logging import getLogger
from pathlib import Path
from typing import Any, BinaryIO, cast

from tqdm import tqdm

__all__ = ["BadLines", "csv_records", "json_records", "read_lines"]

_NAMED = 10
_GZIP_MAGIC = b"\x1f\x8b"
_LINES_A_STEP = 8192


class BadLines:
    """Counts the broken lines of one file and stops when there are too many.

    Args:
        path: the file, for messages.
        limit: how many broken lines are left out before the file is given up; None for any number, without a word,
            where the file is read again and its lines were told of.
    """

    def __init__(self, path: Path, limit: int | None = 100) -> None:
        self.path, self.limit, self.count = path, limit, 0
        self._named: list[str] = []

    def add(self, line: int, reason: object) -> None:
        """Notes one broken line, counted from 1.

        Raises:
            ValueError: there are now more than the limit; names the first of them.
        """
        self.count += 1
        if len(self._named) < _NAMED:
            self._named.append(f"line {line}: {str(reason)[:160]}")
        if self.limit is not None and self.count > self.limit:
            raise ValueError(
                f"{self.path}: more than {self.limit} broken lines, so it is probably another kind of file or damaged; "
                f"the first are {'; '.join(self._named)}"
            )

    def log(self) -> None:
        """Warns of the broken lines, if there are any."""
        if self.count and self.limit is not None:
            more = f"; and {self.count - len(self._named)} more" if self.count > len(self._named) else ""
            getLogger().warning(
                f"{self.path.name}: {self.count} broken line(s) left out: {'; '.join(self._named)}{more}"
            )


def read_lines(path: Path, show_progress: bool = False) -> Iterator[tuple[int, bytes]]:
    """Yields the lines of a file with their numbers, from 1; a gzipped file is told by its first bytes, not its name.

    Args:
        path: the file.
        show_progress: whether a bar shows the bytes read.

    Raises:
        ValueError: the file is gzipped and ends early or is damaged; names the last line that could be read.
    """
    number = 0
    with (
        path.open("rb") as raw,
        tqdm(
            total=path.stat().st_size,
            desc=path.name,
            unit="B",
            unit_scale=True,
            delay=1,
            leave=False,
            disable=not show_progress,
        ) as bar,
    ):
        packed = raw.peek(2)[:2] == _GZIP_MAGIC
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if packed else raw
        try:
            for number, line in enumerate(stream, 1):
                if number % _LINES_A_STEP == 0:
                    bar.update(raw.tell() - bar.n)
                yield number, line
        except (EOFError, gzip.BadGzipFile, zlib.error) as err:
            raise ValueError(
                f"{path} is damaged or was not fetched to its end ({err}); {number:,} lines could be read. "
                "Remove it and fetch it again"
            ) from err
        bar.update(raw.tell() - bar.n)


def json_records(path: Path, bad: BadLines, show_progress: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the JSON objects of a file that holds one a line, with their line numbers.

    Control characters inside of texts are let through, although JSON forbids them. Blank lines are passed over.

    Raises:
        ValueError: the file is damaged, or has too many lines that hold no object.
    """
    for number, line in read_lines(path, show_progress):
        if not line.strip():
            continue
        try:
            record = json.loads(line, strict=False)
        except (ValueError, RecursionError) as err:  # bad UTF-8 is a ValueError too
            bad.add(number, f"no JSON ({err})")
            continue
        if isinstance(record, dict):
            yield number, record
        else:
            bad.add(number, f"holds a {type(record).__name__}, no object")


def csv_records(path: Path, bad: BadLines, show_progress: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Yields the fields of a comma-separated file, with their line numbers; one line is one record.

    Raises:
        ValueError: the file is damaged, or has too many lines that are no UTF-8 or no record.
    """
    for number, line in read_lines(path, show_progress):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n")
            if text:
                yield number, next(csv.reader([text], strict=True)) if '"' in text else text.split(",")
        except (UnicodeDecodeError, csv.Error) as err:
            bad.add(number, err)
