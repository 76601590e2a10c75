"""Data from which instructions are made.

Training sequences, item indices and texts, related items, intentions and preferences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recbole_lcrec.data.related_items import RelatedItems
from recbole_lcrec.data.sequences import UserSequences
from recbole_lcrec.instructions.user_texts import Intention, Preference, UserTexts

__all__ = ["AlignmentData", "DescribedItem", "missing_item_texts", "missing_targets", "missing_user_texts"]


@dataclass(frozen=True)
class DescribedItem:
    """An item as instructions show it; a missing text is empty."""

    index: str
    title: str
    description: str


@dataclass(frozen=True)
class AlignmentData:
    """Everything that instructions are made from; one copy, shared by all task families.

    Texts are shown as they are, so they must already be cut to length.

    Attributes:
        sequences: the training split only, items as rows 0 .. N-1.
        index_texts: index of each of the N items as text.
        titles: N titles, "" where missing; None: the data set has no texts.
        descriptions: N descriptions, "" where missing; None: the data set has no texts.
        intentions: of training interactions.
        preferences: made from training interactions.
        related: the items nearest to each of the N items, made from training interactions and texts; None: not made.

    Raises:
        ValueError: there are not N titles or descriptions, an item row is N or more, or an intention or preference is
            blank.
        RuntimeError: an intention or preference points outside the training sequences.
    """

    sequences: UserSequences
    index_texts: tuple[str, ...]
    titles: tuple[str, ...] | None
    descriptions: tuple[str, ...] | None
    intentions: tuple[Intention, ...] = ()
    preferences: tuple[Preference, ...] = ()
    related: RelatedItems | None = None

    def __post_init__(self) -> None:
        count = len(self.index_texts)
        for name, texts in (("titles", self.titles), ("descriptions", self.descriptions)):
            if texts is not None and len(texts) != count:
                raise ValueError(f"{len(texts)} {name} for {count} items; give one for each, empty where missing")
        highest = int(self.sequences.items.max(initial=-1))
        if highest >= count:
            raise ValueError(f"the sequences hold item row {highest}, but there are {count} items; rows start at 0")
        user_texts: tuple[Intention | Preference, ...] = (*self.intentions, *self.preferences)
        blank = [one for one in user_texts if not one.text.strip()]
        if blank:
            raise ValueError(
                f"{len(blank)} intentions or preferences are blank, the first is {blank[0]}; leave them out"
            )
        UserTexts(self.intentions, self.preferences, "the alignment data").require_training(self.sequences)

    def item(self, row: int) -> DescribedItem:
        """Return an item as instructions show it."""
        title = self.titles[row] if self.titles else ""
        description = self.descriptions[row] if self.descriptions else ""
        return DescribedItem(self.index_texts[row], title, description)

    @cached_property
    def has_title(self) -> np.ndarray:
        """Mask of the items whose title is not blank, bool [N]."""
        return _present(self.titles, len(self.index_texts))

    @cached_property
    def has_description(self) -> np.ndarray:
        """Mask of the items whose description is not blank, bool [N]."""
        return _present(self.descriptions, len(self.index_texts))

    def targets(self) -> np.ndarray:
        """Return the positions in ``sequences.items`` that have a history, int64: all but each user's first."""
        starts = np.repeat(self.sequences.offsets[:-1], self.sequences.lengths())
        return np.flatnonzero(np.arange(len(starts)) > starts)


def _present(texts: Sequence[str] | None, count: int) -> np.ndarray:
    return np.fromiter((bool(text.strip()) for text in texts or [""] * count), dtype=bool, count=count)


def missing_targets(data: AlignmentData) -> str:
    """Return why no item can be predicted from a history, with the remedy; "" where some can."""
    if len(data.targets()):
        return ""
    return "no user has two interactions before the held-out ones: more interactions per user are needed"


def missing_item_texts(data: AlignmentData) -> str:
    """Return why no item has a text, with the remedy; "" where some have."""
    if data.has_title.any() or data.has_description.any():
        return ""
    return (
        "the data set has no item texts: give it an item file with the columns that text_title_fields and "
        "text_description_fields name"
    )


def missing_user_texts(kind: str, texts: Sequence[Intention | Preference]) -> str:
    """Return why there are no intentions or preferences (``kind``), with the remedy; "" where there are."""
    if texts:
        return ""
    return (
        f"there are no {kind}: set intention_source to extractive or llm, which need reviews or descriptions, or to "
        "file"
    )
