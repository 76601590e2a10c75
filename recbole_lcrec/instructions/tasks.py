"""The alignment tasks: one pure function per sub-task, from a datum to an instruction (paper III-C).

Knows what each task shows and asks, and how histories and texts are written. Refuses to know how data are drawn,
ordered and tokenized.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recbole_lcrec.instructions.templates import Instruction, Template, Templates

__all__ = [
    "HISTORY_SEPARATOR",
    "TITLE_SEPARATOR",
    "DescribedItem",
    "description_after_history",
    "history_text",
    "intention_prompt",
    "item_after_titles",
    "item_for_intention",
    "item_for_intention_and_history",
    "item_of_description",
    "item_of_text",
    "item_of_title",
    "preference_of_history",
    "sequential_item_prediction",
    "sequential_prompt",
    "stream",
    "stream_prompt",
    "text_of_item",
    "title_after_history",
    "title_of_item",
    "titles_text",
]

HISTORY_SEPARATOR = ", "

TITLE_SEPARATOR = "; "
"""Stands between titles, which hold commas themselves."""


@dataclass(frozen=True)
class DescribedItem:
    """An item as instructions write it; a missing text is empty."""

    index: str
    title: str
    description: str


def history_text(items: Sequence[str]) -> str:
    """A history as it is written in an instruction: item indices, oldest first."""
    return HISTORY_SEPARATOR.join(items)


def titles_text(titles: Sequence[str]) -> str:
    """A history as it is written in words: item titles, oldest first."""
    return TITLE_SEPARATOR.join(titles)


# --- SEQ --------------------------------------------------------------------------------------------------------------


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
    """``seq``: history of indices -> index of the next item (paper III-C1)."""
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


# --- MUT --------------------------------------------------------------------------------------------------------------


def item_of_title(templates: Templates, template: Template, item: DescribedItem) -> Instruction:
    """``mut_title``: title -> index (paper III-C2, mutual prediction)."""
    return templates.instruction(template, {"title": item.title}, {"item": item.index})


def item_of_description(templates: Templates, template: Template, item: DescribedItem) -> Instruction:
    """``mut_description``: description -> index (paper III-C2, mutual prediction)."""
    return templates.instruction(template, {"description": item.description}, {"item": item.index})


def item_of_text(templates: Templates, template: Template, item: DescribedItem) -> Instruction:
    """``mut_text``: title and description -> index (paper III-C2, mutual prediction)."""
    shown = {"title": item.title, "description": item.description}
    return templates.instruction(template, shown, {"item": item.index})


def text_of_item(templates: Templates, template: Template, item: DescribedItem) -> Instruction:
    """``mut_item``: index -> title and description (paper III-C2, mutual prediction)."""
    asked = {"title": item.title, "description": item.description}
    return templates.instruction(template, {"item": item.index}, asked)


def title_of_item(templates: Templates, template: Template, item: DescribedItem) -> Instruction:
    """``mut_item_title``: index -> title, for an item that has no description (paper III-C2, mutual prediction)."""
    return templates.instruction(template, {"item": item.index}, {"title": item.title})


# --- ASY --------------------------------------------------------------------------------------------------------------


def title_after_history(
    templates: Templates, template: Template, history: Sequence[str], item: DescribedItem
) -> Instruction:
    """``asy_title``: history of indices -> title of the next item (paper III-C3, asymmetric prediction)."""
    return templates.instruction(template, {"history": history_text(history)}, {"title": item.title})


def description_after_history(
    templates: Templates, template: Template, history: Sequence[str], item: DescribedItem
) -> Instruction:
    """``asy_description``: history of indices -> description of the next item (paper III-C3, asymmetric prediction)."""
    return templates.instruction(template, {"history": history_text(history)}, {"description": item.description})


def item_after_titles(templates: Templates, template: Template, titles: Sequence[str], item: str) -> Instruction:
    """``asy_titles``: history of titles -> index of the next item (paper III-C3, asymmetric prediction)."""
    return templates.instruction(template, {"titles": titles_text(titles)}, {"item": item})


# --- ITE, PER ---------------------------------------------------------------------------------------------------------


def intention_prompt(templates: Templates, template: Template, intention: str, history: Sequence[str]) -> str:
    """The question that asks for the item that a user wants (paper III-C3).

    Args:
        templates: gives the frame.
        template: one of the ``ite`` templates where the history is empty, else one of ``ite_history``.
        intention: what the user wants, in words.
        history: item indices as text, oldest first.
    """
    shown = {"history": history_text(history)} if history else {}
    return templates.prompt(template, intention=intention, **shown)


def item_for_intention(templates: Templates, template: Template, intention: str, item: str) -> Instruction:
    """``ite``: what a user wants, in words -> index (paper III-C3, item prediction by intention)."""
    return templates.instruction(template, {"intention": intention}, {"item": item})


def item_for_intention_and_history(
    templates: Templates, template: Template, intention: str, history: Sequence[str], item: str
) -> Instruction:
    """``ite_history``: what a user wants and a history of indices -> index (paper III-C3)."""
    shown = {"intention": intention, "history": history_text(history)}
    return templates.instruction(template, shown, {"item": item})


def preference_of_history(
    templates: Templates, template: Template, history: Sequence[str], preference: str
) -> Instruction:
    """``per``: history of indices -> the user's preference in words (paper III-C3, preference inference)."""
    return templates.instruction(template, {"history": history_text(history)}, {"preference": preference})
