"""The interface of a sub-task: one kind of instruction with its placeholders."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SubTask"]


@dataclass(frozen=True)
class SubTask:
    """One kind of instruction, a row or part of a row in Table IV of the paper.

    Attributes:
        name: key of its templates in a template file.
        number: part of every random draw, so that sub-tasks draw independently; unique, and never changed once used.
        shown: placeholders that the instruction must use, no more and no fewer.
        asked: placeholders that the response must use, no more and no fewer.
    """

    name: str
    number: int
    shown: frozenset[str]
    asked: frozenset[str]
