"""Intentions and preferences from a file: the published ``.user.json``, or JSON lines.

Texts of held-out interactions are left out and counted; the ``test`` part of the published form is not read.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_lcrec.data.item_text import clean_text
from recbole_lcrec.data.sequences import UserSequences
from recbole_lcrec.instructions.user_texts import Intention, Preference, UserTexts

__all__ = ["read_user_texts"]

_PREFERENCES, _INTENTIONS = "user_explicit_preference", "user_vague_intention"
_BEYOND = "that point beyond the user's training sequence (held out, or filtered)"
_UNKNOWN = "of users without a training sequence"
_ELSEWHERE = "whose item does not follow its history in the training sequence, or may be held out"
_FIRST = "of a user's first item, which has no history"
_EMPTY = "empty"


class _Reader:
    """Training sequences by original ids, the texts found for them, and the number of texts left out."""

    def __init__(self, path: Path, sequences: UserSequences, user_ids: Sequence[str], item_ids: Sequence[str]) -> None:
        self.path = path
        self.sequences = sequences
        self.rows = {str(user): row for row, user in enumerate(user_ids)}
        self.item_ids = [str(item) for item in item_ids]
        self.intentions: list[Intention] = []
        self.preferences: list[Preference] = []
        self.left_out: Counter[str] = Counter()

    def error(self, place: str, problem: str) -> ValueError:
        return ValueError(f"{self.path}, {place}: {problem}")

    def identifier(self, value: Any, place: str) -> str:
        """Return an id as the data set writes it, from a JSON string or whole number."""
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise self.error(place, f"expected an id (text or a whole number), found {value!r:.80}")
        return str(value).strip()

    def texts(self, value: Any, place: str) -> list[str]:
        """Return one or several texts, cleaned; empty ones are left out and counted."""
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise self.error(place, f"expected a text or a list of texts, found {value!r:.80}")
        cleaned = [text for raw in texts if (text := clean_text(raw))]
        self.left_out[_EMPTY] += len(texts) - len(cleaned)
        return cleaned

    def training_items(self, row: int) -> list[str]:
        return [self.item_ids[item] for item in self.sequences.of(row).tolist()]

    def result(self) -> UserTexts:
        left_out = +self.left_out
        if left_out:
            reasons = "; ".join(f"{count:,} {reason}" for reason, count in left_out.items())
            getLogger().warning(f"{self.path}: texts left out: {reasons}")
        if not self.intentions and not self.preferences:
            raise ValueError(
                f"{self.path} holds no intention and no preference of this data set's training users; check that its "
                "ids are those of the .inter file, or set intention_source=none"
            )
        return UserTexts(tuple(self.intentions), tuple(self.preferences), f"file {self.path.name}")


def read_user_texts(
    path: Path, sequences: UserSequences, user_ids: Sequence[str], item_ids: Sequence[str]
) -> UserTexts:
    """Read the texts that belong to training interactions; a warning counts the others by reason.

    The published form is an object with ``user_explicit_preference`` (user -> texts) and ``user_vague_intention``,
    whose ``train`` part has for each user an ``item``, its history ``inters`` and the texts ``querys``. An intention
    gets the position where the item follows exactly this history; a history that was cut to its newest items is
    searched for in the whole sequence. Where the history is also the end of the training sequence, a held-out item may
    have followed it, so the intention is left out even if there is a position. The form does not say which interactions
    a preference was made from. It is assumed to be the whole training sequence; because this cannot be verified, a
    warning counts the preferences.

    JSON lines (``.jsonl``, or any file whose first line is an object with ``user``) hold
    ``{"user": id, "position": p, "item": id, "intention": text}``, where p counts the user's interactions from 0 and
    the optional ``item`` must be the item there; and ``{"user": id, "until": n, "preference": text}``, made from the
    user's first n interactions.

    Args:
        path: the file, UTF-8.
        sequences: the training sequences.
        user_ids: original id of each row of ``sequences``.
        item_ids: N original item ids, in the order of the item rows.

    Raises:
        ValueError: the file cannot be read, is not JSON or has another form (with the place), a line's item is not the
            one at its position, or nothing in the file is usable.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        raise ValueError(f"{path}: not a readable file of intentions ({err})") from err
    reader = _Reader(path, sequences, user_ids, item_ids)
    if _is_lines(path, content):
        _read_lines(reader, content)
    else:
        _read_published(reader, content)
    return reader.result()


def _is_lines(path: Path, content: str) -> bool:
    if path.suffix.lower() == ".jsonl":
        return True
    try:
        first = json.loads(content.lstrip().partition("\n")[0])
    except json.JSONDecodeError:
        return False
    return isinstance(first, dict) and "user" in first


def _read_lines(reader: _Reader, content: str) -> None:
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as err:
            raise reader.error(place, f"not valid JSON ({err})") from err
        kinds = [kind for kind in ("intention", "preference") if isinstance(entry, dict) and kind in entry]
        if len(kinds) != 1 or "user" not in entry:
            raise reader.error(
                place,
                'expected {"user", "position", "intention"} or {"user", "until", "preference"}, '
                f"found {line.strip()[:80]}",
            )
        kind = kinds[0]
        user = reader.identifier(entry["user"], f"{place}, user")
        if not isinstance(entry[kind], str):
            raise reader.error(f"{place}, {kind}", f"expected a text, found {entry[kind]!r:.80}")
        texts = reader.texts(entry[kind], place)
        (_read_intention if kind == "intention" else _read_preference)(reader, entry, user, texts, place)


def _whole_number(reader: _Reader, entry: Mapping[str, Any], key: str, least: int, place: str) -> int:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise reader.error(place, f"{key} must be a whole number of at least {least}, found {value!r:.80}")
    return value


def _read_intention(reader: _Reader, entry: Mapping[str, Any], user: str, texts: list[str], place: str) -> None:
    position = _whole_number(reader, entry, "position", 0, place)
    item = reader.identifier(entry["item"], f"{place}, item") if entry.get("item") is not None else None
    row = reader.rows.get(user)
    if row is None:
        reader.left_out[_UNKNOWN] += len(texts)
        return
    items = reader.training_items(row)
    if position >= len(items):
        reader.left_out[_BEYOND] += len(texts)
    elif item is not None and items[position] != item:
        raise reader.error(
            place,
            f"item {item!r} is not at position {position} of user {user!r}, where the training sequence has "
            f"{items[position]!r}; positions count the user's interactions from 0, in time order",
        )
    elif position == 0:
        reader.left_out[_FIRST] += len(texts)
    else:
        reader.intentions += [Intention(row, position, text) for text in texts]


def _read_preference(reader: _Reader, entry: Mapping[str, Any], user: str, texts: list[str], place: str) -> None:
    until = _whole_number(reader, entry, "until", 1, place)
    row = reader.rows.get(user)
    if row is None:
        reader.left_out[_UNKNOWN] += len(texts)
    elif until > int(reader.sequences.lengths()[row]):
        reader.left_out[_BEYOND] += len(texts)
    else:
        reader.preferences += [Preference(row, until, text) for text in texts]


def _read_published(reader: _Reader, content: str) -> None:
    try:
        whole = json.loads(content)
    except json.JSONDecodeError as err:
        raise ValueError(f"{reader.path} is not valid JSON ({err}); restore it from its source") from err
    if not isinstance(whole, dict) or not {_PREFERENCES, _INTENTIONS} & whole.keys():
        raise ValueError(f"{reader.path} must hold a JSON object with {_PREFERENCES} or {_INTENTIONS}")
    for user, value in _entries(reader, whole.get(_PREFERENCES, {}), _PREFERENCES):
        texts = reader.texts(value, f"{_PREFERENCES}, user {user!r}")
        row = reader.rows.get(user)
        if row is None:
            reader.left_out[_UNKNOWN] += len(texts)
            continue
        until = max(int(reader.sequences.lengths()[row]) - 1, 1)  # the authors leave out the last training item
        reader.preferences += [Preference(row, until, text) for text in texts]
    if reader.preferences:
        getLogger().warning(
            f"{reader.path}: it cannot be verified that its {len(reader.preferences):,} preferences come from training "
            "interactions only, because the published form does not say what they were made from; if in doubt, leave "
            "per out of tuning_tasks"
        )
    if _INTENTIONS not in whole:
        return
    parts = whole[_INTENTIONS]
    if not isinstance(parts, dict) or "train" not in parts:
        raise reader.error(_INTENTIONS, "expected an object with train")
    for user, value in _entries(reader, parts["train"], f"{_INTENTIONS}.train"):
        _read_published_intention(reader, user, value, f"{_INTENTIONS}.train, user {user!r}")


def _entries(reader: _Reader, value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        raise reader.error(place, f"expected an object from user to entry, found {value!r:.80}")
    for user, entry in value.items():
        yield user.strip(), entry


def _read_published_intention(reader: _Reader, user: str, value: Any, place: str) -> None:
    if not isinstance(value, dict) or not {"item", "inters", "querys"} <= value.keys():
        raise reader.error(place, f"expected an object with item, inters and querys, found {value!r:.80}")
    item, texts = reader.identifier(value["item"], f"{place}, item"), reader.texts(value["querys"], f"{place}, querys")
    history = _history(reader, value["inters"], f"{place}, inters")
    row = reader.rows.get(user)
    if row is None:
        reader.left_out[_UNKNOWN] += len(texts)
        return
    position = _position(reader.training_items(row), history, item)
    if position is None:
        reader.left_out[_ELSEWHERE] += len(texts)
    else:
        reader.intentions += [Intention(row, position, text) for text in texts]


def _history(reader: _Reader, value: Any, place: str) -> list[str]:
    """Return the item ids in a list, or in a text such as ``[1, 2]``, ``1, 2`` or ``1 2``."""
    if isinstance(value, str):
        return [part.strip("'\"") for part in re.split(r"[\s,\[\]]+", value) if part]
    if not isinstance(value, list):
        raise reader.error(place, f"expected a list of item ids, found {value!r:.80}")
    return [reader.identifier(item, place) for item in value]


def _position(items: list[str], history: list[str], item: str) -> int | None:
    """Return the position where the item follows this history in the training sequence.

    A history that was cut may occur several times; its last occurrence counts. None where the history is also the end
    of the sequence: it may have been cut, and its item be held out.
    """
    n = len(history)
    if not 1 <= n < len(items) or items[-n:] == history:
        return None
    if items[:n] == history and items[n] == item:
        return n
    ends = range(len(items) - 1, n, -1)
    return next((end for end in ends if items[end] == item and items[end - n : end] == history), None)
