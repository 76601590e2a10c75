"""Many users' requests and answers as JSON lines: read before any work, written bit by bit, gone on with after a stop.

Knows the two forms of lines, and which answers of an interrupted command stand. Refuses to know how answers are found.
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
    """One line of requests.

    Attributes:
        user: as it stands in the file, a text or a whole number.
        history: item ids, oldest first.
        intention: what the user wants, in words; None: nothing is said.
    """

    user: str | int
    history: tuple[str, ...]
    intention: str | None


def read_user_lines(path: Path, known: Collection[str], drop_unknown: bool) -> list[UserLine]:
    """Reads and checks every line; blank ones are passed over.

    Args:
        path: the file, UTF-8.
        known: every item id that a history may hold.
        drop_unknown: whether other ids are let through, to be left out later.

    Raises:
        ValueError: there is no such file, it is a folder or holds no user, or a line is none; names the file and the
            line.
    """
    lines = []
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, text in enumerate(file, start=1):
                if text.strip():
                    lines.append(_user_line(text, f"{path}, line {number}", known, drop_unknown))
    except FileNotFoundError as err:
        raise ValueError(f"{path}: there is no such file; give one with a JSON object a line") from err
    except IsADirectoryError as err:
        raise ValueError(f"{path} is a folder; give a file with a JSON object a line") from err
    except UnicodeDecodeError as err:
        raise ValueError(f"{path} is no UTF-8 text ({err})") from err
    if not lines:
        raise ValueError(f"{path} names no user; a line is {_example()}")
    return lines


@dataclass(frozen=True)
class AnswerFile:
    """Answers in the order of the requests, with a file beside that says what they were asked by.

    Attributes:
        path: the JSON lines.
        asked: all that the answers depend on, in values that JSON holds.
    """

    path: Path
    asked: Mapping[str, Any]

    @property
    def settings_path(self) -> Path:
        """The file beside."""
        return self.path.with_name(f"{self.path.name}.settings.json")

    def n_done(self, users: Sequence[str | int]) -> int:
        """How many of the first users have their answers; nothing is changed. A last line that was torn counts not.

        Raises:
            ValueError: the file holds answers to another input, run or settings, or is no file of answers.
        """
        if self.path.is_dir():
            raise ValueError(f"{self.path} is a folder; name a file for the answers, such as {self.path / 'out.jsonl'}")
        if not self.path.parent.is_dir():
            raise ValueError(f"{self.path}: there is no folder {self.path.parent}; make it first")
        if not self.path.exists() or not self.path.stat().st_size:
            return 0
        self._require_same()
        lines = self._whole_lines()
        if len(lines) > len(users):
            raise ValueError(f"{self.path} holds {len(lines)} answers to {len(users)} users; {self._remedy()}")
        for number, (line, user) in enumerate(zip(lines, users, strict=False), start=1):
            answered = _answered(line)
            if answered is None or answered != (user,):
                found = "is no answer" if answered is None else f"answers user {answered[0]!r}"
                raise ValueError(f"{self.path}, line {number} {found}, not user {user!r}; {self._remedy()}")
        return len(lines)

    def open_to_append(self) -> Any:
        """Cuts a torn last line off, says beside what is asked, and opens the file for more lines."""
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
                f"{self.path} is there already, and no {self.settings_path.name} beside it says what it answers; "
                f"{self._remedy()}"
            ) from err
        except (json.JSONDecodeError, UnicodeDecodeError) as err:
            raise ValueError(f"{self.settings_path} is damaged ({err}); {self._remedy()}") from err
        now = json.loads(json.dumps(dict(self.asked)))
        names = [name for name in now if not isinstance(before, dict) or before.get(name) != now[name]]
        if names:
            was = before.get(names[0]) if isinstance(before, dict) else None
            raise ValueError(
                f"{self.path} holds answers to something else: {', '.join(names)} differ ({names[0]} was {was!r:.70}, "
                f"now it is {now[names[0]]!r:.70}); {self._remedy()}"
            )

    def _remedy(self) -> str:
        return f"name another --output, or remove {self.path} to begin anew"


def _user_line(text: str, place: str, known: Collection[str], drop_unknown: bool) -> UserLine:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as err:
        raise ValueError(f"{place}: no JSON ({err}); a line is {_example()}") from err
    if not isinstance(content, dict) or "user" not in content:
        raise ValueError(f"{place}: no object with a user; a line is {_example()}")
    strange = next((key for key in content if key not in _KEYS), None)
    if strange is not None:
        raise ValueError(f"{place}: unknown key {strange!r}{did_you_mean(strange, _KEYS)}; a line is {_example()}")
    _require_characters(content, place)
    user, history, intention = content["user"], content.get("history", []), content.get("intention")
    if not _is_id(user):
        raise ValueError(f"{place}: user {user!r:.80} is neither a text nor a whole number")
    if not isinstance(history, list) or not all(map(_is_id, history)):
        raise ValueError(f"{place}: history {history!r:.80} is no list of item ids, such as ['A', 'B']")
    if intention is not None and (not isinstance(intention, str) or not intention.strip()):
        raise ValueError(f"{place}: intention {intention!r:.80} is no text with words; leave the key out for none")
    ids = tuple(map(str, history))
    unknown = [item for item in ids if item not in known]
    if unknown and not drop_unknown:
        raise ValueError(
            f"{place}: {len(unknown)} of {len(ids)} items are not in the run's item index, first {unknown[:_NAMED]}; "
            "leave such items out by --unknown_items=drop"
        )
    if len(unknown) == len(ids) and intention is None:
        why = "none of the items is in the run's item index" if ids else "the history is empty"
        raise ValueError(f"{place}: {why}, and there is no intention; take the line out")
    return UserLine(user, ids, intention)


def _require_characters(content: Any, place: str) -> None:
    """Halves of surrogate pairs, which JSON can escape, would stop the answers from being written."""
    try:
        json.dumps(content, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as err:
        half = err.object[err.start : err.start + 1]
        raise ValueError(
            f"{place}: {half!r} is half of a surrogate pair, and no character; write both halves, or the character"
        ) from err


def _is_id(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def _answered(line: bytes) -> tuple[Any] | None:
    """The user whose answer a line is, or None."""
    try:
        content = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    whole = isinstance(content, dict) and "user" in content and isinstance(content.get("items"), list)
    return (content["user"],) if whole else None


def _example() -> str:
    return '{"user": "u1", "history": ["A", "B"]}'
