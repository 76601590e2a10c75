"""Replace ids by whole numbers, also in index and intention files of a data set."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_lcrec.preparation.forms.convert import read_json_object

__all__ = ["is_whole_number", "numbered_index", "numbered_lines", "numbered_user_texts", "numbers_of"]

_PREFERENCES, _INTENTIONS = "user_explicit_preference", "user_vague_intention"
_NAMED = 5


def is_whole_number(one: str) -> bool:
    """Return whether an id is a whole number in canonical form: ``7``, but not ``07``, ``-7`` or ``7.0``."""
    return one.isascii() and one.isdecimal() and (one == "0" or one[0] != "0")


def numbers_of(ids: Iterable[str], renumber: bool = False) -> dict[str, str]:
    """Map ids to numbers, as text: the ids themselves if all are whole numbers, otherwise 0, 1, 2, ... in their order.

    Args:
        ids: distinct ids.
        renumber: whether to renumber whole numbers too.
    """
    known = list(ids)
    keep = not renumber and all(map(is_whole_number, known))
    return {one: one if keep else str(number) for number, one in enumerate(known)}


def numbered_index(path: Path, items: Mapping[str, str]) -> dict[str, Any]:
    """Read a published index and replace item ids by numbers.

    Args:
        path: ``<name>.index.json``.
        items: item id -> number, of the catalogue.

    Raises:
        ValueError: the file is damaged, or contains an item that is not in the catalogue.
    """
    index = read_json_object(path)
    unknown = [item for item in index if item not in items]
    if unknown:
        raise ValueError(
            f"{path}: {len(unknown):,} of its {len(index):,} items are not in the data, first {unknown[:_NAMED]}; it "
            "belongs to other data: use the index of these items"
        )
    if len(index) < len(items):
        getLogger().warning(f"{path.name}: {len(items) - len(index):,} of {len(items):,} items have no index in it")
    return {items[item]: tokens for item, tokens in index.items()}


class _Ids:
    """Numbers of users and items, and a count of entries that were dropped because of unknown ids."""

    def __init__(self, path: Path, users: Mapping[str, str], items: Mapping[str, str]) -> None:
        self.path, self.users, self.items, self.dropped = path, users, items, 0

    def item(self, value: Any, place: str) -> int:
        """Return the number of an item; KeyError if it is unknown."""
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise ValueError(f"{self.path}, {place}: expected an item id, found {value!r:.80}")
        return int(self.items[str(value).strip()])

    def log(self) -> None:
        if self.dropped:
            getLogger().warning(f"{self.path.name}: {self.dropped:,} entries with unknown users or items dropped")


def numbered_user_texts(path: Path, users: Mapping[str, str], items: Mapping[str, str]) -> dict[str, Any]:
    """Read a published file of intentions and preferences and replace ids by numbers.

    Entries with unknown users or items are dropped and counted in the log.

    Args:
        path: ``<name>.user.json``.
        users: user id -> number.
        items: item id -> number.

    Raises:
        ValueError: the file is damaged or has another structure.
    """
    content, ids = read_json_object(path), _Ids(path, users, items)
    if not {_PREFERENCES, _INTENTIONS} & content.keys():
        raise ValueError(f"{path} must contain a JSON object with {_PREFERENCES} or {_INTENTIONS}")
    result = dict(content)
    if _PREFERENCES in content:
        result[_PREFERENCES] = {user: texts for user, texts in _of_users(ids, content[_PREFERENCES], _PREFERENCES)}
    if _INTENTIONS in content:
        parts = content[_INTENTIONS]
        if not isinstance(parts, dict):
            raise ValueError(f"{path}, {_INTENTIONS}: expected an object with train, found {parts!r:.80}")
        result[_INTENTIONS] = {part: _numbered_part(ids, entries, part) for part, entries in parts.items()}
    ids.log()
    return result


def numbered_lines(path: Path, users: Mapping[str, str], items: Mapping[str, str]) -> str:
    """Replace ids by numbers in JSON lines of intentions; entries with unknown ids are dropped and counted.

    Raises:
        ValueError: a line is damaged; names it.
    """
    ids, lines = _Ids(path, users, items), []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        raise ValueError(f"{path}: not a readable file of intentions ({err})") from err
    for at, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as err:
            raise ValueError(f"{path}, line {at} is not valid JSON ({err}); correct it") from err
        if not isinstance(entry, dict) or not isinstance(entry.get("user"), (str, int)):
            raise ValueError(f"{path}, line {at}: expected an object with user, found {entry!r:.80}")
        try:
            entry["user"] = users[str(entry["user"]).strip()]
            if entry.get("item") is not None:
                entry["item"] = ids.item(entry["item"], f"line {at}")
        except KeyError:
            ids.dropped += 1
            continue
        lines.append(json.dumps(entry, ensure_ascii=False) + "\n")
    ids.log()
    return "".join(lines)


def _of_users(ids: _Ids, entries: Any, place: str) -> list[tuple[str, Any]]:
    if not isinstance(entries, dict):
        raise ValueError(f"{ids.path}, {place}: expected an object from user to entry, found {entries!r:.80}")
    known = [(ids.users[user.strip()], entry) for user, entry in entries.items() if user.strip() in ids.users]
    ids.dropped += len(entries) - len(known)
    return known


def _numbered_part(ids: _Ids, entries: Any, part: str) -> dict[str, Any]:
    numbered = {}
    for user, entry in _of_users(ids, entries, f"{_INTENTIONS}.{part}"):
        place = f"{_INTENTIONS}.{part}, user number {user}"
        if not isinstance(entry, dict) or not {"item", "inters"} <= entry.keys():
            raise ValueError(f"{ids.path}, {place}: expected an object with item and inters, found {entry!r:.80}")
        history = entry["inters"]
        if isinstance(history, str):  # ids in one text, as in "[1, 2]" or "1 2"
            history = [one.strip("'\"") for one in re.split(r"[\s,\[\]]+", history) if one]
        if not isinstance(history, list):
            raise ValueError(f"{ids.path}, {place}: inters must be a list of item ids, found {history!r:.80}")
        try:
            items = [ids.item(one, place) for one in history]
            numbered[user] = {**entry, "item": ids.item(entry["item"], place), "inters": items}
        except KeyError:
            ids.dropped += 1
    return numbered
