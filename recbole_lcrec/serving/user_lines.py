"""Requests and answers of many users as JSON lines.

All read before any work, written in parts, resumable.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_lcrec.config.values import did_you_mean
from recbole_lcrec.runtime.artifacts import replace_text

__all__ = ["AnswerFile", "UserLine", "read_user_lines"]

_KEYS = ("user", "history", "intention")
_NAMED = 5


@dataclass(frozen=True)
class UserLine:
    """Request of one user, a line of the input.

    Attributes:
        user: user id as in the file, a text or an integer.
        history: item ids, oldest first.
        intention: what the user looks for, in words; None: not given.
    """

    user: str | int
    history: tuple[str, ...]
    intention: str | None


def read_user_lines(path: Path, known: Collection[str], drop_unknown: bool) -> list[UserLine]:
    """Read and check every line; blank lines are ignored.

    Args:
        path: the file, UTF-8.
        known: all item ids of the run.
        drop_unknown: whether histories may contain other ids, which are dropped later.

    Raises:
        ValueError: the file does not exist, is a folder or has no lines, or a line is malformed; names file and line.
    """
    lines = []
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, text in enumerate(file, start=1):
                if text.strip():
                    lines.append(_user_line(text, f"{path}, line {number}", known, drop_unknown))
    except FileNotFoundError as err:
        raise ValueError(f"{path}: there is no such file; give one with a JSON object per line") from err
    except IsADirectoryError as err:
        raise ValueError(f"{path} is a folder; give a file with a JSON object per line") from err
    except UnicodeDecodeError as err:
        raise ValueError(f"{path} is not UTF-8 text ({err}); convert it") from err
    if not lines:
        raise ValueError(f"{path} contains no users; write lines such as {_example()}")
    return lines


@dataclass(frozen=True)
class AnswerFile:
    """File of answers in the order of the requests, with a second file that records what they depend on.

    Attributes:
        path: the file of JSON lines.
        asked: everything that the answers depend on, as plain values for JSON.
    """

    path: Path
    asked: Mapping[str, Any]

    @property
    def settings_path(self) -> Path:
        """Path of the second file, which contains ``asked``."""
        return self.path.with_name(f"{self.path.name}.settings.json")

    def n_done(self, users: Sequence[str | int]) -> int:
        """Return how many of the users have answers already, without a partial last line; nothing is changed.

        Raises:
            ValueError: the file contains answers for another input, run or settings, or is not a file of answers.
        """
        if self.path.is_dir():
            raise ValueError(f"{self.path} is a folder; name a file for the answers, such as {self.path / 'out.jsonl'}")
        if not self.path.parent.is_dir():
            raise ValueError(f"{self.path}: there is no folder {self.path.parent}; create it first")
        if not self.path.exists() or not self.path.stat().st_size:
            return 0
        self._require_same()
        lines = self._whole_lines()
        if len(lines) > len(users):
            raise ValueError(f"{self.path} contains {len(lines)} answers for {len(users)} users; {self._remedy()}")
        for number, (line, user) in enumerate(zip(lines, users, strict=False), start=1):
            answered = _answered(line)
            if answered is None or answered != (user,):
                found = "is not an answer" if answered is None else f"answers user {answered[0]!r}"
                raise ValueError(f"{self.path}, line {number} {found}, expected user {user!r}; {self._remedy()}")
        return len(lines)

    def open_to_append(self) -> Any:
        """Remove a partial last line, write the second file, and open the file of answers for more lines."""
        if self.path.exists():
            whole = sum(map(len, self._whole_lines()))
            with self.path.open("r+b") as file:
                file.truncate(whole)
        replace_text(self.settings_path, json.dumps(dict(self.asked), indent=1, ensure_ascii=False))
        return self.path.open("a", encoding="utf-8")

    def _whole_lines(self) -> list[bytes]:
        with self.path.open("rb") as file:
            return [line for line in file if line.endswith(b"\n")]

    def _require_same(self) -> None:
        try:
            before = json.loads(self.settings_path.read_text(encoding="utf-8"))
        except FileNotFoundError as err:
            raise ValueError(
                f"{self.path} exists already, but there is no {self.settings_path.name} that says what it answers; "
                f"{self._remedy()}"
            ) from err
        except (json.JSONDecodeError, UnicodeDecodeError) as err:
            raise ValueError(f"{self.settings_path} is damaged ({err}); {self._remedy()}") from err
        now = json.loads(json.dumps(dict(self.asked)))
        names = [name for name in now if not isinstance(before, dict) or before.get(name) != now[name]]
        if names:
            was = before.get(names[0]) if isinstance(before, dict) else None
            raise ValueError(
                f"{self.path} contains answers to other requests or settings: {', '.join(names)} differ ({names[0]} "
                f"was {was!r:.70}, now it is {now[names[0]]!r:.70}); {self._remedy()}"
            )

    def _remedy(self) -> str:
        return f"choose another --output, or remove {self.path} to start again"


def _user_line(text: str, place: str, known: Collection[str], drop_unknown: bool) -> UserLine:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as err:
        raise ValueError(f"{place}: not JSON ({err}); write lines such as {_example()}") from err
    if not isinstance(content, dict) or "user" not in content:
        raise ValueError(f"{place}: not an object with the key user; write lines such as {_example()}")
    unknown_key = next((key for key in content if key not in _KEYS), None)
    if unknown_key is not None:
        hint = did_you_mean(unknown_key, _KEYS)
        raise ValueError(f"{place}: unknown key {unknown_key!r}{hint}; write lines such as {_example()}")
    _require_characters(content, place)
    user, history, intention = content["user"], content.get("history", []), content.get("intention")
    if not _is_id(user):
        raise ValueError(f"{place}: user {user!r:.80} is neither a text nor an integer")
    if not isinstance(history, list) or not all(map(_is_id, history)):
        raise ValueError(f"{place}: history {history!r:.80} is not a list of item ids, such as ['A', 'B']")
    if intention is not None and (not isinstance(intention, str) or not intention.strip()):
        raise ValueError(f"{place}: intention {intention!r:.80} is blank or not a text; omit the key if there is none")
    ids = tuple(map(str, history))
    unknown = [item for item in ids if item not in known]
    if unknown and not drop_unknown:
        raise ValueError(
            f"{place}: {len(unknown)} of {len(ids)} items are not in the run's item index, first {unknown[:_NAMED]}; "
            "drop them with --unknown_items=drop"
        )
    if len(unknown) == len(ids) and intention is None:
        why = "none of the items is in the run's item index" if ids else "the history is empty"
        raise ValueError(f"{place}: {why}, and there is no intention; remove the line")
    return UserLine(user, ids, intention)


def _require_characters(content: Any, place: str) -> None:
    """Refuse single surrogates, which JSON can escape but UTF-8 answers cannot contain."""
    try:
        json.dumps(content, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as err:
        half = err.object[err.start : err.start + 1]
        raise ValueError(
            f"{place}: {half!r} is half of a surrogate pair, not a character; write both halves, or the character"
        ) from err


def _is_id(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def _answered(line: bytes) -> tuple[Any] | None:
    """Return the user whose answer a line is, as a tuple of one; None if the line is not an answer."""
    try:
        content = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    whole = isinstance(content, dict) and "user" in content and isinstance(content.get("items"), list)
    return (content["user"],) if whole else None


def _example() -> str:
    return '{"user": "u1", "history": ["A", "B"]}'
