"""Counting and cutting texts, compared with the tokenizer itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from recbole_lcrec.llm.backbone import Backbone
from recbole_lcrec.llm.scratch import train_tokenizer
from recbole_lcrec.llm.text_lengths import TextLengths

TOKENIZER = train_tokenizer(["A hammer for every nail, a lamp for every night", "hammers, hammers, hammers"], 330)
WORDS = st.lists(st.text("hamernilp,.12\u00e9\u2122\u9524\U0001f528", min_size=1, max_size=9), max_size=12)


def tokens(text: str) -> list[int]:
    return TOKENIZER(text, add_special_tokens=False)["input_ids"]


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(WORDS.map(" ".join), max_size=4), st.integers(1, 12))
def test_cut_texts_are_prefixes_that_fit_and_end_at_a_word(texts: list[str], most: int) -> None:
    lengths = TextLengths(TOKENIZER)
    assert lengths.count(texts).tolist() == [len(tokens(text)) for text in texts]
    for text, cut in zip(texts, lengths.shortened(texts, most), strict=True):
        assert text.startswith(cut)
        assert len(tokens(cut)) <= most
        if len(tokens(text)) <= most:
            assert cut == text
        elif " " in cut:  # only a first word that is too long is cut inside
            assert text[len(cut)] == " "


def test_cut_texts_keep_as_many_words_as_fit() -> None:
    text = "A hammer for every nail, a lamp for every night"
    words = text.split()
    for most in range(1, 20):
        (cut,) = TextLengths(TOKENIZER).shortened([text], most)
        fitting = [" ".join(words[:n]) for n in range(1, len(words) + 1) if len(tokens(" ".join(words[:n]))) <= most]
        if fitting and len(tokens(words[0])) <= most:
            assert cut == fitting[-1]


@pytest.mark.parametrize("text", ["\U0001f528", "ok \U0001f528", "\u9524\u5b50\u5f88\u597d", "a\u2122"])
def test_characters_of_several_tokens_are_not_split(text: str) -> None:
    for most in range(1, len(tokens(text)) + 1):
        (cut,) = TextLengths(TOKENIZER).shortened([text], most)
        assert text.startswith(cut) and len(tokens(cut)) <= most


def test_start_tokens_are_not_counted() -> None:
    assert TOKENIZER("nail")["input_ids"][0] == TOKENIZER.bos_token_id
    assert TextLengths(TOKENIZER).count(["nail"]).tolist() == [len(TOKENIZER("nail")["input_ids"]) - 1]


def test_more_texts_than_one_chunk() -> None:
    texts = ["nail " * (n % 7 + 1) for n in range(2_500)]
    expected = [len(tokens(texts[n])) for n in range(7)]
    assert TextLengths(TOKENIZER).count(texts).tolist() == [expected[n % 7] for n in range(2_500)]
    assert len(TextLengths(TOKENIZER).shortened(texts, 3)) == 2_500


def test_index_tokens_count_as_one_token_each(backbone: Backbone) -> None:
    assert TextLengths(backbone.tokenizer).count(["<a_0><b_1>", "<a_3>", ""]).tolist() == [2, 1, 0]


def test_no_texts() -> None:
    assert TextLengths(TOKENIZER).count([]).shape == (0,)
    assert TextLengths(TOKENIZER).shortened([], 3) == []


def test_slow_tokenizer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PreTrainedTokenizerFast, "is_fast", property(lambda self: False))
    slow: Any = train_tokenizer(["a nail"], 300)
    with pytest.raises(ValueError, match="of base_model is a slow tokenizer"):
        TextLengths(slow).shortened(["a nail and a lamp"], 2)
