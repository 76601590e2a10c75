"""ITE, item prediction by intention.

An intention in words, alone or with a history, asks for the item chosen.

Paper III-C3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recbole_lcrec.instructions.alignment_data import AlignmentData, missing_user_texts
from recbole_lcrec.instructions.context import InstructionContext
from recbole_lcrec.instructions.families import TaskFamily
from recbole_lcrec.instructions.sources import InstructionSource
from recbole_lcrec.instructions.subtasks import SubTask
from recbole_lcrec.instructions.templates import Instruction, Template, Templates
from recbole_lcrec.instructions.wording import history_text

__all__ = ["FAMILY", "IntentionInstructions", "intention_prompt"]

_SUBTASKS = (
    SubTask("ite", 9, shown=frozenset({"intention"}), asked=frozenset({"item"})),
    SubTask("ite_history", 10, shown=frozenset({"intention", "history"}), asked=frozenset({"item"})),
)


def intention_prompt(templates: Templates, template: Template, intention: str, history: Sequence[str]) -> str:
    """Return the prompt that asks for an item by the user's intention (paper III-C3).

    Args:
        templates: gives the frame.
        template: one of the ``ite`` templates where the history is empty, else one of ``ite_history``.
        intention: what the user is looking for, in words.
        history: item indices as text, oldest first.
    """
    shown = {"history": history_text(history)} if history else {}
    return templates.prompt(template, intention=intention, **shown)


@dataclass(frozen=True)
class IntentionInstructions:
    """The instructions of one sub-task of ITE, one for each intention.

    Attributes:
        subtask: ``ite`` or ``ite_history``.
        context: what to build from.
    """

    subtask: SubTask
    context: InstructionContext

    def size(self, epoch: int) -> int:
        """Return the number of data, the same in every epoch."""
        return len(self.context.data.intentions)

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """Return the datum's instruction in an epoch."""
        intention = self.context.data.intentions[datum]
        start = int(self.context.data.sequences.offsets[intention.user])
        position = start + intention.position
        return self.context.instruction(
            self.subtask,
            epoch,
            datum,
            intention=intention.text,
            history=history_text(self.context.history(start, position)),
            item=self.context.target(position),
        )


def _sources(context: InstructionContext) -> dict[str, InstructionSource]:
    return {subtask.name: IntentionInstructions(subtask, context) for subtask in _SUBTASKS}


def _missing(data: AlignmentData) -> str:
    return missing_user_texts("intentions", data.intentions)


FAMILY = TaskFamily("ite", _SUBTASKS, sources=_sources, missing=_missing, of_paper=True)
