"""The alignment tasks: pure functions from a datum to an instruction (paper III-C).

Knows what each task shows and asks. Refuses to know how data are drawn, ordered and tokenized.
"""

from __future__ import annotations

from collections.abc import Sequence

from recbole_lcrec.instructions.templates import Instruction, Template, Templates

__all__ = [
    "HISTORY_SEPARATOR",
    "history_text",
    "sequential_item_prediction",
    "sequential_prompt",
    "stream",
    "stream_prompt",
]

HISTORY_SEPARATOR = ", "


def history_text(items: Sequence[str]) -> str:
    """A history as it is written in an instruction: item indices, oldest first."""
    return HISTORY_SEPARATOR.join(items)


def sequential_prompt(templates: Templates, template: Template, history: Sequence[str]) -> str:
    """The question that asks for the item after a history (paper III-C1).

    Args:
        templates: gives the frame.
        template: one of the SEQ templates.
        history: item indices as text, oldest first.
    """
    return templates.prompt(template, history=history_text(history))


def sequential_item_prediction(
    templates: Templates, template: Template, history: Sequence[str], item: str
) -> Instruction:
    """SEQ: history of indices -> index of the next item (paper III-C1)."""
    return templates.instruction(template, {"history": history_text(history)}, {"item": item})


def stream_prompt(history: Sequence[str]) -> str:
    """A history as a stream shows it: indices in a row."""
    return "".join(history)


def stream(items: Sequence[str]) -> Instruction:
    """A user's indices in a row, without words: the first is the prompt, all others are asked for.

    Not in the paper. One row stands for as many SEQ data as it has items after the first, at the cost of one. It has no
    end: a sequence breaks off where the data do.
    """
    return Instruction(stream_prompt(items[:1]), stream_prompt(items[1:]), closed=False)
