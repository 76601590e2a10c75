"""Tiny random language models, catalogues and prompts, and the plain answer that decoding is held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

ROPE_CONFIGS = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config, "mistral": MistralConfig}


@dataclass(frozen=True)
class Lab:
    """A small world: tokens 0 to 31 spell prompts, each level of an index has 12 tokens of its own from 32 on."""

    vocabulary: int = 80
    n_words: int = 32
    n_codes: int = 12

    def model(self, architecture: str, attention: str = "sdpa", **settings: Any) -> PreTrainedModel:
        """A random model in evaluation mode; weights are wide, so that items' scores are far apart."""
        wide: dict[str, Any] = {"vocab_size": self.vocabulary, "initializer_range": 0.3, "pad_token_id": 0}
        wide |= {"bos_token_id": None, "eos_token_id": None}
        if architecture == "gpt2":
            config = GPT2Config(**wide, n_embd=32, n_layer=2, n_head=4, n_inner=48, n_positions=64, **settings)
        else:
            wide |= {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
            wide |= {"num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64}
            config = ROPE_CONFIGS[architecture](**wide | settings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            return AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()

    def catalogue(self, n_items: int, n_levels: int, n_codes: int | None = None, seed: int = 0) -> Tensor:
        """Distinct rows of index tokens [N, H], in no order."""
        codes = n_codes or self.n_codes
        flat = np.random.default_rng(seed).permutation(codes**n_levels)[:n_items]
        grid = np.stack(np.unravel_index(flat, (codes,) * n_levels), axis=1)
        return torch.from_numpy(grid + self.n_words + self.n_codes * np.arange(n_levels))

    def prompts(self, *lengths: int, seed: int = 1) -> tuple[Tensor, Tensor]:
        """Left-padded prompts [B, L] of the given lengths and their mask."""
        generator = torch.Generator().manual_seed(seed)
        mask = torch.arange(max(lengths)) >= max(lengths) - torch.tensor(lengths).unsqueeze(1)
        words = torch.randint(1, self.n_words, mask.shape, generator=generator)
        return words * mask, mask.long()

    def exhaustive(self, model: PreTrainedModel, prompts: tuple[Tensor, Tensor], item_token_ids: Tensor) -> Tensor:
        """Log-probability of every item after every prompt [B, N], by forward passes without cache, mask or padding."""
        rows = []
        for words, mask in zip(*prompts, strict=True):
            prompt = words[mask.bool()].expand(len(item_token_ids), -1)
            with torch.no_grad():
                logits = model(torch.cat([prompt, item_token_ids[:, :-1]], dim=1), use_cache=False).logits.double()
            steps = logits[:, prompt.shape[1] - 1 :].log_softmax(-1)
            rows.append(steps.gather(-1, item_token_ids.unsqueeze(-1)).squeeze(-1).sum(-1))
        return torch.stack(rows).float()


@pytest.fixture
def lab() -> Lab:
    """The small world of this folder's tests."""
    return Lab()
