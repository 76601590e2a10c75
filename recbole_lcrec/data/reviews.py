"""Reviews of training interactions, from the columns of an atomic ``.inter`` file.

Reviews of held-out interactions are never kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_lcrec.data.item_text import clean_text
from recbole_lcrec.data.sequences import UserSequences, exact_time_ranks

__all__ = ["read_reviews"]

_ROWS_AT_ONCE = 200_000


@dataclass(frozen=True)
class _Events:
    """Interactions of known users and items by user and time: row of the user, row of the item, line of the file."""

    users: np.ndarray
    items: np.ndarray
    lines: np.ndarray
    n_lines: int


def read_reviews(
    inter_file: Path,
    user_ids: Sequence[str],
    item_ids: Sequence[str],
    sequences: UserSequences,
    columns: tuple[str, str, str],
    review_fields: Sequence[str],
    separator: str = "\t",
    encoding: str = "utf-8",
) -> dict[tuple[int, int], str]:
    """Read the reviews of the training interactions, with RecBole's quoting rules.

    RecBole's filters may have deleted rows of the file, so a user's rows, in exact time order, are aligned with the
    training sequence. If they start with that sequence, the n-th row is the n-th interaction (this never reaches a row
    later than a training interaction). Otherwise, rows are matched by item if every item occurs once. Otherwise the
    user's reviews are dropped, and the log counts the user.

    Args:
        inter_file: the atomic file. It is read twice, in chunks; held-out reviews are dropped with their chunk.
        user_ids: original id of each row of ``sequences``.
        item_ids: N original item ids, in the order of the item rows.
        sequences: the training sequences.
        columns: names of the user, item and time columns, without their types.
        review_fields: columns that form a review, joined by blanks; missing ones are skipped.
        separator: column separator.
        encoding: encoding of the file.

    Returns:
        (row in ``sequences``, position in the user's training sequence) -> cleaned review; interactions without one are
        absent. Empty if the file has none of the review columns.

    Raises:
        ValueError: the file cannot be read, has no user, item or time column, or a row has no time.
    """
    header = _header(inter_file, separator, encoding)
    reviews = [name for name in review_fields if name in header]
    if not reviews:
        getLogger().info(
            f"Reviews: none, because {inter_file.name} has no column "
            f"{' or '.join(review_fields) or '(no column is configured)'} (intention_review_fields)"
        )
        return {}
    absent = [name for name in columns if name not in header]
    if absent:
        raise ValueError(
            f"{inter_file}: no column {', '.join(map(repr, absent))}, needed to assign the reviews; "
            f"its columns are {', '.join(header)}"
        )
    events = _read_events(inter_file, header, user_ids, item_ids, columns, separator, encoding)
    places = _places_of_lines(events, sequences)
    found: dict[tuple[int, int], str] = {}
    owners = np.repeat(np.arange(len(sequences)), sequences.lengths())
    for part in _parts(inter_file, header, reviews, separator, encoding):
        of_part = places[part.index.to_numpy()]
        kept = of_part >= 0
        rows = part.loc[kept, reviews].itertuples(index=False, name=None)
        for place, fields in zip(of_part[kept].tolist(), rows, strict=True):
            text = " ".join(filter(None, map(clean_text, fields)))
            if text:
                user = int(owners[place])
                found[user, place - int(sequences.offsets[user])] = text
    getLogger().info(f"Reviews: {len(found):,} of {len(owners):,} training interactions have one")
    return found


def _header(path: Path, separator: str, encoding: str) -> dict[str, str]:
    """Return each column's name -> the name with its type, as written in the file."""
    try:
        columns = pd.read_csv(path, sep=separator, nrows=0, encoding=encoding).columns
    except (OSError, ValueError, pd.errors.ParserError) as err:
        raise ValueError(f"{path}: not a readable table with a header of name:type ({err})") from err
    return {str(column).rsplit(":", 1)[0]: str(column) for column in columns}


def _parts(
    path: Path, header: dict[str, str], names: Sequence[str], separator: str, encoding: str
) -> Iterator[pd.DataFrame]:
    """Yield some columns as strings, chunk by chunk; the index counts lines from 0 across all chunks."""
    try:
        with pd.read_csv(
            path,
            sep=separator,
            usecols=[header[name] for name in names],
            dtype=str,
            keep_default_na=False,
            encoding=encoding,
            chunksize=_ROWS_AT_ONCE,
        ) as parts:
            for part in parts:
                yield part.rename(columns={header[name]: name for name in names})
    except (OSError, UnicodeDecodeError, pd.errors.ParserError) as err:
        raise ValueError(f"{path}: not a readable table ({err})") from err


def _read_events(
    path: Path,
    header: dict[str, str],
    user_ids: Sequence[str],
    item_ids: Sequence[str],
    columns: tuple[str, str, str],
    separator: str,
    encoding: str,
) -> _Events:
    user_field, item_field, time_field = columns
    user_index, item_index = pd.Index([*user_ids]), pd.Index([*item_ids])
    users, items, times, lines = [], [], [], []
    n_lines = 0
    for part in _parts(path, header, columns, separator, encoding):
        user, item = user_index.get_indexer(part[user_field]), item_index.get_indexer(part[item_field])
        kept = (user >= 0) & (item >= 0)
        users.append(user[kept])
        items.append(item[kept])
        times.append(pd.to_numeric(part.loc[kept, time_field], errors="coerce").to_numpy(np.float64))
        lines.append(part.index.to_numpy(np.int64)[kept])
        n_lines += len(part)
    if not n_lines:
        return _Events(*(np.empty(0, dtype=np.int64),) * 3, n_lines=0)
    user, item, line = (np.concatenate(column).astype(np.int64) for column in (users, items, lines))
    order = np.lexsort((exact_time_ranks(np.concatenate(times), user, line), user)) if len(user) else line
    return _Events(user[order], item[order], line[order], n_lines)


def _places_of_lines(events: _Events, sequences: UserSequences) -> np.ndarray:
    """Return int64 [lines]: position in ``sequences.items`` of the training interaction on each line, -1 for none."""
    lengths, n_users = sequences.lengths(), len(sequences)
    counts = np.bincount(events.users, minlength=n_users)
    starts = np.r_[0, np.cumsum(counts)]
    owners = np.repeat(np.arange(n_users), lengths)
    rows = starts[owners] + np.arange(len(owners)) - sequences.offsets[owners]
    agrees = (counts >= lengths)[owners]
    agrees[agrees] = events.items[rows[agrees]] == sequences.items[agrees]
    unmatched = np.unique(owners[~agrees])
    places = np.full(events.n_lines, -1, dtype=np.int64)
    sure = ~np.isin(owners, unmatched)
    places[events.lines[rows[sure]]] = np.flatnonzero(sure)
    left_out = 0
    for user in unmatched.tolist():
        own = slice(starts[user], starts[user + 1])
        line_of = dict(zip(events.items[own].tolist(), events.lines[own].tolist(), strict=True))
        training = sequences.of(user).tolist()
        if len(line_of) < counts[user] or not line_of.keys() >= set(training):
            left_out += 1
            continue
        places[[line_of[item] for item in training]] = sequences.offsets[user] + np.arange(len(training))
    if left_out:
        getLogger().warning(
            f"reviews of {left_out:,} of {n_users:,} users are dropped: their interactions were filtered, and because "
            "of repeated items the remaining ones cannot be identified"
        )
    return places
