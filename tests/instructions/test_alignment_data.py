"""Which datum takes part in which task, and what a data set lacks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_lcrec.config.settings import TASKS
from recbole_lcrec.instructions.alignment_data import chosen_tasks, missing_data
from recbole_lcrec.instructions.tasks import DescribedItem
from recbole_lcrec.instructions.user_texts import Intention, Preference
from tests.instructions.plain_world import alignment_data

TEXTS = st.lists(st.sampled_from(["", " ", "x", "y z"]), min_size=5, max_size=5)
LISTS = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=6), max_size=5)


@given(LISTS, TEXTS, TEXTS)
def test_who_takes_part_by_brute_force(lists, titles, descriptions):
    data = alignment_data(lists, tuple(titles), tuple(descriptions), n_items=5)
    t, d = ([bool(text.strip()) for text in texts] for texts in (titles, descriptions))
    assert {name: rows.tolist() for name, rows in data.item_rows().items()} == {
        "mut_title": [row for row in range(5) if t[row]],
        "mut_description": [row for row in range(5) if d[row]],
        "mut_text": [row for row in range(5) if t[row] and d[row]],
        "mut_item": [row for row in range(5) if t[row] and d[row]],
        "mut_item_title": [row for row in range(5) if t[row] and not d[row]],
    }
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
    assert {name: part.tolist() for name, part in data.text_targets().items()} == expected


def test_items_as_they_are_written():
    data = alignment_data([[0]], ("a b", "", "x"), ("", "d {e}", " "), n_items=3)
    assert [data.item(row) for row in range(3)] == [
        DescribedItem("<0>", "a b", ""),
        DescribedItem("<1>", "", "d {e}"),
        DescribedItem("<2>", "x", " "),
    ]
    assert alignment_data([[0]], n_items=1).item(0) == DescribedItem("<0>", "", "")


def test_everything_there():
    data = alignment_data(
        [[0, 1]], ("t",) * 6, ("",) * 6, intentions=(Intention(0, 1, "i"),), preferences=(Preference(0, 1, "p"),)
    )
    assert missing_data(data) == dict.fromkeys(TASKS, "")
    assert chosen_tasks("auto", data) == (TASKS, {})
    assert chosen_tasks(("per", "seq"), data) == (("seq", "per"), {})


@pytest.mark.parametrize("texts", [None, ("", " ", "", "", "", "")])
def test_auto_says_what_it_left_out_and_what_to_do(texts):
    chosen, left_out = chosen_tasks("auto", alignment_data([[0, 1]], texts, texts))
    assert chosen == ("seq",) and list(left_out) == ["mut", "asy", "ite", "per"]
    for family, remedy in (
        ("mut", "text_title_fields"),
        ("asy", "text_title_fields"),
        ("ite", "intention_source"),
        ("per", "intention_source"),
    ):
        assert remedy in left_out[family]


def test_texts_of_items_that_nobody_took_are_enough_for_mut_alone():
    missing = missing_data(alignment_data([[0, 1]], ("", "", "t", "", "", ""), ("",) * 6))
    assert missing["mut"] == "" and "no item in the training sequences has a title" in missing["asy"]


def test_a_title_before_the_target_is_enough_for_asy():
    assert missing_data(alignment_data([[0, 1]], ("t", "", "", "", "", ""), ("",) * 6))["asy"] == ""


def test_sequences_of_one_item():
    data = alignment_data([[0], [1]], ("t",) * 6, ("d",) * 6)
    missing = missing_data(data)
    assert [family for family in TASKS if missing[family]] == ["seq", "asy", "ite", "per"]
    assert "no user has two interactions" in missing["seq"] and "no user has two interactions" in missing["asy"]
    with pytest.raises(ValueError, match="'auto', but there is nothing to tune seq on: no user has two"):
        chosen_tasks("auto", data)
    assert chosen_tasks(("mut",), data) == (("mut",), {})


def test_all_that_an_explicit_list_lacks_is_named_at_once():
    with pytest.raises(ValueError, match=r"\['ite', 'mut', 'seq'\]: ite cannot be built.*leave ite out.*mut cannot"):
        chosen_tasks(("ite", "mut", "seq"), alignment_data([[0, 1]]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"titles": ("t",) * 5}, "5 titles for 6 items"),
        ({"descriptions": ("t",) * 7}, "7 descriptions for 6 items"),
        ({"lists": [[0, 6]]}, "hold item row 6, but there are 6 items"),
        ({"intentions": (Intention(0, 1, "x"), Intention(0, 1, " \n"))}, r"1 intentions or .* Intention\(user=0"),
        ({"preferences": (Preference(0, 1, ""),)}, r"blank, the first is Preference\(user=0"),
    ],
)
def test_bad_data(change, message):
    with pytest.raises(ValueError, match=message):
        alignment_data(**{"lists": [[0, 1]], **change})


@pytest.mark.parametrize("kind", ["intentions", "preferences"])
def test_held_out_texts_are_refused(kind):
    one = {"intentions": Intention(0, 2, "x"), "preferences": Preference(0, 3, "x")}[kind]
    with pytest.raises(RuntimeError, match="is not among the training interactions"):
        alignment_data([[0, 1]], **{kind: (one,)})


def test_memory_is_a_few_numbers_per_interaction():
    lists = [list(np.arange(200) % 6)] * 10
    targets = alignment_data(lists, ("t",) * 6, ("d",) * 6).text_targets()
    assert all(part.dtype == np.int64 and len(part) == 10 * 199 for part in targets.values())
