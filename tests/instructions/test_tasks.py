"""The tasks by hand."""

from types import MappingProxyType

from recbole_lcrec.instructions.tasks import (
    history_text,
    sequential_item_prediction,
    sequential_prompt,
    stream,
    stream_prompt,
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
