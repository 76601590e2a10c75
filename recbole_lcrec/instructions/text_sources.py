"""The tasks that put words beside indices as sources of instructions: MUT, ASY, ITE, PER (paper III-C2, III-C3).

Knows which datum of the alignment data has which number. Each instruction is built when it is asked for and none is
kept. Refuses to know how many data an epoch shows of a family, tokenizers and models.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from recbole_lcrec.instructions import tasks
from recbole_lcrec.instructions.context import InstructionContext
from recbole_lcrec.instructions.templates import Instruction

__all__ = [
    "IntentionInstructions",
    "ItemTextInstructions",
    "NextTextInstructions",
    "PreferenceInstructions",
    "TitleHistoryInstructions",
]

_OF_ITEM = MappingProxyType(
    {
        "mut_title": tasks.item_of_title,
        "mut_description": tasks.item_of_description,
        "mut_text": tasks.item_of_text,
        "mut_item": tasks.text_of_item,
        "mut_item_title": tasks.title_of_item,
    }
)
_AFTER_HISTORY = MappingProxyType(
    {"asy_title": tasks.title_after_history, "asy_description": tasks.description_after_history}
)


@dataclass(frozen=True)
class ItemTextInstructions:
    """MUT: an item's texts ask for its index, or its index for its texts. Uses the catalogue alone.

    Attributes:
        subtask: one of the sub-tasks of MUT.
        material: what to build from.
        rows: int64, item row of each datum.
    """

    subtask: str
    material: InstructionContext
    rows: np.ndarray

    def size(self, epoch: int) -> int:
        """Data of an epoch, the same in every epoch."""
        return len(self.rows)

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """The datum's instruction in an epoch."""
        template = self.material.template(self.subtask, epoch, datum)
        return _OF_ITEM[self.subtask](self.material.templates, template, self.material.data.item(int(self.rows[datum])))


@dataclass(frozen=True)
class NextTextInstructions:
    """ASY: a history of indices asks for the title or the description of the next item.

    Attributes:
        subtask: ``asy_title`` or ``asy_description``.
        material: what to build from.
        targets: int64, place of each datum's target in ``sequences.items``; its item has the text.
    """

    subtask: str
    material: InstructionContext
    targets: np.ndarray

    def size(self, epoch: int) -> int:
        """Data of an epoch, the same in every epoch."""
        return len(self.targets)

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """The datum's instruction in an epoch."""
        place, template = int(self.targets[datum]), self.material.template(self.subtask, epoch, datum)
        history = self.material.history(self.material.start(place), place)
        target = self.material.data.item(int(self.material.data.sequences.items[place]))
        return _AFTER_HISTORY[self.subtask](self.material.templates, template, history, target)


@dataclass(frozen=True)
class TitleHistoryInstructions:
    """ASY: a history of titles asks for the index of the next item.

    Items without a title are passed over. Of the others the newest are kept, as many as ``max_history`` and the budget
    allow.

    Attributes:
        material: what to build from.
        targets: int64, place of each datum's target in ``sequences.items``; some item before it has a title.
        title_tokens: int64 [N], tokens of each title and a separator.
        title_budget: tokens of all titles together.

    Raises:
        ValueError: the counts are not N, or a title of the sequences is above the budget all by itself.
    """

    material: InstructionContext
    targets: np.ndarray
    title_tokens: np.ndarray
    title_budget: int

    def __post_init__(self) -> None:
        data = self.material.data
        if len(self.title_tokens) != len(data.index_texts):
            raise ValueError(f"title_tokens has {len(self.title_tokens)} numbers for {len(data.index_texts)} items")
        used = data.sequences.items[data.has_title[data.sequences.items]]
        longest = int(self.title_tokens[used].max(initial=0))
        if longest > self.title_budget:
            row = int(used[self.title_tokens[used].argmax()])
            raise ValueError(
                f"the title of item row {row} has {longest} tokens, but an instruction has room for "
                f"{self.title_budget}: lower tuning_text_tokens, or raise tuning_max_length"
            )

    def size(self, epoch: int) -> int:
        """Data of an epoch, the same in every epoch."""
        return len(self.targets)

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """The datum's instruction in an epoch."""
        data, place = self.material.data, int(self.targets[datum])
        before = data.sequences.items[self.material.start(place) : place]
        titled = before[data.has_title[before]][-self.material.max_history :]
        kept = int((np.cumsum(self.title_tokens[titled[::-1]]) <= self.title_budget).sum())
        titles = [data.item(int(row)).title for row in titled[len(titled) - kept :]]
        template = self.material.template("asy_titles", epoch, datum)
        return tasks.item_after_titles(self.material.templates, template, titles, self.material.target(place))


@dataclass(frozen=True)
class IntentionInstructions:
    """ITE: a stated intention, alone or with the history before it, asks for the item that was chosen.

    Attributes:
        subtask: ``ite`` or ``ite_history``.
        material: what to build from.
    """

    subtask: str
    material: InstructionContext

    def size(self, epoch: int) -> int:
        """Data of an epoch, the same in every epoch."""
        return len(self.material.data.intentions)

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """The datum's instruction in an epoch."""
        data, templates = self.material.data, self.material.templates
        stated = data.intentions[datum]
        start = int(data.sequences.offsets[stated.user])
        place = start + stated.position
        item, text = self.material.target(place), stated.text
        template = self.material.template(self.subtask, epoch, datum)
        if self.subtask == "ite":
            return tasks.item_for_intention(templates, template, text, item)
        history = self.material.history(start, place)
        return tasks.item_for_intention_and_history(templates, template, text, history, item)


@dataclass(frozen=True)
class PreferenceInstructions:
    """PER: the history that a preference was made from asks for the preference.

    Attributes:
        material: what to build from.
    """

    material: InstructionContext

    def size(self, epoch: int) -> int:
        """Data of an epoch, the same in every epoch."""
        return len(self.material.data.preferences)

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """The datum's instruction in an epoch."""
        data, liked = self.material.data, self.material.data.preferences[datum]
        start = int(data.sequences.offsets[liked.user])
        history = self.material.history(start, start + liked.until)
        template = self.material.template("per", epoch, datum)
        return tasks.preference_of_history(self.material.templates, template, history, liked.text)
