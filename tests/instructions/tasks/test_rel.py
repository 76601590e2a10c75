"""REL: every item with related items asks for some of them, in words and as indices."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from recbole_lcrec.data.related_items import RelatedItems
from recbole_lcrec.instructions.mixture import alignment_instructions
from recbole_lcrec.instructions.tasks.rel import FAMILY
from recbole_lcrec.instructions.templates import Instruction
from tests.instructions.plain_world import alignment_data, context_of, everything, read_back, tuning

RELATED = RelatedItems(np.array([1, 2, 0]), np.array([0.75, 1.0, 1.0]), np.array([0, 2, 2, 3, 3, 3, 3]))
"""Item 0 is related to 1 (three times of four) and 2, item 2 to 0; the others to none."""


def context(per_item: int = 3, related: RelatedItems | None = RELATED):
    return context_of(alignment_data([[0, 1, 2], [3]], related=related), related_per_item=per_item)


def test_each_item_asks_for_its_own_related_ones() -> None:
    source = alignment_instructions(context(), tuning(tasks=["rel"], seq_format="instruction"))
    assert source.counts(0) == {"rel": 6}
    pairs = [(shown["item"], asked["related"]) for _, _, shown, asked in map(read_back, everything(source, 0))]
    assert [item for item, _ in pairs] == ["<0>"] * 3 + ["<2>"] * 3
    assert set(pairs) <= {("<0>", "<1>"), ("<0>", "<2>"), ("<2>", "<0>")}


def test_a_stream_is_the_two_indices() -> None:
    source = alignment_instructions(context(), tuning(tasks=["seq", "rel"], seq_format="stream"))
    assert source.counts(1) == {"seq": 1, "rel": 6}
    assert everything(source, 1)[-1] == Instruction("<2>", "<0>", closed=False)


def test_draws_follow_the_shares_and_change_with_the_epoch() -> None:
    source = FAMILY.streams(context(per_item=1000))
    drawn = [Counter(one.response for one in everything(source, epoch)[:1000]) for epoch in (0, 1)]
    assert drawn[0] != drawn[1]
    assert all(700 < count["<1>"] < 800 and count["<2>"] == 1000 - count["<1>"] for count in drawn)
    assert source.instruction(1, 7) == FAMILY.streams(context(per_item=1000)).instruction(1, 7)


@pytest.mark.parametrize("related", [None, RelatedItems(np.array([], int), np.array([]), np.zeros(7, int))])
def test_data_without_related_items_are_refused(related: RelatedItems | None) -> None:
    with pytest.raises(ValueError, match=r"rel cannot be built, for no item is related.*related_source"):
        alignment_instructions(context(related=related), tuning(tasks=["seq", "rel"]))


def test_the_paper_has_no_such_task() -> None:
    assert "rel" not in alignment_instructions(context(), tuning(tasks="paper")).counts(0)
