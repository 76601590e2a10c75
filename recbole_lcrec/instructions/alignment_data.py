"""What the alignment tasks are made from, and which of them a data set allows.

Knows training sequences, item texts, intentions and preferences, and which datum has what it needs. Refuses to know
wordings, epochs and models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recbole_lcrec.config.settings import TASKS
from recbole_lcrec.data.sequences import UserSequences
from recbole_lcrec.instructions.tasks import DescribedItem
from recbole_lcrec.instructions.user_texts import Intention, Preference, UserTexts

__all__ = ["AlignmentData", "chosen_tasks", "missing_data"]

_NO_TEXTS = (
    "the data set has no item texts: give it an item file whose columns text_title_fields and text_description_fields "
    "name"
)
_NO_TARGETS = "no user has two interactions before the held-out ones: more interactions per user are needed"


@dataclass(frozen=True)
class AlignmentData:
    """Everything that instructions are made from; one copy, shared by all tasks.

    Texts are shown as they are, so they come as short as they shall be.

    Attributes:
        sequences: the training part alone, items as rows 0 .. N-1.
        index_texts: index of each item row as text, N.
        titles: N, "" where missing; None: the data set has no texts.
        descriptions: N, "" where missing; None: the data set has no texts.
        intentions: of training interactions.
        preferences: made from training interactions.

    Raises:
        ValueError: titles or descriptions are not N, an item row is not below N, or an intention or preference is
            blank.
        RuntimeError: an intention or preference points outside the training sequences.
    """

    sequences: UserSequences
    index_texts: tuple[str, ...]
    titles: tuple[str, ...] | None
    descriptions: tuple[str, ...] | None
    intentions: tuple[Intention, ...] = ()
    preferences: tuple[Preference, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.index_texts)
        for name, texts in (("titles", self.titles), ("descriptions", self.descriptions)):
            if texts is not None and len(texts) != count:
                raise ValueError(f"{len(texts)} {name} for {count} items; give one for each, empty where missing")
        highest = int(self.sequences.items.max(initial=-1))
        if highest >= count:
            raise ValueError(f"the sequences hold item row {highest}, but there are {count} items; rows start at 0")
        stated: tuple[Intention | Preference, ...] = (*self.intentions, *self.preferences)
        blank = [one for one in stated if not one.text.strip()]
        if blank:
            raise ValueError(
                f"{len(blank)} intentions or preferences are blank, the first is {blank[0]}; leave them out"
            )
        UserTexts(self.intentions, self.preferences, "the alignment data").require_training(self.sequences)

    def item(self, row: int) -> DescribedItem:
        """An item as instructions write it."""
        title = self.titles[row] if self.titles else ""
        description = self.descriptions[row] if self.descriptions else ""
        return DescribedItem(self.index_texts[row], title, description)

    @cached_property
    def has_title(self) -> np.ndarray:
        """Tells whose title, bool [N], is more than blanks."""
        return _present(self.titles, len(self.index_texts))

    @cached_property
    def has_description(self) -> np.ndarray:
        """Tells whose description, bool [N], is more than blanks."""
        return _present(self.descriptions, len(self.index_texts))

    def item_rows(self) -> dict[str, np.ndarray]:
        """Sub-tasks of MUT -> int64 item rows that take part, each with what it has."""
        titled, described = self.has_title, self.has_description
        masks = {
            "mut_title": titled,
            "mut_description": described,
            "mut_text": titled & described,
            "mut_item": titled & described,
            "mut_item_title": titled & ~described,
        }
        return {subtask: np.flatnonzero(mask) for subtask, mask in masks.items()}

    def targets(self) -> np.ndarray:
        """int64: places in ``sequences.items`` that have a history, which every place but a user's first has."""
        starts = np.repeat(self.sequences.offsets[:-1], self.sequences.lengths())
        return np.flatnonzero(np.arange(len(starts)) > starts)

    def text_targets(self) -> dict[str, np.ndarray]:
        """Sub-tasks of ASY -> int64 places in ``sequences.items`` of the targets that take part."""
        items, targets = self.sequences.items, self.targets()
        titled_before = np.r_[0, np.cumsum(self.has_title[items])]
        first = self.sequences.offsets[np.searchsorted(self.sequences.offsets, targets, side="right") - 1]
        return {
            "asy_title": targets[self.has_title[items[targets]]],
            "asy_description": targets[self.has_description[items[targets]]],
            "asy_titles": targets[titled_before[targets] > titled_before[first]],
        }


def _present(texts: Sequence[str] | None, count: int) -> np.ndarray:
    return np.fromiter((bool(text.strip()) for text in texts or [""] * count), dtype=bool, count=count)


def _any(rows: Mapping[str, np.ndarray]) -> bool:
    return any(len(part) for part in rows.values())


def missing_data(data: AlignmentData) -> dict[str, str]:
    """Family -> why it cannot be built, with the remedy; "" where it can."""
    texts = "" if data.has_title.any() or data.has_description.any() else _NO_TEXTS
    targets = "" if len(data.targets()) else _NO_TARGETS
    asy = texts or targets
    if not asy and not _any(data.text_targets()):
        asy = "no item in the training sequences has a title or description: give the item file the texts of its items"
    remedy = "set intention_source to extractive or llm, which need reviews or descriptions, or to file"
    return {
        "seq": targets,
        "mut": texts,
        "asy": asy,
        "ite": "" if data.intentions else f"there are no intentions: {remedy}",
        "per": "" if data.preferences else f"there are no preferences: {remedy}",
    }


def chosen_tasks(tasks: str | Sequence[str], data: AlignmentData) -> tuple[tuple[str, ...], dict[str, str]]:
    """The families that ``tuning_tasks`` stands for.

    Args:
        tasks: "auto", or families of ``settings.TASKS``.
        data: what they would be built from.

    Returns:
        Families in the order of ``settings.TASKS``, and family -> why it was left out, which only "auto" does.

    Raises:
        ValueError: a family that is asked for by name lacks its data, or "auto" finds none for SEQ, which ranking
            stands on; says what is missing and what to do.
    """
    missing = missing_data(data)
    if tasks == "auto":
        if missing["seq"]:
            raise ValueError(f"tuning_tasks = 'auto', but there is nothing to tune seq on: {missing['seq']}")
        return tuple(task for task in TASKS if not missing[task]), {task: why for task, why in missing.items() if why}
    lacking = [f"{task} cannot be built, for {missing[task]}; or leave {task} out" for task in tasks if missing[task]]
    if lacking:
        raise ValueError(f"tuning_tasks = {list(tasks)}: {'. '.join(lacking)}")
    return tuple(task for task in TASKS if task in tasks), {}
