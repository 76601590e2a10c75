"""PER, personalized preference inference.

A history of indices asks for the user's preference in words.

Paper III-C3.
"""

from __future__ import annotations

from dataclasses import dataclass

from recbole_lcrec.instructions.alignment_data import AlignmentData, missing_user_texts
from recbole_lcrec.instructions.context import InstructionContext
from recbole_lcrec.instructions.families import TaskFamily
from recbole_lcrec.instructions.sources import InstructionSource
from recbole_lcrec.instructions.subtasks import SubTask
from recbole_lcrec.instructions.templates import Instruction
from recbole_lcrec.instructions.wording import history_text

__all__ = ["FAMILY", "PreferenceInstructions"]

_PER = SubTask("per", 11, shown=frozenset({"history"}), asked=frozenset({"preference"}))


@dataclass(frozen=True)
class PreferenceInstructions:
    """The instructions of PER: each asks for a preference after the history that it was made from.

    Attributes:
        context: what to build from.
    """

    context: InstructionContext

    def size(self, epoch: int) -> int:
        """Return the number of data, the same in every epoch."""
        return len(self.context.data.preferences)

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """Return the datum's instruction in an epoch."""
        preference = self.context.data.preferences[datum]
        start = int(self.context.data.sequences.offsets[preference.user])
        history = self.context.history(start, start + preference.until)
        return self.context.instruction(_PER, epoch, datum, history=history_text(history), preference=preference.text)


def _sources(context: InstructionContext) -> dict[str, InstructionSource]:
    return {_PER.name: PreferenceInstructions(context)}


def _missing(data: AlignmentData) -> str:
    return missing_user_texts("preferences", data.preferences)


FAMILY = TaskFamily("per", (_PER,), sources=_sources, missing=_missing, of_paper=True)
