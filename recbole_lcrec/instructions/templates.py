"""Instruction templates, and instructions as templates with their placeholders filled in."""

from __future__ import annotations

import string
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

__all__ = ["Instruction", "Template", "Templates", "literals"]


@dataclass(frozen=True)
class Instruction:
    """One training example of the language model.

    Attributes:
        prompt: what the model reads.
        response: what the model learns to answer.
        closed: whether the response is complete, so that the end token is learned too.
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
        frame: text around every instruction, with the placeholder ``{instruction}``; the response follows it.
        tasks: sub-task -> its templates, in the file's order.
    """

    frame: str
    tasks: MappingProxyType[str, tuple[Template, ...]]

    def __reduce__(self) -> tuple[Any, ...]:  # spawned workers need a pickle, and a read-only mapping has none
        return _templates, (self.frame, dict(self.tasks))

    def framed(self, instruction: str) -> str:
        """Return an instruction inside the frame."""
        return self.frame.format(instruction=instruction)

    def prompt(self, template: Template, **values: str) -> str:
        """Return the framed instruction with its placeholders filled in."""
        return self.framed(template.instruction.format(**values))

    def instruction(self, template: Template, prompt: dict[str, str], response: dict[str, str]) -> Instruction:
        """Return prompt and response with their placeholders filled in."""
        return Instruction(self.prompt(template, **prompt), template.response.format(**response))

    def texts(self) -> list[str]:
        """Return the frame and every template as text, for a tokenizer to be trained on."""
        return [
            self.frame,
            *(text for group in self.tasks.values() for t in group for text in (t.instruction, t.response)),
        ]


def _templates(frame: str, tasks: dict[str, tuple[Template, ...]]) -> Templates:
    return Templates(frame, MappingProxyType(tasks))


def literals(text: str) -> list[str]:
    """Return the parts of a template between its placeholders."""
    return [literal for literal, *_ in string.Formatter().parse(text) if literal]
