"""Convert MiniOneRec's rows to atomic files.

Reconstruct each user's sequence from targets and histories.

A user has a row for each item but the first, in time order, with at most m items of history. m is the length of the
longest history in all files. Therefore:

1. A history of fewer than m items is complete: the known items of the user must be its prefix, or already contain the
   row.
2. A history of m items may be truncated at its start. If it equals the end of the known items, no row is missing.
   Otherwise the known items may already contain the row (repeated rows add nothing). Otherwise rows are missing, for
   example because of sampling, and the history overlaps the known items only in part: the longest overlap is used,
   which assumes the fewest missing rows, and the history fills the gap. Another overlap can only fit if items repeat.
3. Everything else contradicts the known items or leaves a gap that no history fills, and is an error.

If the first row of a user has m items of history, older items may be lost; the log counts such users.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_lcrec.preparation.forms.atomic_writer import write_atomic
from recbole_lcrec.preparation.forms.convert import (
    TEXT_FIELDS,
    item_rows,
    numbers_first,
    one_line,
    read_json_object,
    sequence_rows,
)
from recbole_lcrec.preparation.forms.minionerec_rows import Row, SourceFiles, read_rows, sid_tokens
from recbole_lcrec.preparation.forms.staging import staged

__all__ = ["chain_rows", "convert_minionerec"]

_TRUNCATED = "users whose oldest items may be lost"
_REPEATED, _GAPS = "rows without new items", "missing rows filled in"


def chain_rows(rows: Iterable[Row], longest: int) -> tuple[dict[str, list[str]], Counter[str]]:
    """Reconstruct each user's items in time order, from rows in time order.

    Args:
        rows: rows of all users, in the order of the files.
        longest: m, the length to which histories were cut.

    Returns:
        user -> item ids; and counts of ambiguities.

    Raises:
        ValueError: a row contradicts the user's earlier rows; names the file, line and user.
    """
    sequences: dict[str, list[str]] = {}
    notes: Counter[str] = Counter()
    for row in rows:
        known = sequences.get(row.user)
        if known is None:
            sequences[row.user] = [*row.history, row.target]
            notes[_TRUNCATED] += len(row.history) >= longest
            continue
        new = _continuation(known, [*row.history], row.target, cut=len(row.history) >= longest)
        if new is None:
            raise ValueError(
                f"{row.place}: the history of user {row.user!r} does not continue the user's earlier rows, which end "
                f"with {known[-3:]}, while it starts with {list(row.history[:3])}; rows in between are missing, or the "
                "files do not belong together or are not in time order"
            )
        known += new
        notes[_REPEATED] += not new
        notes[_GAPS] += max(len(new) - 1, 0)
    return sequences, notes


def _continuation(known: list[str], history: list[str], target: str, cut: bool) -> list[str] | None:
    """Return the items that a row adds to a user's sequence; None if it contradicts the sequence."""
    row, length = [*history, target], len(history)
    if not cut:
        shared = min(len(known), len(row))
        if known[:shared] != row[:shared]:
            return None
        return row[shared:]
    if known[-length:] == history:
        return [target]
    if any(known[at : at + len(row)] == row for at in range(len(known) - length)):
        return []
    for overlap in range(min(length - 1, len(known)), 0, -1):
        if known[-overlap:] == history[:overlap]:
            return row[overlap:]
    return None


def convert_minionerec(
    name: str,
    source: SourceFiles,
    out_folder: Path,
    max_history: int | None = None,
    overwrite: bool = False,
) -> dict[str, int]:
    """Write ``<name>.inter``, ``<name>.item`` and ``<name>.index.json``.

    Titles come from the text file, if there is one, otherwise from the rows; the index comes from the rows and the
    index file, which must agree. The catalogue contains every item of any of them. An index file is written only if
    every item has an index, as a run could not use it otherwise; the log reports this.

    Args:
        name: name of the data set.
        source: the files.
        out_folder: folder for the atomic files, such as ``dataset/<name>``.
        max_history: length to which histories were cut; by default that of the longest history.
        overwrite: whether to replace an existing data set there.

    Returns:
        Counts of users, items, interactions, rows, and of ambiguities.

    Raises:
        ValueError: a file is damaged, rows contradict each other, an item has two indices, the texts belong to other
            items, or the files cannot be put into the folder.
        OSError: for example, the disk is full; partial files have been removed.
    """
    rows: list[Row] = []
    for path in source.rows:
        before = len(rows)
        rows += read_rows(path)
        if len(rows) == before:
            getLogger().warning(f"{path} has no rows after its header")
    if not rows:
        raise ValueError(f"{', '.join(map(str, source.rows))}: no row; download the files again")
    longest = max(1, max(len(row.history) for row in rows))
    if max_history is not None and longest > max_history:
        raise ValueError(f"max_history = {max_history}, but there is a history of {longest} items")
    sequences, notes = chain_rows(rows, max_history or longest)
    titles, index = _titles(rows), _index(rows)
    bought = dict.fromkeys(item for sequence in sequences.values() for item in sequence)
    texts: dict[str, Any] = {}
    if source.items is not None:
        texts = read_json_object(source.items)
        if not bought.keys() & texts.keys():
            raise ValueError(
                f"{source.items} has none of the items of the rows: its first is {next(iter(texts), None)!r}, theirs "
                f"{next(iter(bought))!r}; it belongs to other data"
            )
    _join_index(index, source.index)
    catalogue = sorted(bought.keys() | texts.keys() | index.keys(), key=numbers_first)
    described = {item: texts.get(item, {"title": titles.get(item, "")}) for item in catalogue}
    inputs = [*source.rows, *(path for path in (source.items, source.index) if path)]
    with staged(name, out_folder, overwrite, inputs) as target:
        write_atomic(target / f"{name}.inter", sequence_rows(sequences, source.rows[0]))
        write_atomic(target / f"{name}.item", item_rows(catalogue, described, source.items or source.rows[0]))
        if index and len(index) == len(catalogue):
            content = {item: index[item] for item in catalogue}
            (target / f"{name}.index.json").write_text(json.dumps(content), encoding="utf-8")
    counts = {
        "users": len(sequences),
        "items": len(catalogue),
        "interactions": sum(map(len, sequences.values())),
        "rows": len(rows),
        "items with texts": sum(_has_text(entry) for entry in described.values()),
        "items with an index": len(index),
        **{what: notes[what] for what in (_TRUNCATED, _REPEATED, _GAPS)},
    }
    _log(name, longest, counts)
    return counts


def _log(name: str, longest: int, counts: Mapping[str, int]) -> None:
    listed = ", ".join(f"{count:,} {what}" for what, count in counts.items())
    getLogger().info(f"{name}: histories of up to {longest} items; {listed}")
    getLogger().info(
        f"{name}: the split into training, validation and test rows is not kept; each user's last item is for testing "
        "and the one before it for validation (leave-one-out), as for every data set, so results are not comparable "
        "with those of the original split"
    )
    if counts["items with an index"] < counts["items"]:
        getLogger().warning(
            f"{name}: {counts['items'] - counts['items with an index']:,} of {counts['items']:,} items have no index, "
            "so no index file is written; a run learns its own index"
        )


def _titles(rows: Iterable[Row]) -> dict[str, str]:
    """Return item id -> its first title; the log counts items with several titles."""
    titles: dict[str, str] = {}
    several = set()
    for row in rows:
        for item, raw in zip((*row.history, row.target), row.titles or (), strict=row.titles is not None):
            if (title := one_line(raw)) and titles.setdefault(item, title) != title:
                several.add(item)
    if several:
        getLogger().warning(f"{len(several):,} items have several titles, such as {min(several)}; the first is kept")
    return titles


def _index(rows: Iterable[Row]) -> dict[str, list[str]]:
    sids: dict[str, str] = {}
    index: dict[str, list[str]] = {}
    for row in rows:
        for item, raw in zip((*row.history, row.target), row.sids or (), strict=row.sids is not None):
            sid = raw.strip()
            if sid and item not in sids:
                sids[item], index[item] = sid, sid_tokens(sid, row.place)
            elif sid and sids[item] != sid:
                raise ValueError(
                    f"{row.place}: item {item!r} has the index {sid!r:.80} here, but {sids[item]!r} before; the files "
                    "do not belong together"
                )
    return index


def _join_index(index: dict[str, list[str]], path: Path | None) -> None:
    """Add the index file's entries; they must agree with the rows."""
    if path is None:
        return
    for item, tokens in read_json_object(path).items():
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise ValueError(f"{path}: item {item!r} must have a list of index tokens, but has {tokens!r:.80}")
        if index.setdefault(item, tokens) != tokens:
            raise ValueError(
                f"{path}: item {item!r} has the index {''.join(tokens)}, but {''.join(index[item])} in the rows; the "
                "files do not belong together"
            )


def _has_text(features: Any) -> bool:
    return isinstance(features, Mapping) and any(one_line(features.get(field)) for field in TEXT_FIELDS)
