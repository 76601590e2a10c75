"""Tiny random language models, catalogues and prompts, and exhaustive scores to compare decoding with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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

from recbole_lcrec.config.settings import DecodingSettings
from recbole_lcrec.decoding import Beams, PromptBatch, Ranker, Trie, open_reader

ROPE_CONFIGS = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config, "mistral": MistralConfig}
ARCHITECTURES = (*ROPE_CONFIGS, "gpt2")
BACKENDS = [(architecture, attention) for architecture in ARCHITECTURES for attention in ("sdpa", "eager")]
TOLERANCE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-4}

Rows = list[list[int]]


@dataclass(frozen=True)
class Lab:
    """A small vocabulary: words 0 to 31 for prompts, then 12 tokens for each level of an index."""

    vocabulary: int = 80
    n_words: int = 32
    n_codes: int = 12

    def sizes(self) -> dict[str, Any]:
        """Sizes of a tiny rotary model; large random weights keep items' scores far apart."""
        sizes: dict[str, Any] = {"vocab_size": self.vocabulary, "initializer_range": 0.3, "pad_token_id": 0}
        sizes |= {"bos_token_id": None, "eos_token_id": None, "hidden_size": 32, "intermediate_size": 48}
        sizes |= {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
        return sizes | {"max_position_embeddings": 64}

    def model(self, architecture: str, attention: str = "sdpa", **settings: Any) -> PreTrainedModel:
        """A random model in evaluation mode."""
        if architecture == "gpt2":
            wide = {name: self.sizes()[name] for name in ("vocab_size", "initializer_range", "pad_token_id")}
            wide |= {"bos_token_id": None, "eos_token_id": None}
            return self.built(GPT2Config(**wide, n_embd=32, n_layer=2, n_head=4, n_inner=48, n_positions=64), attention)
        config = ROPE_CONFIGS[architecture](**self.sizes() | {"head_dim": 8} | settings)
        return self.built(config, attention)

    def built(self, config: Any, attention: str = "sdpa") -> PreTrainedModel:
        """A random model of any configuration in evaluation mode."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            return AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()

    def catalogue(self, n_items: int, n_levels: int, n_codes: int | None = None, seed: int = 0) -> Tensor:
        """Distinct rows of index tokens [N, H], in random order."""
        codes = n_codes or self.n_codes
        flat = np.random.default_rng(seed).permutation(codes**n_levels)[:n_items]
        grid = np.stack(np.unravel_index(flat, (codes,) * n_levels), axis=1)
        return torch.from_numpy(grid + self.n_words + self.n_codes * np.arange(n_levels))

    def rows(self, *lengths: int, seed: int = 1, common: int = 0) -> Rows:
        """Prompts of the given lengths, whose first ``common`` tokens are equal and whose next token differs."""
        rng = np.random.default_rng(seed)
        words = [rng.integers(1, self.n_words, length).tolist() for length in lengths]
        for number, row in enumerate(words):
            row[:common] = words[0][:common]
            if len(row) > common:
                row[common] = 1 + (words[0][common] + (number > 0)) % (self.n_words - 1)
        return words

    def prompts(self, *lengths: int, seed: int = 1, common: int = 0) -> PromptBatch:
        """:meth:`rows` as a batch."""
        return PromptBatch.of(self.rows(*lengths, seed=seed, common=common))

    def exhaustive(
        self, model: PreTrainedModel, prompts: PromptBatch | Rows, ids: Tensor, legal: bool = False
    ) -> Tensor:
        """Log-probability of every item [N, H] after every prompt [R, N], from passes without cache, mask or padding.

        With ``legal``, the probabilities of the tokens that continue some item add up to 1, prefix by prefix.
        """
        scores, able = [], _continues(ids, model.config.vocab_size) if legal else None
        for row in rows_of(prompts):
            prompt = torch.tensor(row).expand(len(ids), -1)
            with torch.no_grad():
                logits = model(torch.cat([prompt, ids[:, :-1]], dim=1), use_cache=False).logits.double()
            steps = logits[:, prompt.shape[1] - 1 :]
            if able is not None:
                steps = steps.masked_fill(~able, -torch.inf)
            steps = steps.log_softmax(-1).gather(-1, ids.unsqueeze(-1)).squeeze(-1)
            scores.append(steps.sum(-1))
        return torch.stack(scores).float()


def _continues(ids: Tensor, vocabulary: int) -> Tensor:
    """Whether each token continues an item's prefix to an item [N, H, V], from all pairs of items."""
    table = torch.zeros((*ids.shape, vocabulary), dtype=torch.bool)
    for level in range(ids.shape[1]):
        same = (ids[:, None, :level] == ids[None, :, :level]).all(dim=-1)
        table[:, level] = same.float() @ torch.nn.functional.one_hot(ids[:, level], vocabulary).float() > 0
    return table


def rows_of(prompts: PromptBatch | Rows) -> Rows:
    """The tokens of each prompt."""
    if isinstance(prompts, PromptBatch):
        return [ids[:length] for ids, length in zip(prompts.ids.tolist(), prompts.lengths.tolist(), strict=True)]
    return prompts


def assert_ranks(beams: Beams, truth: Tensor) -> None:
    """Check that the beams hold distinct items with their true scores [B, N], in descending order."""
    assert beams.items.dtype == torch.int64
    assert beams.log_probs.dtype == torch.float32
    assert torch.isfinite(beams.log_probs).all()
    assert (beams.log_probs[:, 1:] <= beams.log_probs[:, :-1]).all()
    assert all(len(set(row)) == len(row) for row in beams.items.tolist())
    torch.testing.assert_close(beams.log_probs, truth.gather(1, beams.items), **TOLERANCE)


def assert_best(beams: Beams, truth: Tensor, k: int | None = None) -> None:
    """Check that the first ``k`` beams are the best of all items; items with -inf are not allowed."""
    k = k or beams.items.shape[1]
    first = Beams(beams.items[:, :k], beams.log_probs[:, :k], beams.bound)
    assert_ranks(first, truth)
    torch.testing.assert_close(first.log_probs, truth.sort(dim=1, descending=True).values[:, :k], **TOLERANCE)


@contextmanager
def tokens_read(model: PreTrainedModel) -> Iterator[list[int]]:
    """Number of tokens that the model reads at each call."""
    counts: list[int] = []
    hook = model.get_input_embeddings().register_forward_hook(lambda _, inputs, __: counts.append(inputs[0].numel()))
    try:
        yield counts
    finally:
        hook.remove()


def decoding_settings(**changes: Any) -> DecodingSettings:
    """Settings of a ranker."""
    values: dict[str, Any] = {"beam_size": 5, "max_tokens": 4096, "search": "shared", "normalizer": "full"}
    values |= {"exact": False, "exclude_history": False, "allowed_items": None}
    return DecodingSettings(**values | changes)


def ranker_for(model: PreTrainedModel, trie: Trie, settings: DecodingSettings) -> Ranker:
    """A ranker with a newly opened reader."""
    return Ranker(open_reader(model, settings.search), trie, settings, model.device)


def users_of(rows: Sequence[list[int]], n_templates: int = 1) -> list[Rows]:
    """Group prompts by user, ``n_templates`` each."""
    return [list(rows[start : start + n_templates]) for start in range(0, len(rows), n_templates)]


class Watched:
    """A reader that runs out of memory above ``limit`` tokens and records the batches that it read."""

    def __init__(self, reader: Any, limit: int = 10**9, err: Callable[[], Exception] = MemoryError) -> None:
        self.reader, self.limit, self.err = reader, limit, err
        self.read_batches: list[tuple[PromptBatch, int]] = []
        self.check, self.log_probs = reader.check, reader.log_probs

    def read(self, prompts: PromptBatch, n_branch_tokens: int) -> Any:
        branches, states = self.reader.read(prompts, n_branch_tokens)
        if len(prompts) * (int(prompts.lengths.max()) + n_branch_tokens) > self.limit:
            raise self.err()  # after part of the work
        self.read_batches.append((prompts, n_branch_tokens))
        return branches, states


@pytest.fixture
def lab() -> Lab:
    """The small vocabulary and models of these tests."""
    return Lab()
