"""Index tokens are one id each, wherever they stand."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from recbole_lcrec.instructions.templates import Instruction
from recbole_lcrec.llm.backbone import Backbone, train_tokenizer
from recbole_lcrec.llm.tokens import (
    add_index_tokens,
    item_token_ids,
    pad_prompts,
    tokenize_instructions,
    tokenize_prompts,
)
from tests.llm.conftest import ITEM_TOKENS


def test_ids_are_those_of_the_text(backbone: Backbone) -> None:
    ids = item_token_ids(backbone.tokenizer, ITEM_TOKENS)
    assert ids.shape == (12, 2)
    for row, tokens in zip(ids, ITEM_TOKENS, strict=True):
        text = f"after {''.join(tokens)}, {''.join(tokens)}."
        encoded = backbone.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert [i for i in encoded if i in set(ids.ravel().tolist())] == [*row, *row]
        assert backbone.tokenizer.decode(encoded) == text


def test_adding_again_adds_nothing(backbone: Backbone) -> None:
    size = len(backbone.tokenizer)
    assert add_index_tokens(backbone.tokenizer, ["<a_0>", "<b_1>"]) == 0
    assert len(backbone.tokenizer) == size


def test_a_missing_token_is_named(backbone: Backbone) -> None:
    with pytest.raises(ValueError, match="lacks 1 index tokens, '<z_9>'"):
        item_token_ids(backbone.tokenizer, [("<a_0>", "<z_9>")])


def test_a_tokenizer_that_splits_an_index_token_is_refused() -> None:
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(["a b"], trainers.WordLevelTrainer(special_tokens=["<unk>"]))
    tokenizer.model = models.WordLevel({"<unk>": 0, "a": 1, "<a_0>": 2}, unk_token="<unk>")
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")
    with pytest.raises(ValueError, match="does not keep the index token '<a_0>' whole"):
        item_token_ids(wrapped, [("<a_0>",)])


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


def test_prompts_are_padded_on_the_left() -> None:
    ids, mask = pad_prompts([[5, 6, 7], [8]], pad_id=0)
    assert ids.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_a_tokenizer_from_scratch_writes_any_text() -> None:
    tokenizer = train_tokenizer(["films and years"], 300)
    text = "Ünïcode, 東京 and \U0001f600 too\n"
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
