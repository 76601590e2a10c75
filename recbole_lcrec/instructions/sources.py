"""Sequential item prediction as a source of instructions, in words or as streams.

Knows which datum of the training sequences has which number. A datum of an epoch is a function of (seed, epoch, datum),
so any worker and any resumed run sees the same. Refuses to know other tasks, tokenizers and models.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recbole_lcrec.instructions.context import InstructionContext, draw
from recbole_lcrec.instructions.tasks import sequential_item_prediction, stream
from recbole_lcrec.instructions.templates import Instruction

__all__ = ["SequentialInstructions", "StreamInstructions"]


@dataclass(frozen=True)
class SequentialInstructions:
    """SEQ: every item of every training sequence but the first is a target once per epoch (paper III-C1).

    Attributes:
        material: what to build from.
        targets: int64, place of each datum's target in ``sequences.items``; none is a user's first.
    """

    material: InstructionContext
    targets: np.ndarray

    def size(self, epoch: int) -> int:
        """Data of an epoch, the same in every epoch."""
        return len(self.targets)

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """The datum's target, asked for after its history; see :class:`InstructionSource`."""
        place, template = int(self.targets[datum]), self.material.template("seq", epoch, datum)
        history = self.material.history(self.material.start(place), place)
        return sequential_item_prediction(self.material.templates, template, history, self.material.target(place))


@dataclass(frozen=True)
class StreamInstructions:
    """SEQ as streams: each row is a window of a user's indices; every item but the first is a target once per epoch.

    A sequence of more than ``max_history + 1`` items is cut into windows of at most ``max_history`` targets, so that
    histories grow as long as in ranking. Windows overlap by one item, which is the next window's prompt. Where they
    have room to spare, the cuts move from epoch to epoch.

    Attributes:
        material: what to build from; its templates are not used.
    """

    material: InstructionContext

    @cached_property
    def _ends(self) -> np.ndarray:
        """int64 [U]: windows of each user and all before."""
        return np.cumsum(-(-(self.material.data.sequences.lengths() - 1) // self.material.max_history))

    def size(self, epoch: int) -> int:
        """Data of an epoch, the same in every epoch."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """The datum's window; see :class:`InstructionSource`."""
        data, most = self.material.data, self.material.max_history
        user = int(np.searchsorted(self._ends, datum, side="right"))
        window = datum - (int(self._ends[user - 1]) if user else 0)
        items = data.sequences.of(user)
        targets = len(items) - 1
        shift = draw(self.material.seed, epoch, user, -targets % most + 1)
        first = max(window * most - shift, 0)
        last = min((window + 1) * most - shift, targets)
        return stream([data.index_texts[row] for row in items[first : last + 1]])
