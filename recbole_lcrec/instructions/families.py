"""The interface of a task family: sub-tasks, sources, and the data it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from recbole_lcrec.instructions.alignment_data import AlignmentData
from recbole_lcrec.instructions.context import InstructionContext
from recbole_lcrec.instructions.sources import InstructionSource
from recbole_lcrec.instructions.subtasks import SubTask

__all__ = ["TaskFamily"]

_ITEM_TEXTS = frozenset({"title", "description", "titles"})
_USER_TEXTS = frozenset({"intention", "preference"})
_RELATED = frozenset({"related"})


@dataclass(frozen=True)
class TaskFamily:
    """A family of alignment tasks (paper III-C, Table IV).

    Attributes:
        name: how ``tuning_tasks`` and the log name it.
        subtasks: its sub-tasks, at least one.
        sources: ``(context) -> {sub-task name: source}``, in the order in which an epoch shows them; a source of size 0
            is left out.
        missing: ``(data) -> why the family cannot be built, with the remedy``; "" where it can.
        streams: ``(context) -> source`` of the same data without words, for ``tuning_seq_format = stream``; None: the
            family has no such form.
        of_paper: whether it is one of LC-Rec's five, which ``tuning_tasks: paper`` stands for.

    Raises:
        ValueError: there is no sub-task.
    """

    name: str
    subtasks: tuple[SubTask, ...]
    sources: Callable[[InstructionContext], dict[str, InstructionSource]]
    missing: Callable[[AlignmentData], str]
    streams: Callable[[InstructionContext], InstructionSource] | None = None
    of_paper: bool = False

    def __post_init__(self) -> None:
        if not self.subtasks:
            raise ValueError(f"task family {self.name!r} has no sub-tasks; give it at least one")

    def _uses(self, placeholders: frozenset[str]) -> bool:
        return any(placeholders & (subtask.shown | subtask.asked) for subtask in self.subtasks)

    @property
    def needs_item_texts(self) -> bool:
        """Whether a sub-task uses titles or descriptions of items."""
        return self._uses(_ITEM_TEXTS)

    @property
    def needs_related_items(self) -> bool:
        """Whether a sub-task uses related items."""
        return self._uses(_RELATED)

    @property
    def needs_user_texts(self) -> bool:
        """Whether a sub-task uses intentions or preferences of users."""
        return self._uses(_USER_TEXTS)
