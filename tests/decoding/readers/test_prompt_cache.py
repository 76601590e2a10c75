"""Keys and values of prompts are held once and never moved; branches attend to their own ancestors only."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from recbole_lcrec.decoding import PlainReader, SharedReader, Trie, beam_search
from recbole_lcrec.decoding.readers import causal as reader
from recbole_lcrec.decoding.readers import prompt_cache
from recbole_lcrec.decoding.readers.prompt_cache import PromptCache, shared_cache
from tests.decoding.conftest import ARCHITECTURES, BACKENDS, TOLERANCE, Lab, tokens_read


def test_keys_are_written_in_place() -> None:
    cache = shared_cache(2, 6)
    first = torch.arange(24.0).view(1, 2, 3, 4)
    keys, values = cache.update(first, -first, 0)
    assert keys.equal(first) and values.equal(-first)
    place = cache.layers[0].keys.data_ptr()
    more = 100 + torch.arange(32.0).view(2, 2, 2, 4)
    keys, values = cache.update(more, -more, 0)
    assert keys.equal(torch.cat([first.expand(2, -1, -1, -1), more], dim=2)) and values.equal(-keys)
    assert cache.get_seq_length() == 5
    last = torch.ones(2, 2, 1, 4)
    cache.update(last, last, 0)
    assert cache.layers[0].keys.data_ptr() == place
    assert cache.layers[0].keys.shape == (2, 2, 6, 4)


@pytest.mark.parametrize("beam_size", [4, 30])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_prompt_is_cached_once_for_all_beams(
    lab: Lab, architecture: str, beam_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is [R, heads, prompt + beams of the inner levels, d] for each layer; nothing is copied between levels."""
    model, trie = lab.model(architecture), Trie.from_token_ids(lab.catalogue(300, 4))
    caches: list[Any] = []
    places: list[list[int]] = []

    def recorded(rows: int, room: int) -> Any:
        caches.append(shared_cache(rows, room))
        return caches[-1]

    extend = PromptCache.extend

    def watched(self: PromptCache, tokens: Tensor, parents: Tensor) -> Tensor:
        states = extend(self, tokens, parents)
        places.append([value.data_ptr() for layer in caches[-1].layers for value in (layer.keys, layer.values)])
        return states

    opened = SharedReader(model)
    monkeypatch.setattr(reader, "shared_cache", recorded)
    monkeypatch.setattr(PromptCache, "extend", watched)
    beam_search(opened, lab.prompts(20, 12, 17, common=9), trie, beam_size)
    (cache,) = caches
    room = 20 + sum(min(beam_size, trie.level_size(level)) for level in (1, 2, 3))
    n_heads = 4 if architecture == "gpt2" else 2
    assert len(places) == 3 and places[0] == places[1] == places[2]
    assert [layer.filled for layer in cache.layers] == [room, room]
    for layer in cache.layers:
        for held in (layer.keys, layer.values):
            assert held.shape == (3, n_heads, room, 8)
            assert held.untyped_storage().nbytes() == 3 * n_heads * room * 8 * 4


@pytest.mark.parametrize("mask_bytes", [1, 3 * 40 * 4 * 5])
@pytest.mark.parametrize(("architecture", "attention"), BACKENDS)
def test_many_branches_are_read_in_chunks(
    lab: Lab, architecture: str, attention: str, mask_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One by one, and a few at a time: the same as all at once."""
    opened, trie = SharedReader(lab.model(architecture, attention)), Trie.from_token_ids(lab.catalogue(200, 4))
    prompts = lab.prompts(9, 4, 13)
    whole = beam_search(opened, prompts, trie, 11)
    monkeypatch.setattr(prompt_cache, "_MASK_BYTES", mask_bytes)
    with tokens_read(opened._model) as counts:
        parts = beam_search(opened, prompts, trie, 11)
    assert len(counts) > 7 and sum(counts) == 3 * (13 + 3 * 11)
    assert parts.items.equal(whole.items)
    torch.testing.assert_close(parts.log_probs, whole.log_probs, **TOLERANCE)


@pytest.mark.parametrize(("architecture", "attention"), BACKENDS)
def test_branches_can_continue_any_branch(lab: Lab, architecture: str, attention: str) -> None:
    """More and fewer branches than before, in any order, some twice, one never; each as if it were read separately."""
    model, prompts = lab.model(architecture, attention), lab.prompts(5, 9)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        shared, states = SharedReader(model).read(prompts, 3 + 5 + 2)
        plain, logits = PlainReader(model).read(prompts, 10)
        head = model.get_output_embeddings()
        torch.testing.assert_close(head(states), logits, **TOLERANCE)
        for count, n_before in ((3, 1), (5, 3), (2, 5)):
            tokens = torch.randint(1, 80, (2, count), generator=generator)
            parents = torch.randint(0, n_before, (2, count), generator=generator)
            torch.testing.assert_close(head(shared.extend(tokens, parents)), plain.extend(tokens, parents), **TOLERANCE)
