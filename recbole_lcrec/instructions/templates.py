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

__all__ = ["PLACEHOLDERS", "Instruction", "Template", "Templates", "load_templates"]

PLACEHOLDERS = MappingProxyType({"seq": (frozenset({"history"}), frozenset({"item"}))})
"""Task -> the placeholders that its instruction and its response must use, no more and no fewer."""


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
    """All templates of a file.

    Attributes:
        frame: what stands around every instruction; holds ``{instruction}``.
        tasks: task -> its templates, in the file's order.
    """

    frame: str
    tasks: MappingProxyType[str, tuple[Template, ...]]

    def prompt(self, template: Template, **values: str) -> str:
        """The framed instruction with its placeholders filled in."""
        return self.frame.format(instruction=template.instruction.format(**values))

    def instruction(self, template: Template, prompt: dict[str, str], response: dict[str, str]) -> Instruction:
        """Prompt and response with their placeholders filled in."""
        return Instruction(self.prompt(template, **prompt), template.response.format(**response))

    def texts(self) -> list[str]:
        """Every wording in the file, for a tokenizer to learn from."""
        return [
            self.frame,
            *(text for group in self.tasks.values() for t in group for text in (t.instruction, t.response)),
        ]


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


def load_templates(path: Path) -> Templates:
    """Reads and checks a template file.

    Raises:
        ValueError: the file cannot be read or is no valid YAML, names an unknown task, or a template lacks a
            placeholder, has an unknown one, or an unknown key; the message names the template.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise ValueError(
            f"template file {path}, named by tuning_template_file, cannot be read: {err.strerror}"
        ) from err
    except (UnicodeDecodeError, yaml.YAMLError) as err:
        raise ValueError(f"template file {path} is not valid YAML: {err}") from err
    if not isinstance(content, dict) or set(content) != {"frame", "tasks"} or not isinstance(content["tasks"], dict):
        raise ValueError(f"template file {path} must hold a mapping with the keys frame and tasks")
    frame = _check(content["frame"], frozenset({"instruction"}), f"{path}: frame")
    tasks = {}
    for task, entries in content["tasks"].items():
        if task not in PLACEHOLDERS:
            raise ValueError(f"{path}: unknown task {task!r}; known are {', '.join(sorted(PLACEHOLDERS))}")
        if not isinstance(entries, list) or not entries:
            raise ValueError(f"{path}: task {task} must list at least one template")
        in_prompt, in_response = PLACEHOLDERS[task]
        group = []
        for number, entry in enumerate(entries):
            where = f"{path}: {task} template {number}"
            if not isinstance(entry, dict) or set(entry) != {"instruction", "response"}:
                raise ValueError(f"{where} must have exactly the keys instruction and response")
            group.append(
                Template(
                    _check(entry["instruction"], in_prompt, where + " instruction"),
                    _check(entry["response"], in_response, where + " response"),
                )
            )
        tasks[task] = tuple(group)
    return Templates(frame, MappingProxyType(tasks))
