"""MUT: every datum worked out by hand and by brute force."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_lcrec.instructions.tasks.mut import FAMILY, item_rows
from tests.instructions.plain_world import DESCRIPTIONS, TITLES, alignment_data, context_of, values_of

TEXTS = st.lists(st.sampled_from(["", " ", "x", "y z"]), min_size=5, max_size=5)


@given(TEXTS, TEXTS)
def test_items_of_each_sub_task_by_brute_force(titles, descriptions):
    data = alignment_data([], tuple(titles), tuple(descriptions), n_items=5)
    t, d = ([bool(text.strip()) for text in texts] for texts in (titles, descriptions))
    assert {name: rows.tolist() for name, rows in item_rows(data).items()} == {
        "mut_title": [row for row in range(5) if t[row]],
        "mut_description": [row for row in range(5) if d[row]],
        "mut_text": [row for row in range(5) if t[row] and d[row]],
        "mut_item": [row for row in range(5) if t[row] and d[row]],
        "mut_item_title": [row for row in range(5) if t[row] and not d[row]],
    }


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
    assert values_of(FAMILY.sources(context_of(data))[subtask]) == expected
