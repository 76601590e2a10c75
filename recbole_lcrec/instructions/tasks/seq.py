"""SEQ, sequential item prediction.

A history of indices asks for the index of the next item (paper III-C1).

The family has two forms: instructions in words, and streams of indices alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recbole_lcrec.instructions.alignment_data import missing_targets
from recbole_lcrec.instructions.context import InstructionContext, draw
from recbole_lcrec.instructions.families import TaskFamily
from recbole_lcrec.instructions.sources import InstructionSource
from recbole_lcrec.instructions.subtasks import SubTask
from recbole_lcrec.instructions.templates import Instruction, Template, Templates
from recbole_lcrec.instructions.wording import history_text

__all__ = ["FAMILY", "SequentialInstructions", "StreamInstructions", "sequential_prompt", "stream", "stream_prompt"]

_SEQ = SubTask("seq", 0, shown=frozenset({"history"}), asked=frozenset({"item"}))


def sequential_prompt(templates: Templates, template: Template, history: Sequence[str]) -> str:
    """Return the prompt that asks for the item after a history (paper III-C1).

    Args:
        templates: gives the frame.
        template: one of the SEQ templates.
        history: item indices as text, oldest first.
    """
    return templates.prompt(template, history=history_text(history))


def stream_prompt(history: Sequence[str]) -> str:
    """Return a history as a stream shows it: indices without separators."""
    return "".join(history)


def stream(items: Sequence[str]) -> Instruction:
    """Return a user's indices without words: the first is the prompt, all others are the response.

    Not in the paper. One stream of n items replaces n - 1 SEQ instructions at the cost of one. It has no end token,
    because the sequence only breaks off where the data do.
    """
    return Instruction(stream_prompt(items[:1]), stream_prompt(items[1:]), closed=False)


@dataclass(frozen=True)
class SequentialInstructions:
    """SEQ in words: every item of a training sequence but the first is a target once per epoch.

    Attributes:
        context: what to build from.
        targets: int64, position of each datum's target in ``sequences.items``; none is a user's first.
    """

    context: InstructionContext
    targets: np.ndarray

    def size(self, epoch: int) -> int:
        """Return the number of data, the same in every epoch."""
        return len(self.targets)

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """Return the instruction that asks for the datum's target after its history."""
        position = int(self.targets[datum])
        history = self.context.history(self.context.start(position), position)
        return self.context.instruction(
            _SEQ, epoch, datum, history=history_text(history), item=self.context.target(position)
        )


@dataclass(frozen=True)
class StreamInstructions:
    """SEQ as streams: windows of each user's indices; every item but the first is a target once per epoch.

    A sequence of more than ``max_history + 1`` items is cut into windows of at most ``max_history`` targets, so that
    histories grow as long as in ranking. Windows overlap by one item, which is the prompt of the next window. Where the
    windows are not full, the cuts move from epoch to epoch.

    Attributes:
        context: what to build from; its templates are not used.
    """

    context: InstructionContext

    @cached_property
    def _ends(self) -> np.ndarray:
        """Cumulative number of windows, int64 [U] for U users."""
        return np.cumsum(-(-(self.context.data.sequences.lengths() - 1) // self.context.max_history))

    def size(self, epoch: int) -> int:
        """Return the number of windows, the same in every epoch."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """Return the datum's window as a stream."""
        data, most = self.context.data, self.context.max_history
        user = int(np.searchsorted(self._ends, datum, side="right"))
        window = datum - (int(self._ends[user - 1]) if user else 0)
        items = data.sequences.of(user)
        targets = len(items) - 1
        shift = draw(self.context.seed, epoch, user, -targets % most + 1, _SEQ)
        first = max(window * most - shift, 0)
        last = min((window + 1) * most - shift, targets)
        return stream([data.index_texts[row] for row in items[first : last + 1]])


def _sources(context: InstructionContext) -> dict[str, InstructionSource]:
    return {_SEQ.name: SequentialInstructions(context, context.data.targets())}


FAMILY = TaskFamily(
    "seq", (_SEQ,), sources=_sources, missing=missing_targets, streams=StreamInstructions, of_paper=True
)
