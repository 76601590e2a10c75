"""Sequential item prediction as a source of instructions, in words or as streams.

Knows sequences of item rows, item indices as text, and templates. A datum of an epoch is a function of
(seed, epoch, datum), so any worker and any resumed run sees the same. Refuses to know other tasks, tokenizers and
models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recbole_lcrec.data.sequences import UserSequences
from recbole_lcrec.instructions.subtasks import SUBTASKS
from recbole_lcrec.instructions.tasks import sequential_item_prediction, stream
from recbole_lcrec.instructions.templates import Instruction, Templates

__all__ = ["SequentialInstructions", "StreamInstructions", "draw"]


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
class SequentialInstructions:
    """SEQ: every item of every training sequence but the first is a target once per epoch (paper III-C1).

    Attributes:
        sequences: training sequences of item rows.
        item_texts: index of each item row as text.
        templates: the wordings; one SEQ template is drawn per datum and epoch.
        max_history: how many of the newest items a history keeps.
        seed: of the draw.
    """

    sequences: UserSequences
    item_texts: Sequence[str]
    templates: Templates
    max_history: int
    seed: int

    @cached_property
    def _ends(self) -> np.ndarray:
        """int64 [U]: targets of each user and all before; every sequence's first item is no target."""
        return self.sequences.offsets[1:] - np.arange(1, len(self.sequences) + 1)

    def size(self, epoch: int) -> int:
        """Data of an epoch, the same in every epoch."""
        return int(self._ends[-1]) if len(self.sequences) else 0

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """The datum's target, asked for after its history; see :class:`InstructionSource`."""
        user = int(np.searchsorted(self._ends, datum, side="right"))
        position = datum + user + 1  # this user's and every earlier user's first item stand before it
        start = max(int(self.sequences.offsets[user]), position - self.max_history)
        history = [self.item_texts[row] for row in self.sequences.items[start:position]]
        group = self.templates.tasks["seq"]
        template = group[draw(self.seed, epoch, datum, len(group))]
        return sequential_item_prediction(
            self.templates, template, history, self.item_texts[self.sequences.items[position]]
        )


@dataclass(frozen=True)
class StreamInstructions:
    """SEQ as streams: each row is a window of a user's indices; every item but the first is a target once per epoch.

    A sequence of more than ``max_history + 1`` items is cut into windows that overlap by one item, which is the next
    window's prompt. Where the windows have room to spare, the cuts move from epoch to epoch.

    Attributes:
        sequences: training sequences of item rows.
        item_texts: index of each item row as text.
        max_history: how many targets a window has at most, so that histories grow as long as in ranking.
        seed: of the draw of the cuts.
    """

    sequences: UserSequences
    item_texts: Sequence[str]
    max_history: int
    seed: int

    @cached_property
    def _ends(self) -> np.ndarray:
        """int64 [U]: windows of each user and all before."""
        return np.cumsum(-(-(self.sequences.lengths() - 1) // self.max_history))

    def size(self, epoch: int) -> int:
        """Data of an epoch, the same in every epoch."""
        return int(self._ends[-1]) if len(self.sequences) else 0

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """The datum's window; see :class:`InstructionSource`."""
        user = int(np.searchsorted(self._ends, datum, side="right"))
        window = datum - (int(self._ends[user - 1]) if user else 0)
        items = self.sequences.of(user)
        targets = len(items) - 1
        spare = -targets % self.max_history
        shift = draw(self.seed, epoch, user, spare + 1)
        first = max(window * self.max_history - shift, 0)
        last = min((window + 1) * self.max_history - shift, targets)
        return stream([self.item_texts[row] for row in items[first : last + 1]])
