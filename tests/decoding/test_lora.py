"""Beam search with LoRA and trained rows of new tokens, and with the merged model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from recbole_lcrec.config.settings import LoraSettings
from recbole_lcrec.decoding import PromptBatch, SharedReader, Trie, beam_search
from recbole_lcrec.llm.adapters import add_lora
from tests.decoding.conftest import ARCHITECTURES, BACKENDS, TOLERANCE, Lab, assert_best
from tests.decoding.test_beam_search import tied_or_not

BATCHES = pytest.mark.parametrize(
    "lengths", [(11,), tuple(3 + number % 9 for number in range(32))], ids=["batch1", "batch32"]
)
"""Prompts of one user, and of 32 with histories of unequal lengths."""


def adapted(lab: Lab, model: PreTrainedModel) -> Any:
    """The model with a LoRA adapter that changes its logits, also in the rows of index tokens."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        settings = LoraSettings(4, 8, 0.0, "all-linear", False)
        wrapped: Any = add_lora(model, settings, range(lab.n_words, lab.vocabulary)).eval()
        for name, value in wrapped.named_parameters():
            if "lora_B" in name or "trainable_tokens_delta" in name:
                torch.nn.init.normal_(value, std=0.2)
    return wrapped


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("architecture", "attention"), BACKENDS)
@pytest.mark.parametrize("normalizer", ["full", "legal"])
def test_lora_with_trained_rows_and_merged(
    lab: Lab, architecture: str, attention: str, tied: bool, normalizer: str
) -> None:
    model = tied_or_not(lab, architecture, tied, attention)
    require_exhaustive(lab, model, lab.prompts(18, 13, common=9), lab.catalogue(40, 3), normalizer)


@BATCHES
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_lora_and_merged_in_small_and_large_batches(
    lab: Lab, architecture: str, tied: bool, lengths: tuple[int, ...]
) -> None:
    require_exhaustive(lab, tied_or_not(lab, architecture, tied), lab.prompts(*lengths), lab.catalogue(20, 3), "full")


def require_exhaustive(lab: Lab, model: PreTrainedModel, prompts: PromptBatch, ids: Tensor, normalizer: str) -> None:
    """Check that with LoRA, and merged, all items are ranked as by separate passes, and not as without LoRA."""
    trie, n_items = Trie.from_token_ids(ids), len(ids)
    plain = beam_search(SharedReader(model), prompts, trie, n_items, normalizer)
    wrapped = adapted(lab, model)
    truth = lab.exhaustive(wrapped, prompts, ids, legal=normalizer == "legal")
    with_lora = beam_search(SharedReader(wrapped), prompts, trie, n_items, normalizer)
    assert_best(with_lora, truth)
    assert not torch.allclose(with_lora.log_probs, plain.log_probs, **TOLERANCE)
    merged = beam_search(SharedReader(wrapped.merge_and_unload()), prompts, trie, n_items, normalizer)
    assert_best(merged, truth)
    assert merged.items.equal(with_lora.items)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("normalizer", ["full", "legal"])
def test_float32_adapter_on_a_half_precision_model(lab: Lab, attention: str, normalizer: str) -> None:
    model, ids, prompts = lab.model("llama", attention), lab.catalogue(30, 3), lab.prompts(18, 12, common=10)
    settings = LoraSettings(4, 8, 0.0, "all-linear", False)
    wrapped: Any = add_lora(model.to(torch.bfloat16), settings, range(lab.n_words, lab.vocabulary)).eval()
    assert {value.dtype for value in wrapped.parameters()} == {torch.bfloat16, torch.float32}
    beams = beam_search(SharedReader(wrapped), prompts, Trie.from_token_ids(ids), 30, normalizer)
    truth = lab.exhaustive(wrapped, prompts, ids, legal=normalizer == "legal")
    torch.testing.assert_close(beams.log_probs, truth.gather(1, beams.items), rtol=0.05, atol=0.3)
