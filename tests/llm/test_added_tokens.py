"""Start values of the rows of added tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from recbole_lcrec.config.settings import BackboneSettings, ScratchSettings
from recbole_lcrec.llm.added_tokens import start_added_tokens
from recbole_lcrec.llm.backbone import load_backbone
from recbole_lcrec.llm.scratch import train_tokenizer

WIDTH = 64


def llama(rows: int, tied: bool) -> LlamaForCausalLM:
    sizes = {"hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(vocab_size=rows, tie_word_embeddings=tied, pad_token_id=None, **sizes))


def matrices(model) -> list[torch.Tensor]:
    return [model.get_input_embeddings().weight.detach(), model.get_output_embeddings().weight.detach()]


@pytest.mark.parametrize("tied", [True, False])
def test_rows_have_mean_and_spread_of_the_known_ones(tied: bool) -> None:
    model = llama(300, tied)
    with torch.no_grad():
        for matrix in matrices(model)[: 1 if tied else 2]:
            matrix[:200] = 3 + 0.5 * torch.randn(200, WIDTH)
            matrix[200:] = 0
    start_added_tokens(model, range(200, 300), range(200), None, seed=1)
    for matrix in matrices(model):
        assert abs(float(matrix[200:].mean()) - 3) < 0.05 and abs(float(matrix[200:].std()) - 0.5) < 0.05
        assert torch.unique(matrix[200:], dim=0).shape[0] == 100


def test_directions_are_followed_and_zeros_drawn() -> None:
    model = llama(30, tied=True)
    directions = np.random.default_rng(0).standard_normal((10, WIDTH))
    directions[3] = 0
    start_added_tokens(model, range(20, 30), range(20), directions, seed=1)
    rows = matrices(model)[0].double().numpy()
    mean, spread = rows[:20].mean(axis=0), (rows[:20] - rows[:20].mean(axis=0)).std(ddof=1)
    given = [row for row in range(10) if row != 3]
    np.testing.assert_allclose(rows[20:][given], mean + spread * directions[given], atol=1e-6)
    assert np.abs(rows[23] - mean).max() > spread


def test_padding_rows_start_as_new_rows_do(tmp_path: Path) -> None:
    """A checkpoint with more rows than its tokenizer has tokens, as Qwen2.5's, starts the first tokens on padding."""
    tokenizer = train_tokenizer(["A hammer for every nail"], 300)
    model = llama(len(tokenizer) + 3, tied=False)
    with torch.no_grad():
        for matrix in matrices(model):
            matrix[len(tokenizer) :] = 50.0
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    tokens = [f"<a_{code}>" for code in range(40)]
    sizes = {"preset": None, "vocab_size": 300, "hidden_size": 16, "intermediate_size": 32, "layers": 1, "heads": 2}
    scratch = ScratchSettings(**sizes, dropout=0.0, tie_embeddings=True)
    loaded = load_backbone(BackboneSettings(str(tmp_path), "sdpa"), scratch, tokens, lambda: [], 1)
    ids = loaded.tokenizer.convert_tokens_to_ids(tokens)
    assert ids[0] == len(tokenizer)
    for matrix in matrices(loaded.model):
        known = matrix[: len(tokenizer)]
        padding, new = matrix[ids[:3]], matrix[ids[3:]]
        assert float(padding.abs().max()) < 6 * float(known.std())
        assert 0.7 < float(padding.std() / new.std()) < 1.4
