"""A small language model from scratch.

A tokenizer trained on the data's texts, and a LLaMA with random weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from recbole_lcrec.config.settings import ScratchSettings

__all__ = ["CONTEXT", "initialise", "train_tokenizer"]

CONTEXT = 2048
"""Context length of a model from scratch, in tokens; rotary positions need no parameters."""


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer, which can encode any text and begins prompts with ``<s>``.

    Args:
        texts: the training texts.
        vocab_size: largest number of tokens, including the 256 bytes and 3 special tokens.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<pad>"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=CONTEXT
    )


def initialise(
    tokenizer: PreTrainedTokenizerBase, scratch: ScratchSettings, attention: str, seed: int
) -> PreTrainedModel:
    """Initialise a LLaMA with random weights.

    Args:
        tokenizer: a tokenizer with every index token.
        scratch: sizes, dropout, and whether embedding and head are tied.
        attention: name of the attention implementation in transformers.
        seed: seeds the weights.
    """
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=scratch.hidden_size,
        intermediate_size=scratch.intermediate_size,
        num_hidden_layers=scratch.layers,
        num_attention_heads=scratch.heads,
        num_key_value_heads=scratch.heads,
        max_position_embeddings=CONTEXT,
        attention_dropout=scratch.dropout,
        tie_word_embeddings=scratch.tie_embeddings,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    _add_dropout(model, scratch.dropout)
    return model


def _add_dropout(model: Any, rate: float) -> None:
    """Add dropout after the embeddings and on every residual branch, in training mode only.

    LLaMA itself applies dropout to attention weights only, which is too little for catalogues of a few thousand items.
    Dropout is added by hooks, so the saved model is a plain LLaMA.
    """

    def drop(module: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(output, rate, training=module.training)

    branches = [part for layer in model.model.layers for part in (layer.self_attn.o_proj, layer.mlp.down_proj)]
    for module in (model.model.embed_tokens, *branches):
        module.register_forward_hook(drop)
