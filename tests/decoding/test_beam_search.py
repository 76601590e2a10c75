"""Beam search against exhaustive scoring of all items, and against transformers' own constrained ``generate``."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from recbole_lcrec.decoding import Beams, Trie, beam_search
from recbole_lcrec.decoding.beam_search import _best

ARCHITECTURES = ("llama", "qwen2", "qwen3", "mistral", "gpt2")
BACKENDS = [(architecture, attention) for architecture in ARCHITECTURES for attention in ("sdpa", "eager")]
TOLERANCE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-4}


def assert_ranks(beams: Beams, truth: Tensor) -> None:
    """The beams hold distinct items with their true scores [B, N], in descending order."""
    assert beams.items.dtype == torch.int64
    assert beams.log_probs.dtype == torch.float32
    assert torch.isfinite(beams.log_probs).all()
    assert (beams.log_probs[:, 1:] <= beams.log_probs[:, :-1]).all()
    assert all(len(set(row)) == len(row) for row in beams.items.tolist())
    torch.testing.assert_close(beams.log_probs, truth.gather(1, beams.items), **TOLERANCE)


@pytest.mark.parametrize(("architecture", "attention"), BACKENDS)
def test_a_beam_as_wide_as_the_catalogue_is_the_exact_ranking(lab: Any, architecture: str, attention: str) -> None:
    model, ids, prompts = lab.model(architecture, attention), lab.catalogue(60, 4), lab.prompts(9, 3, 1, 14)
    truth = lab.exhaustive(model, prompts, ids)
    assert truth.std(dim=1).min() > 1
    beams = beam_search(model, *prompts, Trie.from_token_ids(ids), beam_size=60)
    assert beams.items.shape == (4, 60)
    assert_ranks(beams, truth)
    torch.testing.assert_close(beams.log_probs, truth.sort(dim=1, descending=True).values, **TOLERANCE)


def generate(model: Any, prompts: tuple[Tensor, Tensor], ids: Tensor, beam_size: int) -> tuple[Tensor, Tensor]:
    """Items and scores [B, M] by transformers' beam search under a prefix function."""
    item_of = {tuple(row): item for item, row in enumerate(ids.tolist())}
    after: dict[tuple[int, ...], set[int]] = {}
    for row in item_of:
        for depth in range(len(row)):
            after.setdefault(row[:depth], set()).add(row[depth])
    length = prompts[0].shape[1]
    found = model.generate(
        input_ids=prompts[0],
        attention_mask=prompts[1],
        prefix_allowed_tokens_fn=lambda user, sequence: sorted(after[tuple(sequence[length:].tolist())]),
        num_beams=beam_size,
        num_return_sequences=beam_size,
        max_new_tokens=ids.shape[1],
        length_penalty=0.0,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
    )
    items = [item_of[tuple(row)] for row in found.sequences[:, length:].tolist()]
    return torch.tensor(items).view(-1, beam_size), found.sequences_scores.view(-1, beam_size)


@pytest.mark.parametrize(("architecture", "attention"), BACKENDS)
def test_same_items_and_scores_as_generate(lab: Any, architecture: str, attention: str) -> None:
    model, ids, prompts = lab.model(architecture, attention), lab.catalogue(150, 3), lab.prompts(5, 12, 2)
    items, scores = generate(model, prompts, ids, beam_size=6)
    beams = beam_search(model, *prompts, Trie.from_token_ids(ids), beam_size=6)
    assert beams.items.tolist() == items.tolist()
    torch.testing.assert_close(beams.log_probs, scores, **TOLERANCE)


def test_a_hostile_generation_configuration_changes_nothing(lab: Any) -> None:
    model, trie, prompts = lab.model("llama"), Trie.from_token_ids(lab.catalogue(80, 4)), lab.prompts(7, 4)
    before = beam_search(model, *prompts, trie, beam_size=5)
    hostile = {"num_beams": 3, "temperature": 9.0, "do_sample": True, "repetition_penalty": 5.0, "max_length": 2}
    for name, value in hostile.items():
        setattr(model.generation_config, name, value)
    model.config.use_cache = False
    after = beam_search(model, *prompts, trie, beam_size=5)
    assert after.items.equal(before.items)
    assert after.log_probs.equal(before.log_probs)


@pytest.mark.parametrize(("architecture", "attention"), BACKENDS)
def test_neighbours_and_padding_in_the_batch_do_not_matter(lab: Any, architecture: str, attention: str) -> None:
    model, trie = lab.model(architecture, attention), Trie.from_token_ids(lab.catalogue(100, 4))
    words, mask = lab.prompts(11, 2, 7, 20, 1, 5, 13, 3)
    together = beam_search(model, words, mask, trie, beam_size=8)
    for user in range(len(words)):
        prompt = words[user, mask[user].bool()].unsqueeze(0)
        alone = beam_search(model, prompt, torch.ones_like(prompt), trie, beam_size=8)
        assert alone.items[0].tolist() == together.items[user].tolist()
        torch.testing.assert_close(alone.log_probs[0], together.log_probs[user], **TOLERANCE)


@pytest.mark.parametrize("beam_size", [1, 3, 10, 40, 1000])
@pytest.mark.parametrize(("n_levels", "n_codes"), [(1, 12), (2, 4), (3, 2), (4, 2)])
def test_levels_narrower_than_the_beam_lose_nothing(lab: Any, n_levels: int, n_codes: int, beam_size: int) -> None:
    ids = lab.catalogue(12, n_levels, n_codes)
    model, prompts = lab.model("qwen2"), lab.prompts(6, 2)
    beams = beam_search(model, *prompts, Trie.from_token_ids(ids), beam_size)
    truth = lab.exhaustive(model, prompts, ids)
    assert beams.items.shape == (2, min(beam_size, len(ids)))
    assert_ranks(beams, truth)
    if n_levels == 1 or beam_size >= len(ids):
        best = truth.topk(beams.items.shape[1]).values
        torch.testing.assert_close(beams.log_probs, best, **TOLERANCE)


def test_a_catalogue_of_one_item(lab: Any) -> None:
    model, ids, prompts = lab.model("gpt2"), lab.catalogue(1, 4), lab.prompts(3)
    beams = beam_search(model, *prompts, Trie.from_token_ids(ids), beam_size=20)
    assert beams.items.tolist() == [[0]]
    assert_ranks(beams, lab.exhaustive(model, prompts, ids))


def test_equal_scores_go_by_beam_and_then_by_token(lab: Any) -> None:
    model, prompts = lab.model("llama"), lab.prompts(4, 2)
    torch.nn.init.zeros_(model.lm_head.weight)
    ids = lab.catalogue(50, 2)
    beams = beam_search(model, *prompts, Trie.from_token_ids(ids), beam_size=50)
    in_order = sorted(range(50), key=lambda item: ids[item].tolist())
    assert beams.items.tolist() == [in_order, in_order]


def test_best_is_a_stable_descending_sort() -> None:
    generator = torch.Generator().manual_seed(3)
    scores = torch.randint(-4, 4, (20, 33), generator=generator).float() / 3
    scores[:, ::5] = -torch.inf
    scores[:, 1::7] = -0.0
    scores[0] = torch.randn(33, generator=generator) * 1e30
    for count in (1, 7, 33):
        expected = scores.sort(dim=1, descending=True, stable=True).indices[:, :count]
        assert _best(scores, count).equal(expected)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_tied_weights_and_lora(lab: Any, attention: str) -> None:
    peft = pytest.importorskip("peft")
    model = lab.model("llama", attention, tie_word_embeddings=True)
    ids, prompts = lab.catalogue(40, 3), lab.prompts(8, 3)
    trie = Trie.from_token_ids(ids)
    plain = beam_search(model, *prompts, trie, beam_size=40)
    assert_ranks(plain, lab.exhaustive(model, prompts, ids))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = peft.LoraConfig(
            r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
        )
        wrapped = peft.get_peft_model(model, config).eval()
    adapted = beam_search(wrapped, *prompts, trie, beam_size=40)
    assert_ranks(adapted, lab.exhaustive(wrapped, prompts, ids))
    assert not torch.allclose(adapted.log_probs, plain.log_probs, **TOLERANCE)
    merged = beam_search(wrapped.merge_and_unload(), *prompts, trie, beam_size=40)
    assert merged.items.equal(adapted.items)
    torch.testing.assert_close(merged.log_probs, adapted.log_probs, **TOLERANCE)


def test_half_precision_scores_are_finite_and_normalised_in_float32(lab: Any) -> None:
    ids, prompts = lab.catalogue(30, 4), lab.prompts(10, 2)
    model = lab.model("llama").to(torch.bfloat16)
    beams = beam_search(model, *prompts, Trie.from_token_ids(ids), beam_size=30)
    truth = lab.exhaustive(model, prompts, ids)
    assert beams.log_probs.dtype == torch.float32
    torch.testing.assert_close(beams.log_probs, truth.gather(1, beams.items), rtol=0.05, atol=0.3)


def test_results_may_be_changed_in_place(lab: Any) -> None:
    beams = beam_search(lab.model("llama"), *lab.prompts(4), Trie.from_token_ids(lab.catalogue(9, 2)), beam_size=3)
    beams.log_probs[:, 0] = 0.0
    beams.items[:, 0] = 1
    assert beams.log_probs[0, 0] == 0.0


def test_a_prompt_may_fill_all_positions_and_no_more(lab: Any) -> None:
    model, ids = lab.model("gpt2"), lab.catalogue(20, 4)
    trie, fitting = Trie.from_token_ids(ids), lab.prompts(61, 4)
    assert_ranks(beam_search(model, *fitting, trie, beam_size=20), lab.exhaustive(model, fitting, ids))
    with pytest.raises(ValueError, match=r"prompt of 62 tokens and 3 index tokens pass .*max_position_embeddings=64"):
        beam_search(model, *lab.prompts(62, 4), trie, beam_size=20)


def test_a_sliding_window_must_hold_prompt_and_index(lab: Any) -> None:
    model, ids = lab.model("mistral", sliding_window=16), lab.catalogue(20, 4)
    trie, fitting = Trie.from_token_ids(ids), lab.prompts(13, 5)
    assert_ranks(beam_search(model, *fitting, trie, beam_size=20), lab.exhaustive(model, fitting, ids))
    with pytest.raises(ValueError, match="sliding_window=16"):
        beam_search(model, *lab.prompts(14, 5), trie, beam_size=20)


def test_nan_logits_are_an_error(lab: Any) -> None:
    model = lab.model("llama")
    torch.nn.init.constant_(model.lm_head.weight, torch.nan)
    with pytest.raises(RuntimeError, match="NaN"):
        beam_search(model, *lab.prompts(4), Trie.from_token_ids(lab.catalogue(9, 2)), beam_size=3)


def test_training_mode_is_an_error(lab: Any) -> None:
    with pytest.raises(RuntimeError, match="training mode"):
        beam_search(lab.model("llama").train(), *lab.prompts(4), Trie.from_token_ids([[40, 50]]), beam_size=1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"beam_size": 0}, "beam_size=0"),
        ({"trie": Trie.from_token_ids([[40, 80]])}, "index token 80 is not among the model's 80 tokens"),
        ({"trie": Trie.from_token_ids([[40, 50]]).to("meta")}, "the trie is on meta"),
        ({"attention_mask": torch.tensor([[1, 1, 0]])}, "left-padded"),
        ({"attention_mask": torch.tensor([[1, 0, 1]])}, "left-padded"),
        ({"attention_mask": torch.tensor([[0, 0, 0]])}, "row 0 is all padding"),
        ({"attention_mask": torch.tensor([[1, 1]])}, r"must both be \[B, L\]"),
    ],
)
def test_bad_input_is_named(lab: Any, changed: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "model": lab.model("llama"),
        "input_ids": torch.tensor([[1, 2, 3]]),
        "attention_mask": torch.ones((1, 3), dtype=torch.int64),
        "trie": Trie.from_token_ids([[40, 50], [40, 51]]),
        "beam_size": 2,
    }
    with pytest.raises(ValueError, match=message):
        beam_search(**arguments | changed)


def test_attention_that_ignores_the_mask_is_refused(lab: Any) -> None:
    model = lab.model("llama")
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="flash_attention_2"):
        beam_search(model, *lab.prompts(4), Trie.from_token_ids([[40, 50]]), beam_size=1)
