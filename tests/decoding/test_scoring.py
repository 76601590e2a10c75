"""Scores of given items, compared with plain forward passes and with beam search."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from recbole_lcrec.decoding import PlainReader, PromptBatch, SharedReader, Trie, beam_search, score_items
from tests.decoding.conftest import BACKENDS, TOLERANCE, Lab, tokens_read

READERS = (SharedReader, PlainReader)


@pytest.mark.parametrize(("architecture", "attention"), BACKENDS)
@pytest.mark.parametrize("normalizer", ["full", "legal"])
def test_scores_equal_plain_forward_passes(lab: Lab, architecture: str, attention: str, normalizer: str) -> None:
    model, ids = lab.model(architecture, attention), lab.catalogue(50, 4, n_codes=4)
    trie, items = Trie.from_token_ids(ids), torch.randint(0, 50, (3, 11), generator=torch.Generator().manual_seed(5))
    for prompts in (lab.prompts(3, 12, 1), lab.prompts(14, 18, 12, common=10)):
        truth = lab.exhaustive(model, prompts, ids, legal=normalizer == "legal").gather(1, items)
        for reader in READERS:
            scores = score_items(reader(model), prompts, trie, items, normalizer)
            assert scores.dtype == torch.float32
            torch.testing.assert_close(scores, truth, **TOLERANCE)


@pytest.mark.parametrize("n_levels", [1, 2, 4])
@pytest.mark.parametrize("normalizer", ["full", "legal"])
def test_scores_equal_those_of_beam_search(lab: Lab, n_levels: int, normalizer: str) -> None:
    reader, prompts = SharedReader(lab.model("llama")), lab.prompts(6, 9)
    trie = Trie.from_token_ids(lab.catalogue(12, n_levels))
    beams = beam_search(reader, prompts, trie, 7, normalizer)
    torch.testing.assert_close(
        score_items(reader, prompts, trie, beams.items, normalizer), beams.log_probs, **TOLERANCE
    )


@pytest.mark.parametrize("reader", READERS)
def test_ensemble_adds_scores_over_prompts(lab: Lab, reader: Any) -> None:
    model, ids, prompts = lab.model("gpt2"), lab.catalogue(40, 3), lab.prompts(6, 9, 2, 11, 4, 8)
    items = torch.tensor([[3, 39, 3, 0], [-1, 17, 2, -1]])
    truth = lab.exhaustive(model, prompts, ids).unflatten(0, (2, 3)).sum(1).gather(1, items.clamp(min=0))
    scores = score_items(reader(model), prompts, Trie.from_token_ids(ids), items, n_templates=3)
    torch.testing.assert_close(scores, truth.masked_fill(items < 0, -torch.inf), **TOLERANCE)


def test_padding_scores_minus_infinity(lab: Lab) -> None:
    model, ids, prompts = lab.model("gpt2"), lab.catalogue(20, 3), lab.prompts(4, 8, 2)
    items = torch.tensor([[3, -1, 7, 3], [-1, -1, -1, 19], [-1, -1, -1, -1]])
    for normalizer in ("full", "legal"):
        scores = score_items(SharedReader(model), prompts, Trie.from_token_ids(ids), items, normalizer)
        truth = lab.exhaustive(model, prompts, ids, legal=normalizer == "legal").gather(1, items.clamp(min=0))
        torch.testing.assert_close(scores, truth.masked_fill(items < 0, -torch.inf), **TOLERANCE)
        assert scores[0, 0] == scores[0, 3]


def test_restricted_trie_scores_allowed_items(lab: Lab) -> None:
    model, ids, prompts = lab.model("qwen2"), lab.catalogue(30, 3), lab.prompts(5)
    trie = Trie.from_token_ids(ids).restricted([4, 9, 20])
    scores = score_items(SharedReader(model), prompts, trie, torch.tensor([[20, 4]]))
    torch.testing.assert_close(scores, lab.exhaustive(model, prompts, ids)[:, [20, 4]], **TOLERANCE)
    with pytest.raises(ValueError, match=r"row 5 is not in the trie \(1 such candidates\)"):
        score_items(SharedReader(model), prompts, trie, torch.tensor([[20, 5]]))


def test_shared_prefix_is_read_once(lab: Lab) -> None:
    """Items 40 50 60, 40 50 61, 40 51 60: prefixes 40; 40 50, 40 51; the last tokens are never read."""
    model = lab.model("llama")
    reader, trie = SharedReader(model), Trie.from_token_ids([[40, 50, 60], [40, 50, 61], [40, 51, 60], [41, 50, 60]])
    with tokens_read(model) as counts:
        score_items(reader, lab.prompts(7), trie, torch.tensor([[0, 1, 2, 1]]))
    assert counts == [7, 1, 2]


def test_full_scores_sum_to_one_over_the_vocabulary(lab: Lab) -> None:
    """The probabilities of all one-token items in the vocabulary sum to 1."""
    reader, trie = SharedReader(lab.model("qwen2")), Trie.from_token_ids(torch.arange(lab.vocabulary).unsqueeze(1))
    scores = score_items(reader, lab.prompts(5, 2), trie, torch.arange(lab.vocabulary).expand(2, -1))
    torch.testing.assert_close(scores.exp().sum(dim=1), torch.ones(2))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"items": torch.tensor([[2]])}, "row 2 does not exist; rows are 0 to 1"),
        ({"items": torch.tensor([[-2]])}, "row -2 does not exist"),
        ({"items": torch.tensor([[0], [1]])}, r"must be \[B, C\] for the 1 prompts"),
        ({"items": torch.tensor([0])}, r"must be \[B, C\]"),
        ({"items": torch.zeros((1, 0), dtype=torch.int64)}, r"must be \[B, C\]"),
        ({"trie": Trie.from_token_ids([[40, 80], [40, 51]])}, "index token 80"),
        ({"n_templates": 2}, r"must be \[B, C\] for the 1 prompts, 2 per user"),
        ({"n_templates": 0}, "n_templates=0"),
        ({"normalizer": "half"}, "normalizer='half'"),
        (
            {"prompts": PromptBatch.of([[1] * 64])},
            "prompt of 64 tokens and 1 index tokens exceed .*max_position_embeddings=64",
        ),
    ],
)
def test_bad_input_is_an_error(lab: Lab, changed: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "reader": SharedReader(lab.model("llama")),
        "prompts": PromptBatch.of([[1, 2, 3]]),
        "trie": Trie.from_token_ids([[40, 50], [40, 51]]),
        "items": torch.tensor([[0, 1]]),
    }
    with pytest.raises(ValueError, match=message):
        score_items(**arguments | changed)


@pytest.mark.parametrize("normalizer", ["full", "legal"])
def test_nan_logits_are_an_error(lab: Lab, normalizer: str) -> None:
    model = lab.model("llama")
    torch.nn.init.constant_(model.lm_head.weight, torch.nan)
    trie = Trie.from_token_ids(lab.catalogue(9, 2))
    with pytest.raises(RuntimeError, match="NaN"):
        score_items(SharedReader(model), lab.prompts(4), trie, torch.tensor([[0, 1]]), normalizer)
