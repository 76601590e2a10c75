"""Context of a run's instructions.

Data, templates, the random draw, and the history before a target.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recbole_lcrec.instructions.alignment_data import AlignmentData
from recbole_lcrec.instructions.subtasks import SubTask
from recbole_lcrec.instructions.templates import Instruction, Templates

__all__ = ["InstructionContext", "draw"]


def draw(seed: int, epoch: int, datum: int, choices: int, subtask: SubTask) -> int:
    """Draw a number in 0 .. choices - 1 that depends on the arguments alone.

    Any worker and any resumed run therefore draws the same.

    Args:
        seed: of the run.
        epoch: from 0.
        datum: its number within the sub-task.
        choices: how many there are, at least 1.
        subtask: its number makes its draws independent of other sub-tasks.
    """
    return int(np.random.default_rng((seed, epoch, datum, subtask.number)).integers(choices))


@dataclass(frozen=True)
class InstructionContext:
    """Values that all sources of instructions share.

    Attributes:
        data: sequences and texts.
        templates: the wordings.
        max_history: how many of the newest items a history keeps.
        seed: of all draws.
        title_tokens: int64 [N], tokens of each title with a separator; None: not counted.
        title_budget: how many tokens a history of titles may have.
        related_per_item: how many related items are drawn for an item and epoch.
    """

    data: AlignmentData
    templates: Templates
    max_history: int
    seed: int
    title_tokens: np.ndarray | None = None
    title_budget: int = 0
    related_per_item: int = 1

    def instruction(self, subtask: SubTask, epoch: int, datum: int, /, **values: str) -> Instruction:
        """Build a datum's instruction in the template that is drawn for the epoch.

        Args:
            subtask: one of the sub-tasks with templates.
            epoch: from 0.
            datum: its number within the sub-task.
            values: text of every placeholder of the sub-task; others are ignored.
        """
        group = self.templates.tasks[subtask.name]
        template = group[draw(self.seed, epoch, datum, len(group), subtask)]
        shown, asked = ({name: values[name] for name in names} for names in (subtask.shown, subtask.asked))
        return self.templates.instruction(template, shown, asked)

    def start(self, position: int) -> int:
        """Return where the user's sequence begins that a position of ``sequences.items`` belongs to."""
        offsets = self.data.sequences.offsets
        return int(offsets[np.searchsorted(offsets, position, side="right") - 1])

    def history(self, start: int, end: int) -> list[str]:
        """Return the indices of the newest items at positions ``start .. end - 1`` of ``sequences.items``.

        They are ordered from oldest to newest.
        """
        newest = self.data.sequences.items[max(start, end - self.max_history) : end]
        return [self.data.index_texts[row] for row in newest]

    def target(self, position: int) -> str:
        """Return the index of the item at a position of ``sequences.items``."""
        return self.data.index_texts[self.data.sequences.items[position]]
