"""Read large text files line by line, plain or gzipped.

Broken lines are counted and reported.
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
_LINES_PER_UPDATE = 8192


class BadLines:
    """Counter of the broken lines of one file, with a limit.

    Args:
        path: the file, for messages.
        limit: number of broken lines that are skipped before an error is raised; None for no limit and no log, for a
            second pass over a file.
    """

    def __init__(self, path: Path, limit: int | None = 100) -> None:
        self.path, self.limit, self.count = path, limit, 0
        self._named: list[str] = []

    def add(self, line: int, reason: object) -> None:
        """Record one broken line, counted from 1.

        Raises:
            ValueError: the limit is exceeded; names the first broken lines.
        """
        self.count += 1
        if len(self._named) < _NAMED:
            self._named.append(f"line {line}: {str(reason)[:160]}")
        if self.limit is not None and self.count > self.limit:
            raise ValueError(
                f"{self.path}: more than {self.limit} broken lines, so it is probably damaged or another kind of file; "
                f"the first are {'; '.join(self._named)}"
            )

    def log(self) -> None:
        """Log a warning if there were broken lines."""
        if self.count and self.limit is not None:
            more = f"; and {self.count - len(self._named)} more" if self.count > len(self._named) else ""
            getLogger().warning(
                f"{self.path.name}: {self.count} broken line(s) skipped: {'; '.join(self._named)}{more}"
            )


def read_lines(path: Path, show_progress: bool = False) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file with their numbers, from 1; gzip is detected from the first bytes, not from the name.

    Args:
        path: the file.
        show_progress: whether to show a progress bar.

    Raises:
        ValueError: the gzipped file is truncated or damaged; names the last readable line.
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
        compressed = raw.peek(2)[:2] == _GZIP_MAGIC
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if compressed else raw
        try:
            for number, line in enumerate(stream, 1):
                if number % _LINES_PER_UPDATE == 0:
                    bar.update(raw.tell() - bar.n)
                yield number, line
        except (EOFError, gzip.BadGzipFile, zlib.error) as err:
            raise ValueError(
                f"{path} is damaged or incomplete ({err}); {number:,} lines could be read. Remove it and download it "
                "again"
            ) from err
        bar.update(raw.tell() - bar.n)


def json_records(path: Path, bad: BadLines, show_progress: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a file with one JSON object per line, with their line numbers.

    Control characters inside strings are accepted, although JSON forbids them. Blank lines are skipped.

    Raises:
        ValueError: the file is damaged, or has too many lines that are not JSON objects.
    """
    for number, line in read_lines(path, show_progress):
        if not line.strip():
            continue
        try:
            record = json.loads(line, strict=False)
        except (ValueError, RecursionError) as err:  # bad UTF-8 is a ValueError too
            bad.add(number, f"not JSON ({err})")
            continue
        if isinstance(record, dict):
            yield number, record
        else:
            bad.add(number, f"a {type(record).__name__}, not an object")


def csv_records(path: Path, bad: BadLines, show_progress: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Yield the fields of each line of a comma-separated file, with line numbers; one line is one record.

    Raises:
        ValueError: the file is damaged, or has too many lines that are not UTF-8 or not a record.
    """
    for number, line in read_lines(path, show_progress):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n")
            if text:
                yield number, next(csv.reader([text], strict=True)) if '"' in text else text.split(",")
        except (UnicodeDecodeError, csv.Error) as err:
            bad.add(number, err)
