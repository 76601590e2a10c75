"""ASY: every datum worked out by hand and by brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lcrec.instructions.tasks.asy import FAMILY, TitleHistoryInstructions, text_targets
from tests.instructions.plain_world import DESCRIPTIONS, TITLES, alignment_data, context_of, values_of

TEXTS = st.lists(st.sampled_from(["", " ", "x", "y z"]), min_size=5, max_size=5)
LISTS = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=6), max_size=5)


@given(LISTS, TEXTS, TEXTS)
def test_targets_of_each_sub_task_by_brute_force(lists, titles, descriptions):
    data = alignment_data(lists, tuple(titles), tuple(descriptions), n_items=5)
    t, d = ([bool(text.strip()) for text in texts] for texts in (titles, descriptions))
    places, expected = 0, {"asy_title": [], "asy_description": [], "asy_titles": []}
    targets = []
    for items in lists:
        for position, item in enumerate(items):
            if position:
                targets.append(places)
                if t[item]:
                    expected["asy_title"].append(places)
                if d[item]:
                    expected["asy_description"].append(places)
                if any(t[before] for before in items[:position]):
                    expected["asy_titles"].append(places)
            places += 1
    assert data.targets().tolist() == targets
    assert {name: part.tolist() for name, part in text_targets(data).items()} == expected


def test_targets_take_8_bytes_each():
    lists = [list(np.arange(200) % 6)] * 10
    targets = text_targets(alignment_data(lists, ("t",) * 6, ("d",) * 6))
    assert all(part.dtype == np.int64 and len(part) == 10 * 199 for part in targets.values())


def test_asy_by_hand():
    data = alignment_data([[3], [0, 1, 2, 1, 3]], TITLES, DESCRIPTIONS)
    counted = {"title_tokens": np.ones(6, dtype=np.int64), "title_budget": 9}
    sources = FAMILY.sources(context_of(data, max_history=2, **counted))
    assert values_of(sources["asy_title"]) == [("<0>, <1>", "t2"), ("<2>, <1>", "t3")]
    assert values_of(sources["asy_description"]) == [("<0>", "d1"), ("<1>, <2>", "d1"), ("<2>, <1>", "d3")]
    assert values_of(sources["asy_titles"]) == [("t0", "<1>"), ("t0", "<2>"), ("t0; t2", "<1>"), ("t0; t2", "<3>")]


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
    context = context_of(data, max_history, title_tokens=np.array(tokens), title_budget=budget)
    assert values_of(TitleHistoryInstructions(context, text_targets(data)["asy_titles"])) == expected


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([1, 1, 8, 2, 99, 99], r"title of item row 2 has 8 tokens, but .* room for 7: lower tuning_text_tokens"),
        ([1] * 5, "title_tokens has 5 numbers for 6 items"),
        (None, "title_tokens must be counted"),
    ],
)
def test_titles_that_are_too_long_or_not_counted(tokens, message):
    data = alignment_data([[0, 2, 3]], TITLES, DESCRIPTIONS)
    counted = None if tokens is None else np.array(tokens)
    with pytest.raises(ValueError, match=message):
        FAMILY.sources(context_of(data, title_tokens=counted, title_budget=7))
