"""What ``decoding_speed.py`` decodes: a random LLaMA, an item index and prompts as token ids.

Knows the sizes of models, how Games lies on disk and how a prompt is laid out. Refuses to know how prompts are decoded
and what is measured.

A prompt is words that all prompts begin with, the index tokens of a history with a separator between items, and closing
words. Words are token ids below 32,000 that stand for no text.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "MODELS",
    "Catalogue",
    "Wording",
    "games_catalogue",
    "prompts_of_length",
    "random_catalogue",
    "random_llama",
    "test_histories",
]

N_LEVELS, N_CODES = 4, 256
MAX_HISTORY = 20
MAX_PROMPT = 512

MODELS = {
    "small": {"layers": 6, "width": 256, "mlp": 1024, "heads": 4, "key_heads": 4, "words": 32_000, "tied": False},
    "0.5b": {"layers": 24, "width": 896, "mlp": 4864, "heads": 14, "key_heads": 2, "words": 151_936, "tied": True},
    "7b": {"layers": 32, "width": 4096, "mlp": 11_008, "heads": 32, "key_heads": 32, "words": 32_000, "tied": False},
}
"""Sizes of LLaMA; index tokens come on top of the words. 0.5b has the sizes of Qwen2.5-0.5B, 7b those of LLaMA-7B."""


def random_llama(name: str, options: argparse.Namespace) -> Any:
    """A LLaMA with random weights, in evaluation mode."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    size = MODELS[name]
    config = LlamaConfig(
        vocab_size=size["words"] + N_LEVELS * N_CODES,
        hidden_size=size["width"],
        intermediate_size=size["mlp"],
        num_hidden_layers=size["layers"],
        num_attention_heads=size["heads"],
        num_key_value_heads=size["key_heads"],
        max_position_embeddings=2048,
        tie_word_embeddings=bool(size["tied"]),
        bos_token_id=1,
        eos_token_id=None,
        pad_token_id=None,
    )
    torch.manual_seed(options.seed)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[options.dtype]
    with torch.device(options.device):  # weights of billions are drawn where they are used
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", dtype=dtype)
    return model.to(options.device).eval()


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Items and their index tokens.

    Attributes:
        codes: [N, 4], int64, distinct rows.
        words: token ids of words; index tokens have the ids from there on, level by level.
        rows: the row of each original item id; empty for random items.
    """

    codes: np.ndarray
    words: int
    rows: dict[str, int]

    @property
    def token_ids(self) -> np.ndarray:
        """Token ids of each item's index [N, 4]."""
        return self.codes + self.words + N_CODES * np.arange(self.codes.shape[1])


def games_catalogue(folder: Path, words: int) -> Catalogue:
    """A data set's published index, as the package takes it: where items share an index, all but one move."""
    from recbole_lcrec.indexing.conflicts import resolve_without_embeddings
    from recbole_lcrec.indexing.item_index import indexed_items, load_index

    path = folder / f"{folder.name}.index.json"
    items = indexed_items(path)
    index = load_index(path, items)
    if index.codebook_sizes != (N_CODES,) * N_LEVELS:
        raise ValueError(f"{path}: {index.sizes_in_words()}; this benchmark takes {N_LEVELS} levels x {N_CODES} codes")
    codes, _ = resolve_without_embeddings(index.codes, index.codebook_sizes)
    return Catalogue(codes, words, {item: row for row, item in enumerate(items)})


def random_catalogue(n_items: int, words: int, seed: int) -> Catalogue:
    """Distinct random items of 4 x 256 codes."""
    rng = np.random.default_rng(seed)
    numbers = np.unique(rng.integers(N_CODES**N_LEVELS, size=n_items + n_items // 100 + 1000))
    rng.shuffle(numbers)
    codes = np.stack(np.unravel_index(numbers[:n_items], (N_CODES,) * N_LEVELS), axis=1)
    return Catalogue(codes, words, {})


def test_histories(folder: Path, catalogue: Catalogue, sample: int | None, seed: int) -> list[np.ndarray]:
    """Item rows of users' leave-one-out test histories: all but the last item, the newest 20 of them.

    Args:
        folder: of the data set.
        catalogue: its items.
        sample: users, drawn at random; None: all of them.
        seed: of the draw.
    """
    sequences = list(json.loads((folder / f"{folder.name}.inter.json").read_text(encoding="utf-8")).values())
    if sample is not None and sample < len(sequences):
        chosen = np.random.default_rng(seed).choice(len(sequences), size=sample, replace=False)
        sequences = [sequences[user] for user in chosen]
    return [np.array([catalogue.rows[str(item)] for item in one[:-1]][-MAX_HISTORY:]) for one in sequences]


@dataclass(frozen=True)
class Wording:
    """Lays out prompts.

    Attributes:
        leading: words before the history.
        closing: words after it, at least.
        common: whether the leading words are the same in all prompts.
        seed: of the words.
    """

    leading: int
    closing: int
    common: bool
    seed: int

    def prompts(self, histories: list[np.ndarray], catalogue: Catalogue) -> list[list[int]]:
        """Token ids of each history's prompt."""
        rng = np.random.default_rng(self.seed)
        words = rng.integers(2, catalogue.words, size=self.leading + self.closing + MAX_PROMPT)
        separator, closing = [int(words[-1])], words[self.leading : self.leading + self.closing].tolist()
        prompts = []
        for rows in histories:
            own = words[: self.leading] if self.common else rng.integers(2, catalogue.words, size=self.leading)
            items = [[*separator, *ids] for ids in catalogue.token_ids[rows].tolist()]
            prompts.append([*own.tolist(), *[token for item in items for token in item][1:], *closing])
        return prompts

    def of_length(self, n_prompts: int, n_tokens: int, catalogue: Catalogue) -> list[list[int]]:
        """Prompts of one length, with random histories of as many items as there is room for, 20 at most."""
        n_items = min(MAX_HISTORY, (n_tokens - self.leading - self.closing + 1) // (N_LEVELS + 1))
        if n_items < 1:
            raise ValueError(f"{n_tokens} tokens have no room for {self.leading} + {self.closing} words and an item")
        closing = n_tokens - self.leading - (N_LEVELS + 1) * n_items + 1
        rng = np.random.default_rng(self.seed)
        histories = list(rng.integers(len(catalogue.codes), size=(n_prompts, n_items)))
        return Wording(self.leading, closing, self.common, self.seed).prompts(histories, catalogue)


def prompts_of_length(catalogue: Catalogue, options: argparse.Namespace) -> list[list[int]]:
    """The prompts of ``--tokens`` tokens."""
    wording = Wording(options.words, options.words, not options.no_common, options.seed)
    return wording.of_length(options.prompts, options.tokens, catalogue)
