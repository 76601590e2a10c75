"""Index tokens have one id each, anywhere in a text."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from recbole_lcrec.instructions.templates import Instruction
from recbole_lcrec.llm.backbone import Backbone
from recbole_lcrec.llm.scratch import train_tokenizer
from recbole_lcrec.llm.tokens import (
    add_index_tokens,
    item_token_ids,
    tokenize_instructions,
    tokenize_prompts,
)
from tests.llm.conftest import ITEM_TOKENS


def test_item_ids_equal_those_in_a_text(backbone: Backbone) -> None:
    ids = item_token_ids(backbone.tokenizer, ITEM_TOKENS)
    assert ids.shape == (12, 2)
    for row, tokens in zip(ids, ITEM_TOKENS, strict=True):
        text = f"after {''.join(tokens)}, {''.join(tokens)}."
        encoded = backbone.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert [i for i in encoded if i in set(ids.ravel().tolist())] == [*row, *row]
        assert backbone.tokenizer.decode(encoded) == text


def test_adding_known_tokens_adds_nothing(backbone: Backbone) -> None:
    size = len(backbone.tokenizer)
    assert add_index_tokens(backbone.tokenizer, ["<a_0>", "<b_1>"]) == []
    assert len(backbone.tokenizer) == size


def test_missing_token_is_named(backbone: Backbone) -> None:
    with pytest.raises(ValueError, match="lacks 1 index tokens, such as '<z_9>'"):
        item_token_ids(backbone.tokenizer, [("<a_0>", "<z_9>")])


def test_tokenizer_that_splits_index_tokens_is_rejected() -> None:
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(["a b"], trainers.WordLevelTrainer(special_tokens=["<unk>"]))
    tokenizer.model = models.WordLevel({"<unk>": 0, "a": 1, "<a_0>": 2}, unk_token="<unk>")
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")
    with pytest.raises(ValueError, match="splits the index token '<a_0>' inside a text"):
        item_token_ids(wrapped, [("<a_0>",)])


def sentencepiece_like(style: str) -> PreTrainedTokenizerFast:
    """A tokenizer that marks blanks, as those of LLaMA, Mistral and T5 do."""
    alphabet = ["\u2581", *"abcdefghijklmnopqrstuvwxyz.,:<>_0123456789"]
    vocabulary = {token: place for place, token in enumerate(["<unk>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    if style == "legacy":  # a mark before every piece of text, also after an added token
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    elif style == "lowercase":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(" ", "\u2581")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=style)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


@pytest.mark.parametrize("style", ["legacy", "lowercase", "always", "first", "never"])
def test_blank_marks_are_not_part_of_an_index(style: str) -> None:
    tokenizer = sentencepiece_like(style)
    items = [("<a_0>", "<B_1>"), ("<a_1>", "<B_1>")]
    add_index_tokens(tokenizer, ["<a_0>", "<a_1>", "<B_1>"])
    size = len(tokenizer)
    ids = item_token_ids(tokenizer, items)
    assert ids.tolist() == [[size - 3, size - 1], [size - 2, size - 1]]
    for text in ("after <a_0><B_1>, <a_1><B_1> comes", "<a_0><B_1>, <a_1><B_1>", "x<a_0><B_1>:<a_1><B_1>"):
        encoded = tokenizer(text, add_special_tokens=False)["input_ids"]
        places = [place for place, token in enumerate(encoded) if token >= size - 3]
        assert [encoded[place] for place in places] == ids.ravel().tolist()
        assert places[1] == places[0] + 1 and places[3] == places[2] + 1  # adjacent
    (row,) = tokenize_instructions(tokenizer, [Instruction("after <a_0><B_1>", "<a_1><B_1>", closed=False)], 64)
    assert row.response == ids[1].tolist() and row.prompt[-2:] == ids[0].tolist()


class SpacedTokenizer(PreTrainedTokenizerFast):
    """Inserts a blank between adjacent tokens, as some slow tokenizers do with added ones."""

    def __call__(self, text: Any, **options: Any) -> Any:
        spaced = text.replace("><", "> <") if isinstance(text, str) else [each.replace("><", "> <") for each in text]
        return super().__call__(spaced, **options)


def test_tokenizer_that_inserts_blanks_is_rejected() -> None:
    tokenizer = SpacedTokenizer(tokenizer_object=sentencepiece_like("never").backend_tokenizer, unk_token="<unk>")
    add_index_tokens(tokenizer, ["<a_0>", "<b_0>"])
    with pytest.raises(ValueError, match=r"inserts \[1\] between two index tokens '<a_0>'"):
        item_token_ids(tokenizer, [("<a_0>", "<b_0>")])


def test_tokenizer_that_splits_a_known_token_is_rejected() -> None:
    backend = sentencepiece_like("always").backend_tokenizer
    vocabulary = {**backend.get_vocab(), "<a_0>": backend.get_vocab_size()}  # known, but no merge produces it
    backend.model = models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    assert add_index_tokens(tokenizer, ["<a_0>"]) == []
    with pytest.raises(ValueError, match="splits the index token '<a_0>' inside a text"):
        item_token_ids(tokenizer, [("<a_0>",)])


def test_prompts_start_with_bos_and_never_end_with_eos(backbone: Backbone) -> None:
    tokenizer = backbone.tokenizer
    (row,) = tokenize_prompts(tokenizer, ["a lamp"])
    assert row[0] == tokenizer.bos_token_id
    assert tokenizer.eos_token_id not in row


def test_instructions_keep_the_whole_response(backbone: Backbone) -> None:
    tokenizer = backbone.tokenizer
    (row,) = tokenize_instructions(tokenizer, [Instruction("after <a_0><b_0>", "<a_1><b_2>")], max_length=64)
    assert tokenizer.decode(row.response) == "<a_1><b_2></s>"
    (open_row,) = tokenize_instructions(tokenizer, [Instruction("after", "<a_1><b_2>", closed=False)], max_length=64)
    assert tokenizer.decode(open_row.response) == "<a_1><b_2>"
    with pytest.raises(ValueError, match=r"more than tuning_max_length = 5"):
        tokenize_instructions(tokenizer, [Instruction("after <a_0><b_0>", "<a_1><b_2>")], max_length=5)


def test_scratch_tokenizer_encodes_any_text() -> None:
    tokenizer = train_tokenizer(["films and years"], 300)
    text = "Ünïcode, 東京 and \U0001f600 too\n"
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
