"""A tiny tokenizer and model with index tokens."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from recbole_lcrec.llm.backbone import Backbone
from recbole_lcrec.llm.scratch import train_tokenizer
from recbole_lcrec.llm.tokens import add_index_tokens

ITEM_TOKENS = [(f"<a_{i % 4}>", f"<b_{i // 4}>") for i in range(12)]


@pytest.fixture
def backbone() -> Backbone:
    """A LLaMA of two layers with index tokens of 12 items of two levels."""
    tokenizer = train_tokenizer(["What comes after this item? A hammer, a lamp.", "Answer the request."], 300)
    add_index_tokens(tokenizer, sorted({token for tokens in ITEM_TOKENS for token in tokens}))
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=128,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Backbone(LlamaForCausalLM(config), tokenizer)
