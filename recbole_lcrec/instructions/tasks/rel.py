"""REL, related items.

An item asks for one of its most related items, drawn anew each epoch.

Not a tuning task of the paper, which asks a tuned model for related items in its Fig. 5b. A model from nothing learns
from it which items are alike, long before the few sequences of a small data set say so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recbole_lcrec.data.related_items import RelatedItems
from recbole_lcrec.instructions.alignment_data import AlignmentData
from recbole_lcrec.instructions.context import InstructionContext
from recbole_lcrec.instructions.families import TaskFamily
from recbole_lcrec.instructions.sources import InstructionSource
from recbole_lcrec.instructions.subtasks import SubTask
from recbole_lcrec.instructions.tasks.seq import stream
from recbole_lcrec.instructions.templates import Instruction

__all__ = ["FAMILY", "RelatedInstructions"]

_REL = SubTask("rel", 12, shown=frozenset({"item"}), asked=frozenset({"related"}))


@dataclass(frozen=True)
class RelatedInstructions:
    """Every item that has related items asks for some of them in each epoch.

    Attributes:
        context: what to build from.
        related: the related items.
        per_item: how many are drawn for an item and epoch.
        worded: whether a datum is an instruction in words; else it is the two items' indices, as a stream shows them.
    """

    context: InstructionContext
    related: RelatedItems
    per_item: int
    worded: bool

    def size(self, epoch: int) -> int:
        """Return the number of data, the same in every epoch."""
        return len(self.related.rows) * self.per_item

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """Return the datum's instruction in an epoch."""
        row = int(self.related.rows[datum // self.per_item])
        number = np.random.default_rng((self.context.seed, epoch, datum, _REL.number, 1)).random()
        indices = self.context.data.index_texts
        item, related = indices[row], indices[self.related.draw(row, number)]
        if not self.worded:
            return stream([item, related])
        return self.context.instruction(_REL, epoch, datum, item=item, related=related)


def _instructions(context: InstructionContext, worded: bool) -> InstructionSource:
    related = context.data.related
    if related is None:
        raise RuntimeError("the alignment data have no related items; check missing() before building sources")
    return RelatedInstructions(context, related, context.related_per_item, worded)


def _sources(context: InstructionContext) -> dict[str, InstructionSource]:
    return {_REL.name: _instructions(context, worded=True)}


def _streams(context: InstructionContext) -> InstructionSource:
    return _instructions(context, worded=False)


def _missing(data: AlignmentData) -> str:
    if data.related is not None and len(data.related.rows):
        return ""
    return "no item is related to another: set related_source to both, or use data with longer sequences or item texts"


FAMILY = TaskFamily("rel", (_REL,), sources=_sources, missing=_missing, streams=_streams)
