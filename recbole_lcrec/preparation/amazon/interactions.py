"""Read interactions from Amazon's raw files, as arrays of codes."""

from __future__ import annotations

import math
from array import array
from collections.abc import Container, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np

from recbole_lcrec.data.reserved_ids import usable_id
from recbole_lcrec.preparation.raw_lines import BadLines, csv_records, json_records

__all__ = [
    "REVIEW_FIELDS",
    "Interactions",
    "ReviewFields",
    "milliseconds",
    "read_interactions",
    "time_of",
]

_MILLISECONDS_FROM = 10**11  # as seconds, the year 5138; as milliseconds, 1973
_TIMES_END = 10**14
_LARGEST_RATING = float(np.finfo(np.float32).max)
_SAMPLED = 1000


@dataclass(frozen=True)
class ReviewFields:
    """Field names of one edition's reviews; ``date`` is a written-out day, if the edition has one."""

    user: str
    item: str
    rating: str
    time: str
    text: str
    summary: str
    date: str | None = None


REVIEW_FIELDS = {
    "2018": ReviewFields("reviewerID", "asin", "overall", "unixReviewTime", "reviewText", "summary", date="reviewTime"),
    "2023": ReviewFields("user_id", "parent_asin", "rating", "timestamp", "text", "title"),
}


@dataclass(frozen=True, eq=False)
class Interactions:
    """T interactions in the order of the files.

    Attributes:
        user_ids: original ids; a user's code is the position in this list.
        item_ids: original ids; an item's code is the position in this list.
        users: int32 [T].
        items: int32 [T].
        ratings: float32 [T].
        times: int64 [T], milliseconds since 1970.
    """

    user_ids: list[str]
    item_ids: list[str]
    users: np.ndarray
    items: np.ndarray
    ratings: np.ndarray
    times: np.ndarray

    def __len__(self) -> int:
        return len(self.users)


def milliseconds(raw: Any) -> tuple[int, bool]:
    """Convert a time to milliseconds since 1970; also return whether it was given in milliseconds, not seconds.

    Raises:
        ValueError: not a number, or not plausible as seconds or milliseconds since 1970.
    """
    try:
        number = float(raw)  # whole milliseconds are exact in a double
    except (TypeError, ValueError, OverflowError):  # OverflowError: an integer with hundreds of digits
        number = math.nan
    if not 0 < number < _TIMES_END:  # NaN fails as well
        raise ValueError(f"time {raw!r:.80} is neither seconds nor milliseconds since 1970")
    given = number >= _MILLISECONDS_FROM
    return round(number if given else number * 1000), given


def _score(raw: Any) -> float:
    try:
        score = float(raw)
    except (TypeError, ValueError, OverflowError):
        score = math.nan
    if not abs(score) <= _LARGEST_RATING:  # NaN fails as well
        raise ValueError(f"rating {raw!r:.80} is not a number, or too large")
    return score


class _Builder:
    """Collects interactions as codes."""

    def __init__(self) -> None:
        self.users: dict[str, int] = {}
        self.items: dict[str, int] = {}
        self.user_codes, self.item_codes = array("i"), array("i")
        self.ratings, self.times = array("f"), array("q")
        self.units = [0, 0]

    def add(self, user: Any, item: Any, rating: Any, time: Any) -> None:
        user, item = usable_id(user, "a user"), usable_id(item, "an item")
        score = _score(rating)
        moment, given = milliseconds(time)
        self.units[given] += 1
        self.user_codes.append(self.users.setdefault(user, len(self.users)))
        self.item_codes.append(self.items.setdefault(item, len(self.items)))
        self.ratings.append(score)
        self.times.append(moment)

    def build(self, path: Path) -> Interactions:
        if not self.times:
            raise ValueError(f"{path} contains no interaction: it is empty or another kind of file; download it again")
        if all(self.units):
            getLogger().warning(
                f"{path.name}: times in seconds ({self.units[0]:,}) and in milliseconds ({self.units[1]:,}); each is "
                "recognised by its size, and both are read"
            )
        return Interactions(
            [*self.users],
            [*self.items],
            np.frombuffer(self.user_codes, dtype=np.int32),
            np.frombuffer(self.item_codes, dtype=np.int32),
            np.frombuffer(self.ratings, dtype=np.float32),
            np.frombuffer(self.times, dtype=np.int64),
        )


def read_interactions(
    path: Path, edition: str, known_items: Container[str], bad: BadLines, show_progress: bool = False
) -> Interactions:
    """Read all interactions of a ratings file (``.csv``, ``.csv.gz``) or of a file of reviews.

    Ratings of 2018 have no header, and exist in copies with users first and with items first; the item column is the
    one with ids from the metadata. Memory is 20 bytes per interaction, plus the ids.

    Args:
        path: the file.
        edition: ``2018`` or ``2023``; determines the field names of reviews.
        known_items: ids of the metadata.
        bad: records lines without a usable user, item, rating or time.
        show_progress: whether to show a progress bar.

    Raises:
        ValueError: the file is damaged or empty, or has too many broken lines.
    """
    builder = _Builder()
    is_table = path.name.removesuffix(".gz").endswith(".csv")
    rows = _ratings(path, known_items, bad, show_progress) if is_table else _reviews(path, edition, bad, show_progress)
    for number, fields in rows:
        try:
            builder.add(*fields)
        except ValueError as err:
            bad.add(number, err)
    bad.log()
    return builder.build(path)


def _ratings(
    path: Path, known_items: Container[str], bad: BadLines, show_progress: bool
) -> Iterator[tuple[int, tuple[str, ...]]]:
    places = _places(path, known_items)
    for number, row in csv_records(path, bad, show_progress):
        if number == 1 and "timestamp" in row:
            continue
        if len(row) <= max(places):
            bad.add(number, f"{len(row)} fields, expected {max(places) + 1}")
            continue
        yield number, tuple(row[place] for place in places)


def _places(path: Path, known_items: Container[str]) -> tuple[int, int, int, int]:
    """Return the positions of the columns user, item, rating and time."""
    rows = [row for _, row in islice(csv_records(path, BadLines(path, limit=None)), _SAMPLED)]
    header = rows[0] if rows else []
    if "timestamp" in header:
        names = ("user_id", "parent_asin", "rating", "timestamp")
        if absent := [name for name in names if name not in header]:
            raise ValueError(f"{path}: no column {', '.join(absent)}; its columns are {', '.join(header)}")
        return tuple(header.index(name) for name in names)  # type: ignore[return-value]
    hits = [sum(len(row) > place and row[place].strip() in known_items for row in rows) for place in (0, 1)]
    return (0, 1, 2, 3) if hits[1] > hits[0] else (1, 0, 2, 3)


def _reviews(path: Path, edition: str, bad: BadLines, show_progress: bool) -> Iterator[tuple[int, tuple[Any, ...]]]:
    fields = REVIEW_FIELDS[edition]
    for number, record in json_records(path, bad, show_progress):
        time = time_of(record, fields)
        yield number, (record.get(fields.user), record.get(fields.item), record.get(fields.rating), time)


def time_of(record: dict[str, Any], fields: ReviewFields) -> Any:
    """Return the time of a review, from its written-out day if the number is missing."""
    time = record.get(fields.time)
    if time is None and fields.date is not None:
        try:
            day = datetime.strptime(str(record.get(fields.date)), "%m %d, %Y")
        except ValueError:
            return None
        return int(day.replace(tzinfo=UTC).timestamp())
    return time
