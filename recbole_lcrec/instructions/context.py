"""What all sources of instructions share: the data, the wordings, the draw, and the history before a place.

Knows places of ``sequences.items`` and the templates of each sub-task. A draw is a function of (seed, epoch, datum), so
any worker and any resumed run sees the same. Refuses to know which data a task has, tokenizers and models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recbole_lcrec.instructions.alignment_data import AlignmentData
from recbole_lcrec.instructions.subtasks import SUBTASKS
from recbole_lcrec.instructions.templates import Template, Templates

__all__ = ["InstructionContext", "draw"]


def draw(seed: int, epoch: int, datum: int, choices: int, subtask: str = "seq") -> int:
    """A number in 0 .. choices - 1 that depends on the arguments alone.

    Args:
        seed: of the run.
        epoch: from 0.
        datum: its number within the sub-task.
        choices: how many there are, at least 1.
        subtask: sub-tasks draw independently of each other.
    """
    return int(np.random.default_rng((seed, epoch, datum, SUBTASKS[subtask].number)).integers(choices))


@dataclass(frozen=True)
class InstructionContext:
    """What the sources of a run are made of.

    Attributes:
        data: sequences and texts.
        templates: the wordings.
        max_history: how many of the newest items a history keeps.
        seed: of all draws.
    """

    data: AlignmentData
    templates: Templates
    max_history: int
    seed: int

    def template(self, subtask: str, epoch: int, datum: int) -> Template:
        """The wording of a datum in an epoch."""
        group = self.templates.tasks[subtask]
        return group[draw(self.seed, epoch, datum, len(group), subtask)]

    def start(self, place: int) -> int:
        """Where the sequence begins that holds a place of ``sequences.items``."""
        offsets = self.data.sequences.offsets
        return int(offsets[np.searchsorted(offsets, place, side="right") - 1])

    def history(self, start: int, end: int) -> list[str]:
        """Indices of the newest items at places ``start .. end - 1`` of ``sequences.items``, oldest first."""
        newest = self.data.sequences.items[max(start, end - self.max_history) : end]
        return [self.data.index_texts[row] for row in newest]

    def target(self, place: int) -> str:
        """Index of the item at a place of ``sequences.items``."""
        return self.data.index_texts[self.data.sequences.items[place]]
