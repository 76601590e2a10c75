"""MUT, ASY, ITE and PER: every datum by hand and by brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lcrec.instructions.context import draw
from recbole_lcrec.instructions.text_sources import (
    IntentionInstructions,
    ItemTextInstructions,
    NextTextInstructions,
    PreferenceInstructions,
    TitleHistoryInstructions,
)
from recbole_lcrec.instructions.user_texts import Intention, Preference
from tests.instructions.plain_world import N_TEMPLATES, alignment_data, everything, material, read_back

TITLES = ("t0", "", "t2", "t3", "t4", "t5")
DESCRIPTIONS = ("d0", "d1", "", "d3", "", "d5")


def values(source, epoch=0):
    """Values of prompt and response of each datum."""
    return [(*shown.values(), *asked.values()) for _, _, shown, asked in map(read_back, everything(source, epoch))]


@pytest.mark.parametrize(
    ("subtask", "expected"),
    [
        ("mut_title", [("t0", "<0>"), ("t2", "<2>"), ("t3", "<3>"), ("t4", "<4>"), ("t5", "<5>")]),
        ("mut_description", [("d0", "<0>"), ("d1", "<1>"), ("d3", "<3>"), ("d5", "<5>")]),
        ("mut_text", [("d0", "t0", "<0>"), ("d3", "t3", "<3>"), ("d5", "t5", "<5>")]),
        ("mut_item", [("<0>", "d0", "t0"), ("<3>", "d3", "t3"), ("<5>", "d5", "t5")]),
        ("mut_item_title", [("<2>", "t2"), ("<4>", "t4")]),
    ],
)
def test_mut_by_hand(subtask, expected):
    data = alignment_data([[0]], TITLES, DESCRIPTIONS)
    assert values(ItemTextInstructions(subtask, material(data), data.item_rows()[subtask])) == expected


def test_asy_by_hand():
    data = alignment_data([[3], [0, 1, 2, 1, 3]], TITLES, DESCRIPTIONS)
    targets, shared = data.text_targets(), material(data, max_history=2)
    assert values(NextTextInstructions("asy_title", shared, targets["asy_title"])) == [
        ("<0>, <1>", "t2"),
        ("<2>, <1>", "t3"),
    ]
    assert values(NextTextInstructions("asy_description", shared, targets["asy_description"])) == [
        ("<0>", "d1"),
        ("<1>, <2>", "d1"),
        ("<2>, <1>", "d3"),
    ]
    titles = TitleHistoryInstructions(shared, targets["asy_titles"], np.ones(6, dtype=np.int64), 9)
    assert values(titles) == [("t0", "<1>"), ("t0", "<2>"), ("t0; t2", "<1>"), ("t0; t2", "<3>")]


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=9), min_size=1, max_size=3),
    st.lists(st.integers(1, 6), min_size=6, max_size=6),
    st.integers(6, 14),
    st.integers(1, 5),
)
def test_title_histories_by_brute_force(lists, tokens, budget, max_history):
    expected = []
    for items in lists:
        for position in range(1, len(items)):
            kept, room = [], budget
            for item in reversed(items[:position]):
                if not TITLES[item]:
                    continue
                if tokens[item] > room or len(kept) == max_history:
                    break
                kept.insert(0, TITLES[item])
                room -= tokens[item]
            if kept:
                expected.append(("; ".join(kept), f"<{items[position]}>"))
    data = alignment_data(lists, TITLES, DESCRIPTIONS)
    shared = material(data, max_history)
    source = TitleHistoryInstructions(shared, data.text_targets()["asy_titles"], np.array(tokens), budget)
    assert values(source) == expected


def test_a_title_without_room_is_an_error():
    data = alignment_data([[0, 2, 3]], TITLES, DESCRIPTIONS)
    targets = data.text_targets()["asy_titles"]
    with pytest.raises(ValueError, match=r"title of item row 2 has 8 tokens, but .* room for 7: lower tuning_text_tok"):
        TitleHistoryInstructions(material(data), targets, np.array([1, 1, 8, 2, 99, 99]), 7)
    with pytest.raises(ValueError, match="title_tokens has 5 numbers for 6 items"):
        TitleHistoryInstructions(material(data), targets, np.ones(5, dtype=np.int64), 7)


def test_ite_by_hand():
    stated = (Intention(1, 3, "warm"), Intention(1, 1, "soft {x}"), Intention(0, 1, "warm"))
    data = alignment_data([[5, 4], [0, 1, 2, 3]], intentions=stated)
    shared = material(data, max_history=2)
    assert values(IntentionInstructions("ite", shared)) == [("warm", "<3>"), ("soft {x}", "<1>"), ("warm", "<4>")]
    assert values(IntentionInstructions("ite_history", shared)) == [
        ("<1>, <2>", "warm", "<3>"),
        ("<0>", "soft {x}", "<1>"),
        ("<5>", "warm", "<4>"),
    ]


def test_per_by_hand():
    liked = (Preference(1, 4, "wool"), Preference(1, 1, "silk"), Preference(0, 2, "wool"))
    data = alignment_data([[5, 4], [0, 1, 2, 3]], preferences=liked)
    assert values(PreferenceInstructions(material(data, max_history=3))) == [
        ("<1>, <2>, <3>", "wool"),
        ("<0>", "silk"),
        ("<5>, <4>", "wool"),
    ]


def test_wordings_are_drawn_by_seed_epoch_datum_and_sub_task():
    data = alignment_data([[0, 3] * 20], TITLES, DESCRIPTIONS, intentions=(Intention(0, 1, "x"),) * 30)
    for seed in (0, 5):
        shared = material(data, seed=seed)
        sources = {
            "mut_title": ItemTextInstructions("mut_title", shared, data.item_rows()["mut_title"]),
            "asy_title": NextTextInstructions("asy_title", shared, data.text_targets()["asy_title"]),
            "ite": IntentionInstructions("ite", shared),
            "ite_history": IntentionInstructions("ite_history", shared),
        }
        for subtask, source in sources.items():
            for epoch in (0, 3):
                drawn = [read_back(one)[0] for one in everything(source, epoch)]
                assert drawn == [draw(seed, epoch, datum, N_TEMPLATES, subtask) for datum in range(len(drawn))]
