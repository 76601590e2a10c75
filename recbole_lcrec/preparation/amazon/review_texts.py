"""Read the review texts of selected interactions.

They are read line by line and spooled to a temporary file.
"""

from __future__ import annotations

from bisect import bisect_left
from pathlib import Path
from types import TracebackType

import numpy as np

from recbole_lcrec.data.item_text import clean_text
from recbole_lcrec.preparation.amazon.interactions import REVIEW_FIELDS, Interactions, milliseconds, time_of
from recbole_lcrec.preparation.raw_lines import BadLines, json_records

__all__ = ["TextSpool", "read_texts"]


class TextSpool:
    """Texts of rows in a temporary file that is removed when closed, so memory holds only two numbers per row.

    Args:
        path: path of the temporary file.
        n_rows: number of rows.
    """

    def __init__(self, path: Path, n_rows: int) -> None:
        self._path = path
        self._starts = np.full(n_rows, -1, dtype=np.int64)
        self._lengths = np.zeros(n_rows, dtype=np.int64)
        self._stream = path.open("w+b")
        self._end = 0

    def __enter__(self) -> TextSpool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._stream.close()
        finally:
            self._path.unlink(missing_ok=True)

    def __contains__(self, row: int) -> bool:
        return bool(self._starts[row] >= 0)

    def put(self, row: int, texts: tuple[str, str]) -> None:
        """Store two texts without tabs for a row."""
        data = "\t".join(texts).encode()
        self._stream.write(data)
        self._starts[row], self._lengths[row] = self._end, len(data)
        self._end += len(data)

    def get(self, row: int) -> tuple[str, str]:
        """Return the two texts of a row; empty texts if nothing was stored."""
        if self._starts[row] < 0:
            return "", ""
        self._stream.seek(int(self._starts[row]))
        first, second = self._stream.read(int(self._lengths[row])).decode().split("\t")
        return first, second


def read_texts(
    path: Path,
    edition: str,
    interactions: Interactions,
    rows: np.ndarray,
    spool: TextSpool,
    bad: BadLines,
    show_progress: bool = False,
) -> int:
    """Read summaries and reviews of selected interactions; they are matched by user, item and time.

    Args:
        path: a file of reviews.
        edition: ``2018`` or ``2023``.
        interactions: all interactions.
        rows: int64 [R], interactions whose reviews are read; unique in user, item and time.
        spool: receives (summary, review) of row ``rows[i]`` as row i; the first of several reviews counts.
        bad: records broken lines.
        show_progress: whether to show a progress bar.

    Returns:
        Number of interactions with a non-empty review.

    Raises:
        ValueError: the file is damaged or has too many broken lines.
    """
    n_items = len(interactions.item_ids)
    keys = interactions.users[rows].astype(np.int64) * n_items + interactions.items[rows]
    times = interactions.times[rows]
    order = np.lexsort((times, keys))
    keys, times = keys[order], times[order]
    selected_users, selected_items = (
        {ids[code]: code for code in np.unique(codes[rows]).tolist()}
        for ids, codes in ((interactions.user_ids, interactions.users), (interactions.item_ids, interactions.items))
    )
    fields, found = REVIEW_FIELDS[edition], 0
    for number, record in json_records(path, bad, show_progress):
        user = selected_users.get(str(record.get(fields.user)).strip())
        item = selected_items.get(str(record.get(fields.item)).strip())
        if user is None or item is None:
            continue
        try:
            moment, _ = milliseconds(time_of(record, fields))
        except ValueError as err:
            bad.add(number, err)
            continue
        key = user * n_items + item
        place = bisect_left(keys, key)
        while place < len(keys) and keys[place] == key and times[place] < moment:
            place += 1
        if place == len(keys) or keys[place] != key or times[place] != moment or (row := int(order[place])) in spool:
            continue
        texts = clean_text(record.get(fields.summary)), clean_text(record.get(fields.text))
        if any(texts):
            spool.put(row, texts)
            found += 1
    bad.log()
    return found
