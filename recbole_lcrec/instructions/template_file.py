"""Reading template files: YAML with a frame and the templates of each sub-task."""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from recbole_lcrec.config.values import did_you_mean, load_yaml
from recbole_lcrec.instructions.subtasks import SubTask
from recbole_lcrec.instructions.tasks import subtasks
from recbole_lcrec.instructions.templates import Template, Templates

__all__ = ["load_templates"]


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
            f"{where} must not begin or end with whitespace, because a space beside an index token changes the tokens: "
            f"{checked!r}; the frame may end in a space"
        )
    return checked


def _group(task: Any, entries: Any, known: Mapping[str, SubTask], path: Path) -> tuple[Template, ...]:
    if task not in known:
        hint = did_you_mean(str(task), known)
        raise ValueError(f"{path}: unknown task {task!r}; known are {', '.join(known)}{hint}")
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path}: task {task} must list at least one template")
    group = []
    for number, entry in enumerate(entries):
        where = f"{path}: {task} template {number}"
        if not isinstance(entry, dict) or set(entry) != {"instruction", "response"}:
            raise ValueError(f"{where} must have exactly the keys instruction and response")
        group.append(
            Template(
                _check(entry["instruction"], known[task].shown, where + " instruction"),
                _response(entry["response"], known[task].asked, where + " response"),
            )
        )
    return tuple(group)


def _read(path: Path) -> Any:
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as err:
        raise ValueError(
            f"template file {path}, named by tuning_template_file, cannot be read: {err.strerror}"
        ) from err
    except UnicodeDecodeError as err:
        raise ValueError(f"template file {path} is not valid YAML: {err}") from err
    return load_yaml(content, f"template file {path}")


def load_templates(path: Path, fallback: Path | None = None) -> Templates:
    """Read and check a template file.

    Args:
        path: the file, a mapping with the keys ``frame`` and ``tasks``.
        fallback: a complete file for whatever the first leaves out: sub-tasks, the frame.

    Returns:
        The templates of the first file, and those of the fallback for sub-tasks that the first does not have. The
        templates of one sub-task always come from one file.

    Raises:
        ValueError: a file cannot be read, is not valid YAML or has an unknown sub-task, or a template lacks a
            placeholder, has an unknown placeholder or key, or has whitespace around its response; the message names
            the template.
    """
    content = _read(path)
    keys = {"frame", "tasks"}
    whole = isinstance(content, dict) and set(content) == keys
    part = fallback is not None and isinstance(content, dict) and content and set(content) <= keys
    if not (whole or part) or not isinstance(content.get("tasks", {}), dict):
        asked = "the keys frame and tasks" if fallback is None else "one or both of the keys frame and tasks"
        raise ValueError(f"template file {path} must hold a mapping with {asked}")
    known = subtasks()
    tasks = {task: _group(task, entries, known, path) for task, entries in content.get("tasks", {}).items()}
    frame = content.get("frame")
    if "frame" in content:
        frame = _check(frame, frozenset({"instruction"}), f"{path}: frame")
    if fallback is not None:
        rest = load_templates(fallback)
        tasks = {**rest.tasks, **tasks}
        frame = frame or rest.frame
    return Templates(frame, MappingProxyType(tasks))
