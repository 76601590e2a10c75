"""Checks of the data that instructions are made from."""

import pytest

from recbole_lcrec.instructions.alignment_data import DescribedItem
from recbole_lcrec.instructions.user_texts import Intention, Preference
from tests.instructions.plain_world import alignment_data


def test_items_with_missing_texts():
    data = alignment_data([[0]], ("a b", "", "x"), ("", "d {e}", " "), n_items=3)
    assert [data.item(row) for row in range(3)] == [
        DescribedItem("<0>", "a b", ""),
        DescribedItem("<1>", "", "d {e}"),
        DescribedItem("<2>", "x", " "),
    ]
    assert alignment_data([[0]], n_items=1).item(0) == DescribedItem("<0>", "", "")


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
def test_bad_data_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        alignment_data(**{"lists": [[0, 1]], **change})


@pytest.mark.parametrize("kind", ["intentions", "preferences"])
def test_texts_of_held_out_interactions_are_refused(kind):
    one = {"intentions": Intention(0, 2, "x"), "preferences": Preference(0, 3, "x")}[kind]
    with pytest.raises(RuntimeError, match="is not among the training interactions"):
        alignment_data([[0, 1]], **{kind: (one,)})
