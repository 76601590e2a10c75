"""The tasks by hand."""

from types import MappingProxyType

import pytest

from recbole_lcrec.instructions import tasks
from recbole_lcrec.instructions.tasks import (
    DescribedItem,
    history_text,
    sequential_item_prediction,
    sequential_prompt,
    stream,
    stream_prompt,
    titles_text,
)
from recbole_lcrec.instructions.templates import Instruction, Template, Templates

TEMPLATE = Template("After {history}?", "Take {item}.")
TEMPLATES = Templates("[{instruction}] ", MappingProxyType({"seq": (TEMPLATE,)}))


def test_history_is_written_oldest_first():
    assert history_text(["<a_1><b_2>", "<a_3><b_4>"]) == "<a_1><b_2>, <a_3><b_4>"
    assert history_text(["<a_1>"]) == "<a_1>"


def test_sequential_item_prediction():
    made = sequential_item_prediction(TEMPLATES, TEMPLATE, ["<a_1>", "<a_2>"], "<a_3>")
    assert made == Instruction("[After <a_1>, <a_2>?] ", "Take <a_3>.", closed=True)


def test_training_and_ranking_read_the_same_prompt():
    history = ["<a_1>", "<a_2>", "<a_1>"]
    made = sequential_item_prediction(TEMPLATES, TEMPLATE, history, "<a_3>")
    assert sequential_prompt(TEMPLATES, TEMPLATE, history) == made.prompt


def test_stream_has_no_end():
    assert stream(["<a_1>", "<a_2>", "<a_3>"]) == Instruction("<a_1>", "<a_2><a_3>", closed=False)
    assert stream_prompt(["<a_1>", "<a_2>"]) == "<a_1><a_2>"


SHOE = DescribedItem("<a_1>", "Shoe {red}", "It {walks}, {{0}}.")
PAST = ["<a_7>", "<a_8>"]


@pytest.mark.parametrize(
    ("task", "shown", "asked", "data", "expected"),
    [
        ("item_of_title", "title", "item", [SHOE], ("Shoe {red}", "<a_1>")),
        ("item_of_description", "description", "item", [SHOE], ("It {walks}, {{0}}.", "<a_1>")),
        ("item_of_text", "title description", "item", [SHOE], ("Shoe {red}/It {walks}, {{0}}.", "<a_1>")),
        ("text_of_item", "item", "title description", [SHOE], ("<a_1>", "Shoe {red}/It {walks}, {{0}}.")),
        ("title_of_item", "item", "title", [SHOE], ("<a_1>", "Shoe {red}")),
        ("title_after_history", "history", "title", [PAST, SHOE], ("<a_7>, <a_8>", "Shoe {red}")),
        ("description_after_history", "history", "description", [PAST, SHOE], ("<a_7>, <a_8>", "It {walks}, {{0}}.")),
        ("item_after_titles", "titles", "item", [["a, {b}", "c"], "<a_1>"], ("a, {b}; c", "<a_1>")),
        ("item_for_intention", "intention", "item", ["I want {x}", "<a_1>"], ("I want {x}", "<a_1>")),
        (
            "item_for_intention_and_history",
            "intention history",
            "item",
            ["I want {history}", PAST, "<a_1>"],
            ("I want {history}/<a_7>, <a_8>", "<a_1>"),
        ),
        ("preference_of_history", "history", "preference", [PAST, "{} and }{"], ("<a_7>, <a_8>", "{} and }{")),
    ],
)
def test_every_other_task_shows_and_asks_what_its_name_says(task, shown, asked, data, expected):
    """Braces in a text are text."""
    template = Template(*("/".join(f"{{{name}}}" for name in part.split()) for part in (shown, asked)))
    prompt, response = expected
    assert getattr(tasks, task)(TEMPLATES, template, *data) == Instruction(f"[{prompt}] ", response, closed=True)


def test_titles_are_told_apart_by_what_they_seldom_hold():
    assert titles_text(["a, b", "c"]) == "a, b; c"
