"""How histories are written."""

from recbole_lcrec.instructions.wording import history_text, titles_text


def test_histories_are_written_oldest_first():
    assert history_text(["<a_1><b_2>", "<a_3><b_4>"]) == "<a_1><b_2>, <a_3><b_4>"
    assert history_text(["<a_1>"]) == "<a_1>"


def test_titles_are_separated_by_semicolons():
    assert titles_text(["a, b", "c"]) == "a, b; c"
