"""Loading, initialising and refusing language models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
)

from recbole_lcrec.llm.backbone import Backbone, check_base_model, load_backbone, load_saved
from recbole_lcrec.llm.scratch import train_tokenizer
from recbole_lcrec.settings import BackboneSettings, ScratchSettings

SIZES: dict[str, Any] = {
    "preset": None,
    "vocab_size": 300,
    "hidden_size": 16,
    "intermediate_size": 32,
    "layers": 2,
    "heads": 2,
    "dropout": 0.5,
    "tie_embeddings": True,
}
TOKENS = ["<a_0>", "<a_1>", "<b_0>", "<b_1>"]
TEXTS = ["A hammer for every nail", "A lamp for every night"]


def scratch(seed: int = 1, **changes: Any) -> Backbone:
    settings = ScratchSettings(**{**SIZES, **changes})
    return load_backbone(BackboneSettings("scratch", "sdpa"), settings, TOKENS, lambda: TEXTS, seed)


@pytest.mark.parametrize("tied", [True, False])
def test_scratch_has_the_asked_sizes_and_tokens(tied: bool) -> None:
    backbone = scratch(tie_embeddings=tied)
    config = backbone.model.config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (16, 2, 2)
    assert backbone.model.get_input_embeddings().weight.shape[0] == len(backbone.tokenizer)
    head, embedding = backbone.model.get_output_embeddings().weight, backbone.model.get_input_embeddings().weight
    assert (head.data_ptr() == embedding.data_ptr()) == tied
    assert all(len(backbone.tokenizer(token, add_special_tokens=False)["input_ids"]) == 1 for token in TOKENS)


def test_scratch_weights_follow_the_seed_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    first, again, other = scratch(1), scratch(1), scratch(2)
    assert torch.rand(1) == expected
    weights = [b.model.get_input_embeddings().weight for b in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_dropout_is_felt_in_training_only_and_is_not_saved(tmp_path: Path) -> None:
    backbone = scratch()
    ids = torch.arange(3, 13).unsqueeze(0)
    backbone.model.train()
    assert not torch.equal(backbone.model(ids).logits, backbone.model(ids).logits)
    backbone.model.eval()
    still = backbone.model(ids).logits
    assert torch.equal(still, backbone.model(ids).logits)
    backbone.model.save_pretrained(tmp_path)
    loaded = load_saved(tmp_path, "sdpa").eval()
    torch.testing.assert_close(loaded(ids).logits, still)


def test_new_embedding_rows_get_gradients_and_old_ones_stay_as_loaded(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, 280)
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, n_positions=32)
    model = GPT2LMHeadModel(config)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    backbone = load_backbone(BackboneSettings(str(tmp_path), "sdpa"), ScratchSettings(**SIZES), TOKENS, lambda: [], 1)
    old = model.transformer.wte.weight
    new = backbone.model.get_input_embeddings().weight
    torch.testing.assert_close(new[: len(old)], old)
    assert len(backbone.tokenizer) == len(old) + 4
    ids = torch.tensor([backbone.tokenizer("".join(TOKENS), add_special_tokens=False)["input_ids"]])
    backbone.model(ids, labels=ids).loss.backward()
    gradient = backbone.model.get_input_embeddings().weight.grad
    assert (gradient[ids[0]].abs().sum(dim=1) > 0).all()


def test_a_saved_model_opens_with_plain_transformers(tmp_path: Path) -> None:
    backbone = scratch()
    backbone.model.save_pretrained(tmp_path)
    backbone.tokenizer.save_pretrained(tmp_path)
    tokenizer, model = AutoTokenizer.from_pretrained(tmp_path), AutoModelForCausalLM.from_pretrained(tmp_path)
    text = "A lamp <a_1><b_0>"
    assert tokenizer(text)["input_ids"] == backbone.tokenizer(text)["input_ids"]
    assert type(model).__name__ == "LlamaForCausalLM"


def test_base_model_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no such folder"):
        check_base_model(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="neither a folder with a Hugging Face model nor"):
        check_base_model("no-such-model-anywhere")
    with pytest.raises(ValueError, match="neither a folder with a Hugging Face model nor"):
        check_base_model(str(tmp_path))  # a folder without a model


def test_base_model_that_is_not_causal(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=20, **sizes)).save_pretrained(tmp_path / "bert")
    T5Config(vocab_size=20).save_pretrained(tmp_path / "t5")
    with pytest.raises(ValueError, match="no causal language model"):
        check_base_model(str(tmp_path / "bert"))
    with pytest.raises(ValueError, match="no causal language model"):
        check_base_model(str(tmp_path / "t5"))


def test_scratch_passes_the_check() -> None:
    check_base_model("scratch")
