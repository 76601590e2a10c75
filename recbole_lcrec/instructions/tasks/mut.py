"""MUT, mutual prediction of index and texts.

An item's texts ask for its index, or its index for its texts.

Paper III-C2. Only the catalogue is used, no user sequences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recbole_lcrec.instructions.alignment_data import AlignmentData, missing_item_texts
from recbole_lcrec.instructions.context import InstructionContext
from recbole_lcrec.instructions.families import TaskFamily
from recbole_lcrec.instructions.sources import InstructionSource
from recbole_lcrec.instructions.subtasks import SubTask
from recbole_lcrec.instructions.templates import Instruction

__all__ = ["FAMILY", "ItemTextInstructions", "item_rows"]

_INDEX, _TITLE, _DESCRIPTION = frozenset({"item"}), frozenset({"title"}), frozenset({"description"})

_SUBTASKS = (
    SubTask("mut_title", 1, shown=_TITLE, asked=_INDEX),
    SubTask("mut_description", 2, shown=_DESCRIPTION, asked=_INDEX),
    SubTask("mut_text", 3, shown=_TITLE | _DESCRIPTION, asked=_INDEX),
    SubTask("mut_item", 4, shown=_INDEX, asked=_TITLE | _DESCRIPTION),
    SubTask("mut_item_title", 5, shown=_INDEX, asked=_TITLE),
)


def item_rows(data: AlignmentData) -> dict[str, np.ndarray]:
    """Return sub-task -> int64 rows of the items that have its texts.

    ``mut_item_title`` takes the items without a description.
    """
    titled, described = data.has_title, data.has_description
    masks = {
        "mut_title": titled,
        "mut_description": described,
        "mut_text": titled & described,
        "mut_item": titled & described,
        "mut_item_title": titled & ~described,
    }
    return {subtask: np.flatnonzero(mask) for subtask, mask in masks.items()}


@dataclass(frozen=True)
class ItemTextInstructions:
    """The instructions of one sub-task of MUT, one for each item that has its texts.

    Attributes:
        subtask: a sub-task of MUT.
        context: what to build from.
        rows: int64, item row of each datum.
    """

    subtask: SubTask
    context: InstructionContext
    rows: np.ndarray

    def size(self, epoch: int) -> int:
        """Return the number of data, the same in every epoch."""
        return len(self.rows)

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """Return the datum's instruction in an epoch."""
        item = self.context.data.item(int(self.rows[datum]))
        return self.context.instruction(
            self.subtask, epoch, datum, item=item.index, title=item.title, description=item.description
        )


def _sources(context: InstructionContext) -> dict[str, InstructionSource]:
    rows = item_rows(context.data)
    return {subtask.name: ItemTextInstructions(subtask, context, rows[subtask.name]) for subtask in _SUBTASKS}


FAMILY = TaskFamily("mut", _SUBTASKS, sources=_sources, missing=missing_item_texts, of_paper=True)
