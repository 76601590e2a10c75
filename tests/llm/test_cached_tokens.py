"""Cached pieces give the ids of whole texts, and caches are bounded."""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import ByT5Tokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.tokenization_utils_base import AddedToken

from recbole_lcrec.indexing.item_index import MAX_LEVELS, index_token
from recbole_lcrec.instructions.templates import Instruction
from recbole_lcrec.llm import cached_tokens
from recbole_lcrec.llm.cached_tokens import CachedTokenizer, WholeTextTokenizer, instruction_tokenizer
from recbole_lcrec.llm.scratch import train_tokenizer
from recbole_lcrec.llm.tokens import add_index_tokens, tokenize_instructions, tokenize_prompts
from tests.llm.test_tokens import SpacedTokenizer, sentencepiece_like

WORDS = ["### Request\nWhat comes after these items? A hammer, a lamp: 12 of them.", "the Lamp, the hammer and a\tdog"]
INDEX = ["<a_0>", "<a_1>", "<a_12>", "<b_0>", "<b_7>"]
SPECIAL = ["<unk>", "<s>", "</s>"]


def unigram(scheme: str, single: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    trainer = trainers.UnigramTrainer(vocab_size=80, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(WORDS, trainer)
    return wrapped(tokenizer, single)


def byte_level(prefix_blank: bool, single: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_blank)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(WORDS, trainer)
    return wrapped(tokenizer, single)


def word_piece(single: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=90, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(WORDS, trainer)
    return wrapped(tokenizer, single)


def word_level() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.train_from_iterator(WORDS, trainers.WordLevelTrainer(special_tokens=SPECIAL, show_progress=False))
    return wrapped(tokenizer, "$A")


def added_as_words(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    tokenizer.add_tokens(INDEX)  # which transformers marks as normalized
    return tokenizer


def wrapped(tokenizer: Tokenizer, single: str) -> PreTrainedTokenizerFast:
    ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>") if token in single.split()]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=ids)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


KINDS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "scratch": lambda: train_tokenizer(WORDS, 300),
    "scratch, index tokens added as plain words": lambda: added_as_words(train_tokenizer(WORDS, 300)),
    "byte-level": lambda: byte_level(False, "$A"),
    "byte-level, blank first": lambda: byte_level(True, "<s> $A </s>"),
    "unigram, always a mark": lambda: unigram("always", "$A </s>"),
    "unigram, mark at the beginning": lambda: unigram("first", "<s> $A"),
    "unigram, no mark": lambda: unigram("never", "$A"),
    "a mark by the normalizer": lambda: sentencepiece_like("legacy"),
    "lower case": lambda: sentencepiece_like("lowercase"),
    "word piece": lambda: word_piece("<s> $A </s>"),
    "word piece, end given twice": lambda: word_piece("<s> $A </s> </s>"),
    "word level": word_level,
}


def with_index(tokenizer: PreTrainedTokenizerBase) -> Any:
    add_index_tokens(tokenizer, INDEX)
    return tokenizer


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, tuple[PreTrainedTokenizerFast, CachedTokenizer | WholeTextTokenizer]]:
    made = {name: with_index(make()) for name, make in KINDS.items()}
    return {name: (tokenizer, instruction_tokenizer(tokenizer)) for name, tokenizer in made.items()}


PIECES = st.one_of(
    st.sampled_from(
        [*INDEX, "".join(INDEX), "<a_1><b_7>", "<z_9>", "<a_01>", "<a_1", "<", ">", "</s>", "<s>", "<unk>"]
    ),
    st.sampled_from(["", " ", "  ", ", ", ",", "\n", "\t", "7", " 12", "The lamp", "hammer ", "\u2581", "\u0338", "#"]),
    st.text(max_size=6),
)
TEXTS = st.lists(PIECES, max_size=12).map("".join)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.lists(st.builds(Instruction, TEXTS, TEXTS, st.booleans()), min_size=1, max_size=4))
def test_cached_ids_equal_those_of_whole_texts(kind: str, tokenizers: Any, rows: list[Instruction]) -> None:
    tokenizer, cached = tokenizers[kind]
    assert isinstance(cached, CachedTokenizer)
    expected = tokenize_instructions(tokenizer, rows, 10_000)
    assert cached.instructions(rows, 10_000) == expected
    assert cached.instructions(rows, 10_000) == expected  # now with all pieces cached
    assert cached.prompts([each.prompt for each in rows]) == tokenize_prompts(tokenizer, [each.prompt for each in rows])


def test_ids_by_hand() -> None:
    tokenizer = with_index(sentencepiece_like("always"))  # letters are tokens, and a mark begins every piece of text
    cached = instruction_tokenizer(tokenizer)
    ids = tokenizer.get_vocab()
    (row,) = cached.instructions([Instruction("ab<a_12><b_0>, <a_0>", "<a_1>", closed=False)], 20)
    assert row.prompt == [
        ids[each] for each in ("\u2581", "a", "b", "<a_12>", "<b_0>", "\u2581", ",", "\u2581", "<a_0>")
    ]
    assert row.response == [ids["<a_1>"]]
    assert cached.prompts([]) == [] and cached.instructions([], 20) == []


def test_too_long_instructions_give_the_same_error(tokenizers: Any) -> None:
    tokenizer, cached = tokenizers["scratch"]
    rows = [Instruction("x", "y"), Instruction("after <a_0><b_0>", "<a_1><b_7>")]
    with pytest.raises(ValueError, match="more than tuning_max_length = 5") as expected:
        tokenize_instructions(tokenizer, rows, 5)
    with pytest.raises(ValueError, match="more than tuning_max_length = 5") as found:
        cached.instructions(rows, 5)
    assert str(found.value) == str(expected.value)


def test_every_index_token_is_recognised() -> None:
    tokens = [index_token(level, code) for level in (0, MAX_LEVELS - 1) for code in (0, 10, 9_999_999)]
    tokenizer = train_tokenizer(WORDS, 300)
    add_index_tokens(tokenizer, tokens)
    seen = listened(tokenizer)
    cached = instruction_tokenizer(tokenizer)
    seen.clear()
    assert cached.prompts(["".join(tokens)])[0][1:] == tokenizer.convert_tokens_to_ids(tokens)
    assert seen == []


def listened(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """The texts that the tokenizer gets from now on."""
    seen: list[str] = []

    class Listening(type(tokenizer)):  # type: ignore[misc]
        def __call__(self, text: Any, **options: Any) -> Any:
            seen.extend(text)
            return super().__call__(text, **options)

    tokenizer.__class__ = Listening
    return seen


def test_only_short_pieces_are_cached() -> None:
    tokenizer = with_index(train_tokenizer(WORDS, 300))
    seen = listened(tokenizer)
    cached = instruction_tokenizer(tokenizer)
    review = "a long review " * 30
    seen.clear()
    cached.prompts(["After <a_0><b_0>, <a_1><b_7>; what?"] * 2)
    assert len(seen) == 2  # the words at both ends; the comma was cached by the trial
    cached.prompts(["After <a_12><b_0>, <b_7>, <a_0>, <a_1>; what?"])
    assert len(seen) == 2
    seen.clear()
    cached.prompts([f"{review}<a_0>", f"{review}<a_1>", "Title of a lamp"])
    assert len(seen) == 2  # the words before <a_0> and <a_1> are the same
    cached.prompts([f"{review}<a_12>", "Title of a lamp"])
    assert len(seen) == 4  # neither is cached
    cached.prompts(["Title of a lamp<a_0>"])
    assert len(seen) == 5  # a text without index tokens is not cached as a first piece


def test_caches_are_bounded_and_correct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_tokens, "_CACHED_RUNS", 3)
    monkeypatch.setattr(cached_tokens, "_CACHED_WORDS", 4)
    tokenizer = with_index(train_tokenizer(WORDS, 300))
    cached = instruction_tokenizer(tokenizer)
    assert isinstance(cached, CachedTokenizer)
    texts = [f"word {n}{INDEX[n % 5]}{INDEX[n % 3]} or {n}, {INDEX[n % 4]} end {n}" for n in range(50)]
    for text in texts:
        assert cached.prompts([text]) == tokenize_prompts(tokenizer, [text])
    assert cached.prompts(texts) == tokenize_prompts(tokenizer, texts)  # more new pieces than the cache holds
    kept = {"_runs": 3, "_first": 4, "_between": 4, "_last": 4}
    for name, limit in kept.items():
        recent = getattr(cached, name)
        assert len(recent.new) <= limit and len(recent.old) <= limit


def test_recently_used_pieces_stay_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_tokens, "_CACHED_WORDS", 4)
    tokenizer = with_index(train_tokenizer(WORDS, 300))
    cached = instruction_tokenizer(tokenizer)
    cached.prompts(["always<a_0>"])
    seen = listened(tokenizer)
    for n in range(30):
        cached.prompts(["always<a_0>", f"once {n}<a_0>"])
    assert seen.count("always<a_0>") == 0 and len(seen) == 30


def test_pickled_copies_give_the_same_ids() -> None:
    tokenizer = with_index(train_tokenizer(WORDS, 300))
    cached = instruction_tokenizer(tokenizer)
    texts = ["After <a_0><b_0>, <a_1><b_7>; what?", "<a_12>"]
    for _ in range(2):  # without and with these pieces in the cache
        copy = pickle.loads(pickle.dumps(cached))
        assert isinstance(copy, CachedTokenizer)
        assert copy.prompts(texts) == cached.prompts(texts) == tokenize_prompts(tokenizer, texts)


def stripping(**options: bool) -> PreTrainedTokenizerFast:
    tokenizer = train_tokenizer(WORDS, 300)
    tokenizer.add_tokens([AddedToken("<a_0>", normalized=False, **options)])
    return tokenizer


def normalized() -> PreTrainedTokenizerFast:
    tokenizer = sentencepiece_like("legacy")
    tokenizer.add_tokens([AddedToken("<a_0>", normalized=True)])
    return tokenizer


def beside_another(token: str) -> PreTrainedTokenizerFast:
    tokenizer = train_tokenizer(WORDS, 300)
    tokenizer.add_tokens([AddedToken(token, normalized=False)])
    return tokenizer


def at_random() -> PreTrainedTokenizerFast:
    tokenizer = train_tokenizer(WORDS, 300)
    tokenizer.backend_tokenizer.model.dropout = 0.5
    return tokenizer


def spaced() -> PreTrainedTokenizerFast:
    return SpacedTokenizer(tokenizer_object=sentencepiece_like("never").backend_tokenizer, unk_token="<unk>")


UNSUITABLE: dict[str, tuple[Callable[[], Any], str]] = {
    "strips the blank before": (lambda: stripping(lstrip=True), "matches '<a_0>' depending on the text around it"),
    "strips the blank after": (lambda: stripping(rstrip=True), "matches '<a_0>' depending on the text around it"),
    "single words": (lambda: stripping(single_word=True), "matches '<a_0>' depending on the text around it"),
    "in the normalized text": (normalized, "matches '<a_0>' depending on the text around it"),
    "a token that matches a letter": (lambda: beside_another("x<a"), r"has the token 'x<a' \(\d+\), which may match"),
    "a token that contains one": (lambda: beside_another("<a_0>!"), r"has the token '<a_0>!' \(\d+\), which may match"),
    "at random": (at_random, "splits texts at random"),
    "changes texts before": (spaced, "but its pieces as"),
    "slow": (ByT5Tokenizer, "is a slow one"),
}


@pytest.mark.parametrize("kind", UNSUITABLE)
def test_unsuitable_tokenizers_get_whole_texts(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    make, reason = UNSUITABLE[kind]
    tokenizer = with_index(make())
    with caplog.at_level(logging.WARNING):
        chosen = instruction_tokenizer(tokenizer)
        assert isinstance(chosen, WholeTextTokenizer)
        if kind != "at random":
            rows = [Instruction("lamp <a_0> <b_0>, x<a_1>!", "<a_1> <b_7>"), Instruction("<a_0>", "<a_0>!", False)]
            assert chosen.instructions(rows, 100) == tokenize_instructions(tokenizer, rows, 100)
            assert chosen.prompts(["lamp <a_0>"]) == tokenize_prompts(tokenizer, ["lamp <a_0>"])
    warnings = [record for record in caplog.records if "tokenized as whole texts" in record.message]
    assert len(warnings) == 1
    assert re.search(reason, warnings[0].message)


def test_tokenizer_without_index_tokens_gets_whole_texts(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert isinstance(instruction_tokenizer(train_tokenizer(WORDS, 300)), WholeTextTokenizer)
    assert "has no index tokens" in caplog.text


def test_trial_finds_tokens_that_strip_blanks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_tokens, "_reason_against_pieces", lambda tokenizer: None)
    tokenizer = with_index(stripping(lstrip=True))
    assert isinstance(instruction_tokenizer(tokenizer), WholeTextTokenizer)
