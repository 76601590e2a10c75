"""A tiny tokenizer and model with index tokens."""

from __future__ import annotations

import pytest

from recbole_lcrec.llm.backbone import Backbone
from recbole_lcrec.llm.scratch import train_tokenizer
from recbole_lcrec.llm.tokens import add_index_tokens
from tests.tiny_llama import tiny_llama

ITEM_TOKENS = [(f"<a_{i % 4}>", f"<b_{i // 4}>") for i in range(12)]


@pytest.fixture
def backbone() -> Backbone:
    """A LLaMA of two layers with index tokens of 12 items of two levels."""
    tokenizer = train_tokenizer(["What comes after this item? A hammer, a lamp.", "Answer the request."], 300)
    add_index_tokens(tokenizer, sorted({token for tokens in ITEM_TOKENS for token in tokens}))
    return Backbone(tiny_llama(tokenizer, 3, max_position_embeddings=128), tokenizer)
