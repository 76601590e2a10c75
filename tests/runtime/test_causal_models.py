"""Causal language models are recognised by their configurations."""

from __future__ import annotations

import pytest
from transformers import BertConfig, GPT2Config, LlamaConfig, PretrainedConfig, Qwen2Config, T5Config, ViTConfig

from recbole_lcrec.runtime.causal_models import causal_lm_error


@pytest.mark.parametrize("kind", [LlamaConfig, Qwen2Config, GPT2Config])
@pytest.mark.parametrize("saved_as", [None, ["LlamaForCausalLM"], ["GPT2LMHeadModel"]])
def test_causal_language_models_pass(kind: type[PretrainedConfig], saved_as: list[str] | None) -> None:
    assert causal_lm_error(kind(architectures=saved_as)) == ""


@pytest.mark.parametrize("kind", [T5Config, ViTConfig])
def test_other_types_are_named(kind: type[PretrainedConfig]) -> None:
    assert causal_lm_error(kind()).startswith(f"is of type '{kind.model_type}', which is not a causal language model")


def test_a_wrong_saved_class_is_named() -> None:
    expected = "was saved as BertModel, which is not a causal language model"
    assert causal_lm_error(BertConfig(architectures=["BertModel"])) == expected
    assert "saved as LlamaModel" in causal_lm_error(LlamaConfig(architectures=["LlamaModel"]))


def test_an_encoder_decoder_is_not_causal() -> None:
    assert "not a causal language model" in causal_lm_error(BertConfig(is_encoder_decoder=True))
