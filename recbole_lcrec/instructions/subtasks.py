"""The table of the alignment sub-tasks: to which family each belongs, what it shows and what it asks for.

Knows names. Refuses to know wordings, data and how values become text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["SUBTASKS", "SubTask"]


@dataclass(frozen=True)
class SubTask:
    """One kind of instruction.

    Attributes:
        family: its row in Table IV of the paper, one of ``settings.TASKS``.
        shown: placeholders that its instruction must use, no more and no fewer.
        asked: placeholders that its response must use, no more and no fewer.
        number: tells its draws from those of other sub-tasks.
    """

    family: str
    shown: frozenset[str]
    asked: frozenset[str]
    number: int


_ROWS = (
    ("seq", "seq", "history", "item"),
    ("mut_title", "mut", "title", "item"),
    ("mut_description", "mut", "description", "item"),
    ("mut_text", "mut", "title description", "item"),
    ("mut_item", "mut", "item", "title description"),
    ("mut_item_title", "mut", "item", "title"),
    ("asy_title", "asy", "history", "title"),
    ("asy_description", "asy", "history", "description"),
    ("asy_titles", "asy", "titles", "item"),
    ("ite", "ite", "intention", "item"),
    ("ite_history", "ite", "intention history", "item"),
    ("per", "per", "history", "preference"),
)

SUBTASKS: Mapping[str, SubTask] = MappingProxyType(
    {
        name: SubTask(family, frozenset(shown.split()), frozenset(asked.split()), number)
        for number, (name, family, shown, asked) in enumerate(_ROWS)
    }
)
"""Sub-task -> what it is, family by family in the order of ``settings.TASKS`` (paper III-C)."""
