"""Instruction templates: reading them from YAML and filling them in.

Knows placeholders. Refuses to know where the values come from.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from recbole_lcrec.config.values import did_you_mean
from recbole_lcrec.instructions.subtasks import SUBTASKS

__all__ = ["Instruction", "Template", "Templates", "literals", "load_templates"]


@dataclass(frozen=True)
class Instruction:
    """One datum for the language model: what it reads and what it must answer.

    Attributes:
        prompt: what it reads.
        response: what it must answer.
        closed: whether the answer ends there, so that an end token is learned too.
    """

    prompt: str
    response: str
    closed: bool = True


@dataclass(frozen=True)
class Template:
    """The wording of one instruction and its response, with placeholders in braces."""

    instruction: str
    response: str


@dataclass(frozen=True)
class Templates:
    """All templates of a run.

    Attributes:
        frame: what stands around every instruction; holds ``{instruction}``. The response follows it.
        tasks: sub-task -> its templates, in the file's order.
    """

    frame: str
    tasks: MappingProxyType[str, tuple[Template, ...]]

    def __reduce__(self) -> tuple[Any, ...]:  # a read-only view cannot be pickled, and spawned workers need one
        return _templates, (self.frame, dict(self.tasks))

    def framed(self, instruction: str) -> str:
        """A finished instruction inside the frame."""
        return self.frame.format(instruction=instruction)

    def prompt(self, template: Template, **values: str) -> str:
        """The framed instruction with its placeholders filled in."""
        return self.framed(template.instruction.format(**values))

    def instruction(self, template: Template, prompt: dict[str, str], response: dict[str, str]) -> Instruction:
        """Prompt and response with their placeholders filled in."""
        return Instruction(self.prompt(template, **prompt), template.response.format(**response))

    def texts(self) -> list[str]:
        """Every wording in the file, for a tokenizer to learn from."""
        return [
            self.frame,
            *(text for group in self.tasks.values() for t in group for text in (t.instruction, t.response)),
        ]


def _templates(frame: str, tasks: dict[str, tuple[Template, ...]]) -> Templates:
    return Templates(frame, MappingProxyType(tasks))


def literals(text: str) -> list[str]:
    """The words of a template between its placeholders."""
    return [literal for literal, *_ in string.Formatter().parse(text) if literal]


def _placeholders(text: str, where: str) -> frozenset[str]:
    try:
        fields = [(name, spec, how) for _, name, spec, how in string.Formatter().parse(text) if name is not None]
    except ValueError as err:
        raise ValueError(f"{where}: unbalanced braces in {text!r} ({err})") from err
    return frozenset(name + (f"!{how}" if how else "") + (f":{spec}" if spec else "") for name, spec, how in fields)


def _check(text: Any, expected: frozenset[str], where: str) -> str:
    if not isinstance(text, str) or not text:
        raise ValueError(f"{where} must be a text, but is {text!r}")
    found = _placeholders(text, where)
    names = ", ".join("{" + name + "}" for name in sorted(expected))
    if found != expected:
        listed = ", ".join("{" + name + "}" for name in sorted(found)) or "none"
        raise ValueError(f"{where} must use exactly the placeholders {names}, but uses {listed}: {text!r}")
    return text


def _response(text: Any, expected: frozenset[str], where: str) -> str:
    checked = _check(text, expected, where)
    if checked != checked.strip():
        raise ValueError(
            f"{where} must not begin or end with blanks, for a blank beside an index token changes the tokens: "
            f"{checked!r}; the frame may end in one"
        )
    return checked


def _group(task: Any, entries: Any, path: Path) -> tuple[Template, ...]:
    if task not in SUBTASKS:
        hint = did_you_mean(str(task), SUBTASKS)
        raise ValueError(f"{path}: unknown task {task!r}; known are {', '.join(SUBTASKS)}{hint}")
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path}: task {task} must list at least one template")
    group = []
    for number, entry in enumerate(entries):
        where = f"{path}: {task} template {number}"
        if not isinstance(entry, dict) or set(entry) != {"instruction", "response"}:
            raise ValueError(f"{where} must have exactly the keys instruction and response")
        group.append(
            Template(
                _check(entry["instruction"], SUBTASKS[task].shown, where + " instruction"),
                _response(entry["response"], SUBTASKS[task].asked, where + " response"),
            )
        )
    return tuple(group)


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise ValueError(
            f"template file {path}, named by tuning_template_file, cannot be read: {err.strerror}"
        ) from err
    except (UnicodeDecodeError, yaml.YAMLError) as err:
        raise ValueError(f"template file {path} is not valid YAML: {err}") from err


def load_templates(path: Path, fallback: Path | None = None) -> Templates:
    """Reads and checks a template file.

    Args:
        path: the file, a mapping with the keys ``frame`` and ``tasks``.
        fallback: a complete file that gives whatever the first leaves out: sub-tasks, the frame.

    Returns:
        The first file's templates, and the fallback's for sub-tasks that the first does not name. A sub-task has the
        templates of one file, never of both.

    Raises:
        ValueError: a file cannot be read or is no valid YAML, names an unknown sub-task, or a template lacks a
            placeholder, has an unknown one, an unknown key, or blanks around its response; the message names the
            template.
    """
    content = _read(path)
    keys = {"frame", "tasks"}
    whole = isinstance(content, dict) and set(content) == keys
    part = fallback is not None and isinstance(content, dict) and content and set(content) <= keys
    if not (whole or part) or not isinstance(content.get("tasks", {}), dict):
        asked = "the keys frame and tasks" if fallback is None else "one or both of the keys frame and tasks"
        raise ValueError(f"template file {path} must hold a mapping with {asked}")
    tasks = {task: _group(task, entries, path) for task, entries in content.get("tasks", {}).items()}
    frame = content.get("frame")
    if "frame" in content:
        frame = _check(frame, frozenset({"instruction"}), f"{path}: frame")
    if fallback is not None:
        rest = load_templates(fallback)
        tasks = {**rest.tasks, **tasks}
        frame = frame or rest.frame
    return _templates(frame, tasks)
