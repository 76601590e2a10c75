"""The wording of the questions, and what counts as an answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from recbole_lcrec.config.resources import properties_dir
from recbole_lcrec.instructions.intentions.questions import UnusableAnswer, accept_answer, load_questions


@pytest.mark.parametrize(
    ("text", "whole", "line"),
    [
        ("  The buyer wants\n a lamp. ", True, "The buyer wants a lamp."),
        ('"The buyer wants a lamp."', True, "The buyer wants a lamp."),
        ("<think>Hm.\nA lamp?</think>\nThe buyer wants light.", True, "The buyer wants light."),
        ("Hm.</think>The buyer wants light.", True, "The buyer wants light."),
        ("The buyer wants light. It should be war", False, "The buyer wants light."),
        ("The buyer wants a 2.5 m rope. Als", False, "The buyer wants a 2.5 m rope."),
        ("The buyer wants &quot;light&quot;", True, 'The buyer wants "light"'),
        ("**\u201cThe buyer wants light.\u201d**", True, "The buyer wants light."),
    ],
)
def test_answers_become_one_clean_line(text: str, whole: bool, line: str) -> None:
    assert accept_answer(text, whole) == line


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("", True),
        (" \n", True),
        ("...", True),
        ("<think>so long", False),
        ("<html><p>Bad gateway</p></html>", True),
        ('{"intention": "light"}', True),
        ('[{"intention": "light"}]', True),
        ("```\nlight\n```", True),
        ("I'm sorry, but I cannot help.", True),
        ("I\u2019m unable to say.", True),
        ("As an AI language model, I have no access.", True),
        ("There is not enough information to tell.", True),
        ("The buyer wants a", False),
        ("The buyer wants " + "very " * 400 + "much.", True),
    ],
)
def test_unusable_answers_are_rejected(text: str, whole: bool) -> None:
    with pytest.raises(UnusableAnswer):
        accept_answer(text, whole)


def test_questions_keep_braces_of_reviews_and_stay_short() -> None:
    questions = load_questions()
    messages = questions.about_intention("A {lamp}", "", "word " * 5000)
    assert messages is not None and "A {lamp}" in messages[1]["content"]
    assert messages[1]["content"].count("word") == 300
    assert questions.about_intention("", "", "") is None and questions.about_preference([("", "")]) is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{facts}", "them", "must use the placeholders"),
        ("{facts}", "{facts", "unbalanced braces"),
        ("system:", "sistem:", "exactly the texts"),
        ('"- {title}"', "7", "must be a text"),
    ],
)
def test_a_damaged_question_file_is_an_error(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (properties_dir() / "intentions/questions.yaml").read_text(encoding="utf-8")
    (tmp_path / "questions.yaml").write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_questions(tmp_path / "questions.yaml")
