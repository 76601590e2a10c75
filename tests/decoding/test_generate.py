"""Beam search, compared with transformers' ``generate`` with a prefix function."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from recbole_lcrec.decoding import PlainReader, PromptBatch, SharedReader, Trie, beam_search
from recbole_lcrec.llm.backbone import load_saved
from tests.decoding.conftest import ARCHITECTURES, BACKENDS, TOLERANCE, Lab, Rows, rows_of
from tests.decoding.test_beam_search import tied_or_not
from tests.decoding.test_lora import BATCHES, adapted


def generate(model: PreTrainedModel, rows: Rows, ids: Tensor, beam_size: int) -> tuple[Tensor, Tensor]:
    """Items and scores [B, M] by transformers' beam search: over the full vocabulary, with no length penalty."""
    item_of = {tuple(row): item for item, row in enumerate(ids.tolist())}
    after: dict[tuple[int, ...], set[int]] = {}
    for index in item_of:
        for depth in range(len(index)):
            after.setdefault(index[:depth], set()).add(index[depth])
    length = max(map(len, rows))
    words = torch.tensor([[0] * (length - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    found: Any = model.generate(
        input_ids=words,
        attention_mask=mask,
        # a beam that is not a prefix already scores minus infinity, so any token will do
        prefix_allowed_tokens_fn=lambda _, sequence: sorted(after.get(tuple(sequence[length:].tolist()), {0})),
        num_beams=beam_size,
        num_return_sequences=beam_size,
        max_new_tokens=ids.shape[1],
        length_penalty=0.0,
        do_sample=False,
        renormalize_logits=False,
        return_dict_in_generate=True,
        output_scores=True,
    )
    items = [item_of[tuple(row)] for row in found.sequences[:, length:].tolist()]
    return torch.tensor(items).view(-1, beam_size), found.sequences_scores.view(-1, beam_size)


@BATCHES
@pytest.mark.parametrize("beam_size", [5, 20])
@pytest.mark.parametrize(("architecture", "attention"), BACKENDS)
def test_same_items_and_scores(
    lab: Lab, architecture: str, attention: str, beam_size: int, lengths: tuple[int, ...]
) -> None:
    model, ids, rows = lab.model(architecture, attention), lab.catalogue(150, 3), lab.rows(*lengths)
    items, scores = generate(model, rows, ids, beam_size)
    beams = beam_search(SharedReader(model), PromptBatch.of(rows), Trie.from_token_ids(ids), beam_size)
    torch.testing.assert_close(beams.log_probs, scores, **TOLERANCE)
    assert beams.items.tolist() == items.tolist()


def test_same_items_and_scores_with_common_tokens(lab: Lab) -> None:
    model, ids = lab.model("llama"), lab.catalogue(150, 3)
    rows = lab.rows(18, 12, 25, common=11)
    items, scores = generate(model, rows, ids, 6)
    beams = beam_search(SharedReader(model), PromptBatch.of(rows), Trie.from_token_ids(ids), 6)
    assert beams.items.tolist() == items.tolist()
    torch.testing.assert_close(beams.log_probs, scores, **TOLERANCE)


@BATCHES
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_same_items_and_scores_with_lora_and_merged(
    lab: Lab, architecture: str, tied: bool, lengths: tuple[int, ...]
) -> None:
    ids, rows = lab.catalogue(150, 3), lab.rows(*lengths)
    trie, wrapped = Trie.from_token_ids(ids), adapted(lab, tied_or_not(lab, architecture, tied))
    for unmerged in (True, False):
        model = wrapped if unmerged else wrapped.merge_and_unload()
        items, scores = generate(model, rows, ids, 6)
        beams = beam_search(SharedReader(model), PromptBatch.of(rows), trie, 6)
        torch.testing.assert_close(beams.log_probs, scores, **TOLERANCE)
        assert beams.items.tolist() == items.tolist()


@pytest.mark.parametrize("reader", [SharedReader, PlainReader])
def test_generation_config_is_ignored(lab: Lab, reader: Any) -> None:
    model, trie, prompts = lab.model("llama"), Trie.from_token_ids(lab.catalogue(80, 4)), lab.prompts(7, 4)
    before = beam_search(reader(model), prompts, trie, beam_size=5)
    unusual = {"num_beams": 3, "temperature": 9.0, "do_sample": True, "repetition_penalty": 5.0, "max_length": 1}
    unusual |= {"top_k": 1, "bad_words_ids": [[40]], "suppress_tokens": [33], "eos_token_id": 35, "use_cache": False}
    unusual |= {"length_penalty": 7.0, "renormalize_logits": True, "forced_bos_token_id": 3, "num_return_sequences": 2}
    for name, value in unusual.items():
        setattr(model.generation_config, name, value)
    model.config.use_cache = False
    after = beam_search(reader(model), prompts, trie, beam_size=5)
    assert after.items.equal(before.items)
    assert after.log_probs.equal(before.log_probs)
    assert rows_of(prompts) == lab.rows(7, 4)


UNUSUAL = {"num_beams": 3, "num_return_sequences": 2, "do_sample": True, "temperature": 9.0, "top_k": 1}
UNUSUAL |= {"repetition_penalty": 5.0, "no_repeat_ngram_size": 1, "length_penalty": 7.0, "max_length": 1}
UNUSUAL |= {"forced_bos_token_id": 3, "forced_eos_token_id": 4, "suppress_tokens": [33], "bad_words_ids": [[40]]}
UNUSUAL |= {"begin_suppress_tokens": [34], "eos_token_id": 35, "renormalize_logits": True, "use_cache": False}


@pytest.mark.parametrize("normalizer", ["full", "legal"])
@pytest.mark.parametrize("reader", [SharedReader, PlainReader])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_generation_config_on_disk_is_ignored(
    lab: Lab, architecture: str, reader: Any, normalizer: str, tmp_path: Path
) -> None:
    model, trie, prompts = lab.model(architecture), Trie.from_token_ids(lab.catalogue(80, 4)), lab.prompts(7, 4)
    before = beam_search(reader(model), prompts, trie, 5, normalizer)
    model.save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps(UNUSUAL), encoding="utf-8")
    loaded = load_saved(tmp_path, "sdpa").eval()
    assert not any(getattr(loaded.generation_config, name) == value for name, value in UNUSUAL.items())
    after = beam_search(reader(loaded), prompts, trie, 5, normalizer)
    assert after.items.equal(before.items)
    torch.testing.assert_close(after.log_probs, before.log_probs, rtol=1e-6, atol=1e-5)  # other memory, other kernels
