"""Scores of given items against plain forward passes, and against beam search."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from recbole_lcrec.decoding import Trie, beam_search, score_items

ARCHITECTURES = ("llama", "qwen2", "qwen3", "mistral", "gpt2")
BACKENDS = [(architecture, attention) for architecture in ARCHITECTURES for attention in ("sdpa", "eager")]
TOLERANCE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-4}


@pytest.mark.parametrize(("architecture", "attention"), BACKENDS)
@pytest.mark.parametrize("max_branch_tokens", [1, 50, 4096])
def test_equals_plain_forward_passes(lab: Any, architecture: str, attention: str, max_branch_tokens: int) -> None:
    model, ids, prompts = lab.model(architecture, attention), lab.catalogue(50, 4), lab.prompts(3, 12, 1)
    items = torch.randint(0, 50, (3, 11), generator=torch.Generator().manual_seed(5))
    scores = score_items(model, *prompts, ids, items, max_branch_tokens)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, lab.exhaustive(model, prompts, ids).gather(1, items), **TOLERANCE)


@pytest.mark.parametrize("n_levels", [1, 2, 4])
def test_equals_the_scores_of_beam_search(lab: Any, n_levels: int) -> None:
    model, ids, prompts = lab.model("llama"), lab.catalogue(12, n_levels), lab.prompts(6, 9)
    beams = beam_search(model, *prompts, Trie.from_token_ids(ids), beam_size=7)
    scores = score_items(model, *prompts, ids, beams.items)
    torch.testing.assert_close(scores, beams.log_probs, **TOLERANCE)


def test_padding_scores_minus_infinity_and_disturbs_nothing(lab: Any) -> None:
    model, ids, prompts = lab.model("gpt2"), lab.catalogue(20, 3), lab.prompts(4, 8)
    items = torch.tensor([[3, -1, 7, 3], [-1, -1, -1, 19]])
    scores = score_items(model, *prompts, ids, items)
    truth = lab.exhaustive(model, prompts, ids).gather(1, items.clamp(min=0)).masked_fill(items < 0, -torch.inf)
    assert scores.isneginf().equal(items < 0)
    torch.testing.assert_close(scores, truth, **TOLERANCE)
    assert scores[0, 0] == pytest.approx(scores[0, 3].item(), rel=1e-6)


def test_the_whole_vocabulary_normalises(lab: Any) -> None:
    """The probabilities of all one-token items that exist in the vocabulary add up to 1."""
    model, prompts = lab.model("qwen2"), lab.prompts(5, 2)
    ids = torch.arange(lab.vocabulary).unsqueeze(1)
    scores = score_items(model, *prompts, ids, ids.T.expand(2, -1))
    torch.testing.assert_close(scores.exp().sum(dim=1), torch.ones(2))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"items": torch.tensor([[2]])}, "row 2 does not exist; rows are 0 to 1"),
        ({"items": torch.tensor([[-2]])}, "row -2 does not exist"),
        ({"items": torch.tensor([[0], [1]])}, r"must be \[B, C\] for the 1 prompts"),
        ({"items": torch.tensor([0])}, r"must be \[B, C\]"),
        ({"item_token_ids": torch.tensor([40, 50])}, r"must be \[N, H\]"),
        ({"item_token_ids": torch.tensor([[40, 80], [40, 51]])}, "index token 80"),
        ({"max_branch_tokens": 0}, "max_branch_tokens=0"),
        ({"attention_mask": torch.zeros((1, 3), dtype=torch.int64)}, "row 0 is all padding"),
    ],
)
def test_bad_input_is_named(lab: Any, changed: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "model": lab.model("llama"),
        "input_ids": torch.tensor([[1, 2, 3]]),
        "attention_mask": torch.ones((1, 3), dtype=torch.int64),
        "item_token_ids": torch.tensor([[40, 50], [40, 51]]),
        "items": torch.tensor([[0, 1]]),
    }
    with pytest.raises(ValueError, match=message):
        score_items(**arguments | changed)


def test_nan_logits_are_an_error(lab: Any) -> None:
    model = lab.model("llama")
    torch.nn.init.constant_(model.lm_head.weight, torch.nan)
    with pytest.raises(RuntimeError, match="NaN"):
        score_items(model, *lab.prompts(4), lab.catalogue(9, 2), torch.tensor([[0, 1]]))
