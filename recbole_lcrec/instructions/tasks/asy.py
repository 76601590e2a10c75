"""ASY, asymmetric item prediction.

The history and its target are in different forms, indices or texts.

Paper III-C3. A history of indices asks for the title or the description of the next item; a history of titles asks for
the index of the next item.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recbole_lcrec.instructions.alignment_data import AlignmentData, missing_item_texts, missing_targets
from recbole_lcrec.instructions.context import InstructionContext
from recbole_lcrec.instructions.families import TaskFamily
from recbole_lcrec.instructions.sources import InstructionSource
from recbole_lcrec.instructions.subtasks import SubTask
from recbole_lcrec.instructions.templates import Instruction
from recbole_lcrec.instructions.wording import history_text, titles_text

__all__ = ["FAMILY", "NextTextInstructions", "TitleHistoryInstructions", "text_targets"]

_TITLE = SubTask("asy_title", 6, shown=frozenset({"history"}), asked=frozenset({"title"}))
_DESCRIPTION = SubTask("asy_description", 7, shown=frozenset({"history"}), asked=frozenset({"description"}))
_TITLES = SubTask("asy_titles", 8, shown=frozenset({"titles"}), asked=frozenset({"item"}))


def text_targets(data: AlignmentData) -> dict[str, np.ndarray]:
    """Return sub-task -> int64 positions in ``sequences.items`` of the targets that have what the sub-task needs.

    That is a title, a description, or an earlier item of the same user with a title.
    """
    items, targets = data.sequences.items, data.targets()
    titled_before = np.r_[0, np.cumsum(data.has_title[items])]
    first = data.sequences.offsets[np.searchsorted(data.sequences.offsets, targets, side="right") - 1]
    return {
        "asy_title": targets[data.has_title[items[targets]]],
        "asy_description": targets[data.has_description[items[targets]]],
        "asy_titles": targets[titled_before[targets] > titled_before[first]],
    }


@dataclass(frozen=True)
class NextTextInstructions:
    """A history of indices asks for the title or the description of the next item.

    Attributes:
        subtask: ``asy_title`` or ``asy_description``.
        context: what to build from.
        targets: int64, position of each datum's target in ``sequences.items``; its item has the text.
    """

    subtask: SubTask
    context: InstructionContext
    targets: np.ndarray

    def size(self, epoch: int) -> int:
        """Return the number of data, the same in every epoch."""
        return len(self.targets)

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """Return the datum's instruction in an epoch."""
        position = int(self.targets[datum])
        history = self.context.history(self.context.start(position), position)
        target = self.context.data.item(int(self.context.data.sequences.items[position]))
        return self.context.instruction(
            self.subtask,
            epoch,
            datum,
            history=history_text(history),
            title=target.title,
            description=target.description,
        )


@dataclass(frozen=True)
class TitleHistoryInstructions:
    """A history of titles asks for the index of the next item.

    Items without a title are skipped. Of the others the newest are kept, as many as ``max_history`` and the token
    budget of the context allow.

    Attributes:
        context: what to build from; its titles are counted.
        targets: int64, position of each datum's target in ``sequences.items``; some item before it has a title.

    Raises:
        ValueError: ``title_tokens`` is missing or has not N counts, or a title of the sequences alone exceeds the
            budget.
    """

    context: InstructionContext
    targets: np.ndarray

    def __post_init__(self) -> None:
        data, tokens = self.context.data, self._title_tokens
        if len(tokens) != len(data.index_texts):
            raise ValueError(f"title_tokens has {len(tokens)} numbers for {len(data.index_texts)} items")
        used = data.sequences.items[data.has_title[data.sequences.items]]
        longest = int(tokens[used].max(initial=0))
        if longest > self.context.title_budget:
            row = int(used[tokens[used].argmax()])
            raise ValueError(
                f"the title of item row {row} has {longest} tokens, but an instruction has room for "
                f"{self.context.title_budget}: lower tuning_text_tokens, or raise tuning_max_length"
            )

    @property
    def _title_tokens(self) -> np.ndarray:
        if self.context.title_tokens is None:
            raise ValueError("title_tokens must be counted where items have titles and tuning_tasks has asy")
        return self.context.title_tokens

    def size(self, epoch: int) -> int:
        """Return the number of data, the same in every epoch."""
        return len(self.targets)

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """Return the datum's instruction in an epoch."""
        data, position = self.context.data, int(self.targets[datum])
        before = data.sequences.items[self.context.start(position) : position]
        titled = before[data.has_title[before]][-self.context.max_history :]
        kept = int((np.cumsum(self._title_tokens[titled[::-1]]) <= self.context.title_budget).sum())
        titles = [data.item(int(row)).title for row in titled[len(titled) - kept :]]
        return self.context.instruction(
            _TITLES, epoch, datum, titles=titles_text(titles), item=self.context.target(position)
        )


def _sources(context: InstructionContext) -> dict[str, InstructionSource]:
    targets = text_targets(context.data)
    sources: dict[str, InstructionSource] = {
        subtask.name: NextTextInstructions(subtask, context, targets[subtask.name])
        for subtask in (_TITLE, _DESCRIPTION)
    }
    if len(targets[_TITLES.name]):
        sources[_TITLES.name] = TitleHistoryInstructions(context, targets[_TITLES.name])
    return sources


def _missing(data: AlignmentData) -> str:
    reason = missing_item_texts(data) or missing_targets(data)
    if not reason and not any(len(targets) for targets in text_targets(data).values()):
        reason = (
            "no item in the training sequences has a title or description: give the item file the texts of its items"
        )
    return reason


FAMILY = TaskFamily("asy", (_TITLE, _DESCRIPTION, _TITLES), sources=_sources, missing=_missing, of_paper=True)
