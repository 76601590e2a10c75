"""The questions that a language model is asked about a user (paper III-C3).

Its answers are checked here, too.

The wording is in ``properties/intentions/questions.yaml``.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from recbole_lcrec.config.resources import properties_dir
from recbole_lcrec.config.values import read_yaml
from recbole_lcrec.data.item_text import clean_text

__all__ = ["HISTORY_ITEMS", "Messages", "Questions", "UnusableAnswer", "accept_answer", "load_questions"]

Messages = list[dict[str, str]]
"""A chat: ``{"role": ..., "content": ...}`` for each message."""

HISTORY_ITEMS = 20
"""Number of a user's newest items in the question about the preference: the paper's longest history (IV-A4)."""

MAX_CHARACTERS = 1500
"""Maximum length of an answer; the questions ask for one or two sentences."""

_TITLE_WORDS, _DESCRIPTION_WORDS, _REVIEW_WORDS, _HISTORY_REVIEW_WORDS = 30, 150, 300, 60
_PLACEHOLDERS = {
    "system": set(),
    "intention": {"facts"},
    "preference": {"facts"},
    "intention_title": {"title"},
    "intention_description": {"description"},
    "intention_review": {"review"},
    "preference_title": {"title"},
    "preference_review": {"review"},
}
_THOUGHT = re.compile(r".*</think(?:ing)?>", re.IGNORECASE | re.DOTALL)  # some servers drop the opening tag
_NO_PROSE = re.compile(r"<(?:!doctype|html|think)|```|\{|\[\s*[\[{\"]", re.IGNORECASE)
_QUOTES = "\"'`*\u201c\u201d\u2018\u2019"  # and Markdown's emphasis
_WHOLE_SENTENCES = re.compile(r".*[.!?](?=\s|$)")
_REFUSAL = re.compile(
    r"(?:sorry\b|i apologi[sz]e|unfortunately,? (?:i|we|there)\b"
    r"|(?:i|we)(?: am|'m| are|'re) (?:\w+ )?(?:sorry|unable|afraid|not able)"
    r"|(?:i|we) (?:cannot|can not|can't|could not|couldn't|won't|will not|do not have|don't have)\b"
    r"|as an? (?:ai\b|artificial|language model|assistant)"
    r"|(?:there is )?(?:no|not enough|insufficient) (?:information|data|details|context)\b)",
    re.IGNORECASE,
)


class UnusableAnswer(ValueError):
    """An answer without usable text; the message says why."""


@dataclass(frozen=True)
class Questions:
    """The wording of both questions; see ``properties/intentions/questions.yaml`` for each text."""

    system: str
    intention: str
    preference: str
    intention_title: str
    intention_description: str
    intention_review: str
    preference_title: str
    preference_review: str

    def about_intention(self, title: str, description: str, review: str) -> Messages | None:
        """Return the question what the buyer of an item was looking for; None if all three texts are empty."""
        facts = [
            self.intention_title.format(title=_cut(title, _TITLE_WORDS)) if title else "",
            self.intention_description.format(description=_cut(description, _DESCRIPTION_WORDS)) if description else "",
            self.intention_review.format(review=_cut(review, _REVIEW_WORDS)) if review else "",
        ]
        return self._chat(self.intention, facts)

    def about_preference(self, purchases: Iterable[tuple[str, str]]) -> Messages | None:
        """Return the question what a user likes, from (title, review) of items, oldest first; None if all are empty."""
        facts = []
        for title, review in purchases:
            if title:
                facts.append(self.preference_title.format(title=_cut(title, _TITLE_WORDS)))
            if review:
                facts.append(self.preference_review.format(review=_cut(review, _HISTORY_REVIEW_WORDS)))
        return self._chat(self.preference, facts)

    def _chat(self, question: str, facts: list[str]) -> Messages | None:
        lines = "\n".join(filter(None, facts))
        if not lines:
            return None
        return [
            {"role": "system", "content": self.system},
            {"role": "user", "content": question.format(facts=lines)},
        ]


def load_questions(path: Path | None = None) -> Questions:
    """Read the wording and check its keys and placeholders.

    Args:
        path: the file; None: the one of this package.

    Raises:
        ValueError: a text is missing, unknown or empty, or its placeholders are wrong.
    """
    path = path or properties_dir() / "intentions" / "questions.yaml"
    content = read_yaml(path)
    names = {field.name for field in fields(Questions)}
    if set(content) != names:
        listed = ", ".join(sorted(names ^ set(content)))
        raise ValueError(f"{path} must hold exactly the texts {', '.join(sorted(names))}; unknown or missing: {listed}")
    for name, text in content.items():
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{path}: {name} must be a text, but is {text!r}")
        try:
            found = {field for _, field, _, _ in string.Formatter().parse(text) if field is not None}
        except ValueError as err:
            raise ValueError(f"{path}: {name} has unbalanced braces ({err})") from err
        if found != _PLACEHOLDERS[name]:
            raise ValueError(
                f"{path}: {name} must use the placeholders {sorted(_PLACEHOLDERS[name])}, but uses {sorted(found)}"
            )
    return Questions(**content)


def accept_answer(text: str, complete: bool) -> str:
    """Clean an answer and return it as one line.

    The thoughts of a reasoning model (``<think>``) are removed. Of an answer that was cut at its token limit only whole
    sentences are kept.

    Args:
        text: what the model wrote.
        complete: whether the model ended the answer itself.

    Raises:
        UnusableAnswer: The answer is empty, a refusal, a web page, JSON or code, or far too long.
    """
    text = _THOUGHT.sub(" ", text).strip()
    if not text:
        raise UnusableAnswer("the answer is empty" + ("" if complete else " at intention_llm_max_tokens"))
    if _NO_PROSE.match(text):
        raise UnusableAnswer(f"the answer is not prose: {text[:40]!r}")
    line = clean_text(text)
    while len(line) > 1 and line[0] in _QUOTES and line[-1] in _QUOTES:
        line = line[1:-1].strip()
    if not complete:
        match = _WHOLE_SENTENCES.match(line)
        if not match:
            raise UnusableAnswer(f"the answer has no whole sentence within intention_llm_max_tokens: {line[:40]!r}")
        line = match[0]
    if len(line) > MAX_CHARACTERS:
        raise UnusableAnswer(f"the answer has {len(line)} characters, more than {MAX_CHARACTERS}")
    if not any(character.isalpha() for character in line):
        raise UnusableAnswer(f"the answer has no words: {line[:40]!r}")
    if _REFUSAL.match(line.replace("\u2019", "'")):
        raise UnusableAnswer(f"the model declined: {line[:60]!r}")
    return line


def _cut(text: str, words: int) -> str:
    return " ".join(text.split()[:words])
