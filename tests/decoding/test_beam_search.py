"""Beam search, compared with exhaustive scoring of all items: scores, order, exclusion and bad input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from recbole_lcrec.decoding import PlainReader, PromptBatch, SharedReader, Trie, beam_search
from recbole_lcrec.decoding.beam_search import _top_positions
from recbole_lcrec.decoding.exclusion import excluded_nodes
from tests.decoding.conftest import ARCHITECTURES, BACKENDS, TOLERANCE, Lab, assert_best, assert_ranks, rows_of

LENGTHS = (9, 3, 1, 14)
READERS = (SharedReader, PlainReader)


@pytest.mark.parametrize(("architecture", "attention"), BACKENDS)
@pytest.mark.parametrize("common", [0, 10])
def test_beam_of_catalogue_size_gives_the_exact_ranking(
    lab: Lab, architecture: str, attention: str, common: int
) -> None:
    model, ids = lab.model(architecture, attention), lab.catalogue(60, 4)
    prompts = lab.prompts(*((17, 11, 12, 20) if common else LENGTHS), common=common)
    truth = lab.exhaustive(model, prompts, ids)
    assert truth.std(dim=1).min() > 1
    beams = beam_search(SharedReader(model), prompts, Trie.from_token_ids(ids), beam_size=60)
    assert beams.items.shape == (4, 60)
    assert_best(beams, truth)
    assert beams.bound.isneginf().all() and beams.certified(60).all()


def tied_or_not(lab: Lab, architecture: str, tied: bool, attention: str = "sdpa") -> PreTrainedModel:
    """A random model with a tied or an untied output head."""
    config = lab.model(architecture).config
    config.tie_word_embeddings = tied
    model = lab.built(config, attention)
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == tied
    return model


@pytest.mark.parametrize("normalizer", ["full", "legal"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_tied_and_untied_vocabularies(lab: Lab, architecture: str, tied: bool, normalizer: str) -> None:
    model, ids, prompts = tied_or_not(lab, architecture, tied), lab.catalogue(40, 3), lab.prompts(18, 13, common=9)
    truth = lab.exhaustive(model, prompts, ids, legal=normalizer == "legal")
    for reader in READERS:
        assert_best(beam_search(reader(model), prompts, Trie.from_token_ids(ids), 40, normalizer), truth)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("architecture", "attention"), BACKENDS)
def test_legal_probabilities_sum_to_one_over_items(lab: Lab, architecture: str, attention: str, reader: Any) -> None:
    model, ids, prompts = lab.model(architecture, attention), lab.catalogue(30, 3, n_codes=5), lab.prompts(12, 4, 10)
    truth = lab.exhaustive(model, prompts, ids, legal=True)
    torch.testing.assert_close(truth.exp().sum(dim=1), torch.ones(3))
    assert_best(beam_search(reader(model), prompts, Trie.from_token_ids(ids), 30, "legal"), truth)


@pytest.mark.parametrize("normalizer", ["full", "legal"])
@pytest.mark.parametrize(("architecture", "attention"), BACKENDS)
def test_shared_and_plain_readers_agree(lab: Lab, architecture: str, attention: str, normalizer: str) -> None:
    model, trie = lab.model(architecture, attention), Trie.from_token_ids(lab.catalogue(200, 4))
    for prompts in (lab.prompts(6, 20, 1), lab.prompts(15, 11, 13, common=10)):
        shared = beam_search(SharedReader(model), prompts, trie, 7, normalizer)
        plain = beam_search(PlainReader(model), prompts, trie, 7, normalizer)
        assert shared.items.equal(plain.items)
        torch.testing.assert_close(shared.log_probs, plain.log_probs, **TOLERANCE)
        torch.testing.assert_close(shared.bound, plain.bound, **TOLERANCE)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("legal", [False, True])
@pytest.mark.parametrize("n_templates", [2, 3])
def test_ensemble_adds_scores_over_prompts(lab: Lab, n_templates: int, legal: bool, reader: Any) -> None:
    model, ids = lab.model("qwen2"), lab.catalogue(50, 3)
    prompts = lab.prompts(*(12, 4, 9, 7, 15, 3)[: 2 * n_templates])
    truth = lab.exhaustive(model, prompts, ids, legal).unflatten(0, (2, n_templates)).sum(1)
    trie, normalizer = Trie.from_token_ids(ids), "legal" if legal else "full"
    beams = beam_search(reader(model), prompts, trie, 50, normalizer, n_templates=n_templates)
    assert beams.items.shape == (2, 50)
    assert_best(beams, truth)
    few = beam_search(reader(model), prompts, trie, 6, normalizer, n_templates=n_templates)
    assert_ranks(few, truth)


@pytest.mark.parametrize(("architecture", "attention"), BACKENDS)
def test_scores_do_not_depend_on_the_batch(lab: Lab, architecture: str, attention: str) -> None:
    reader, trie = SharedReader(lab.model(architecture, attention)), Trie.from_token_ids(lab.catalogue(100, 4))
    prompts = lab.prompts(11, 2, 7, 20, 1, 5, 13, 3)
    together = beam_search(reader, prompts, trie, 8)
    for user, row in enumerate(rows_of(prompts)):
        alone = beam_search(reader, PromptBatch.of([row]), trie, 8)
        assert alone.items[0].tolist() == together.items[user].tolist()
        torch.testing.assert_close(alone.log_probs[0], together.log_probs[user], **TOLERANCE)


@pytest.mark.parametrize("beam_size", [1, 3, 10, 40, 1000])
@pytest.mark.parametrize(("n_levels", "n_codes"), [(1, 12), (2, 4), (3, 2), (4, 2)])
def test_levels_narrower_than_the_beam(lab: Lab, n_levels: int, n_codes: int, beam_size: int) -> None:
    ids = lab.catalogue({1: 12, 2: 12, 3: 8, 4: 12}[n_levels], n_levels, n_codes)
    model, prompts = lab.model("qwen2"), lab.prompts(6, 2)
    beams = beam_search(SharedReader(model), prompts, Trie.from_token_ids(ids), beam_size)
    truth = lab.exhaustive(model, prompts, ids)
    assert beams.items.shape == (2, min(beam_size, len(ids)))
    assert_ranks(beams, truth)
    if n_levels == 1 or beam_size >= len(ids):
        assert_best(beams, truth)


def test_catalogue_of_one_item(lab: Lab) -> None:
    model, ids, prompts = lab.model("gpt2"), lab.catalogue(1, 4), lab.prompts(3)
    beams = beam_search(SharedReader(model), prompts, Trie.from_token_ids(ids), beam_size=20)
    assert beams.items.tolist() == [[0]]
    assert_ranks(beams, lab.exhaustive(model, prompts, ids))


def test_ties_are_broken_by_beam_then_token(lab: Lab) -> None:
    model, prompts = lab.model("llama"), lab.prompts(4, 2)
    torch.nn.init.zeros_(model.lm_head.weight)
    ids = lab.catalogue(50, 2)
    beams = beam_search(SharedReader(model), prompts, Trie.from_token_ids(ids), beam_size=50)
    in_order = sorted(range(50), key=lambda item: ids[item].tolist())
    assert beams.items.tolist() == [in_order, in_order]


def test_top_positions_sort_stably() -> None:
    generator = torch.Generator().manual_seed(3)
    scores = torch.randint(-4, 4, (20, 33), generator=generator).float() / 3
    scores[:, ::5] = -torch.inf
    scores[:, 1::7] = -0.0
    scores[0] = torch.randn(33, generator=generator) * 1e30
    for count in (1, 7, 33):
        expected = scores.sort(dim=1, descending=True, stable=True).indices[:, :count]
        assert _top_positions(scores, count).equal(expected)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("normalizer", ["full", "legal"])
def test_excluded_items_are_never_found(lab: Lab, reader: Any, normalizer: str) -> None:
    """Single items, all items below a first token, and none; probabilities are not renormalised."""
    model, ids, prompts = lab.model("mistral"), lab.catalogue(60, 3, n_codes=5), lab.prompts(7, 12, 4)
    trie = Trie.from_token_ids(ids)
    subtree = (ids[:, 0] == ids[7, 0]).nonzero().squeeze(1).tolist()
    left_out = [[5, 9, 5, 31], subtree, []]
    assert len(subtree) > 5
    rows = torch.full((3, len(subtree)), -1)
    for user, items in enumerate(left_out):
        rows[user, : len(items)] = torch.tensor(items, dtype=torch.int64)
    truth = lab.exhaustive(model, prompts, ids, legal=normalizer == "legal")
    for user, items in enumerate(left_out):
        truth[user, items] = -torch.inf
    excluded = excluded_nodes(trie, rows)
    everything = beam_search(reader(model), prompts, trie, 60, normalizer, excluded)
    for user, items in enumerate(left_out):
        n_left = 60 - len(set(items))
        assert (everything.items[user, n_left:] == -1).all()
        assert everything.log_probs[user, n_left:].isneginf().all()
        assert set(everything.items[user, :n_left].tolist()) == set(range(60)) - set(items)
        torch.testing.assert_close(everything.log_probs[user], truth[user].sort(descending=True).values, **TOLERANCE)
    few = beam_search(reader(model), prompts, trie, 6, normalizer, excluded)
    assert_ranks(few, truth)
    best = truth.sort(dim=1, descending=True).values
    for k in range(1, 7):
        torch.testing.assert_close(few.log_probs[few.certified(k), :k], best[few.certified(k), :k], **TOLERANCE)


def test_user_with_all_items_excluded_gets_none(lab: Lab) -> None:
    model, ids, prompts = lab.model("llama"), lab.catalogue(10, 3, n_codes=3), lab.prompts(5, 6)
    trie = Trie.from_token_ids(ids)
    excluded = excluded_nodes(trie, torch.stack([torch.arange(10), torch.tensor([*range(9), -1])]))
    beams = beam_search(SharedReader(model), prompts, trie, 4, excluded=excluded)
    assert beams.items.tolist() == [[-1] * 4, [9, -1, -1, -1]]
    assert beams.log_probs.isneginf().sum(dim=1).tolist() == [4, 3]


def test_restricted_trie_ranks_allowed_items(lab: Lab) -> None:
    model, ids, prompts = lab.model("qwen3"), lab.catalogue(80, 3), lab.prompts(6, 11)
    allowed = [3, 4, 70, 11, 25, 42, 12]
    trie = Trie.from_token_ids(ids).restricted(allowed)
    truth = lab.exhaustive(model, prompts, ids)
    forbidden = [item for item in range(80) if item not in allowed]
    truth[:, forbidden] = -torch.inf
    for beam_size in (7, 100):
        beams = beam_search(SharedReader(model), prompts, trie, beam_size)
        assert beams.items.shape == (2, 7)
        assert_best(beams, truth)
    legal = torch.full_like(truth, -torch.inf)
    legal[:, allowed] = lab.exhaustive(model, prompts, ids[allowed], legal=True)
    assert_best(beam_search(SharedReader(model), prompts, trie, 7, "legal"), legal)


def test_half_precision_scores_are_normalised_in_float32(lab: Lab) -> None:
    ids, prompts = lab.catalogue(30, 4), lab.prompts(18, 12, common=10)
    model = lab.model("llama").to(torch.bfloat16)
    truth = lab.exhaustive(model, prompts, ids)
    for reader in READERS:
        beams = beam_search(reader(model), prompts, Trie.from_token_ids(ids), beam_size=30)
        assert beams.log_probs.dtype == torch.float32
        torch.testing.assert_close(beams.log_probs, truth.gather(1, beams.items), rtol=0.05, atol=0.3)


def test_results_may_be_changed_in_place(lab: Lab) -> None:
    reader = SharedReader(lab.model("llama"))
    beams = beam_search(reader, lab.prompts(4), Trie.from_token_ids(lab.catalogue(9, 2)), beam_size=3)
    beams.log_probs[:, 0] = 0.0
    beams.items[:, 0] = 1
    assert beams.log_probs[0, 0] == 0.0


def test_weights_stay_trainable_after_a_search(lab: Lab) -> None:
    model = lab.model("llama")
    beam_search(SharedReader(model), lab.prompts(4), Trie.from_token_ids([[40, 50]]), beam_size=1)
    model(torch.tensor([[1, 2]]), labels=torch.tensor([[1, 2]])).loss.backward()
    assert model.lm_head.weight.grad is not None


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("normalizer", ["full", "legal"])
@pytest.mark.parametrize(("dtype", "value"), [(torch.float32, torch.nan), (torch.float16, 60000.0)])
def test_non_finite_logits_are_an_error(
    lab: Lab, reader: Any, normalizer: str, dtype: torch.dtype, value: float
) -> None:
    """NaN weights, and weights that make float16 overflow."""
    model = lab.model("llama").to(dtype)
    torch.nn.init.constant_(model.model.norm.weight, value)
    torch.nn.init.constant_(model.lm_head.weight, value)
    trie = Trie.from_token_ids(lab.catalogue(9, 2))
    with pytest.raises(RuntimeError, match=r"NaN or infinite.*bfloat16 or float32"):
        beam_search(reader(model), lab.prompts(4), trie, 3, normalizer)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"beam_size": 0}, "beam_size=0"),
        (
            {"trie": Trie.from_token_ids([[40, 80]])},
            "index token 80 is outside the model's vocabulary of 80",
        ),
        ({"trie": Trie.from_token_ids([[40, 50]]).to("meta")}, "the trie is on meta"),
        ({"n_templates": 2}, "1 prompts cannot be split into n_templates=2 per user"),
        ({"n_templates": 0}, "n_templates=0"),
        ({"normalizer": "half"}, "normalizer='half': must be one of full, legal"),
        (
            {"excluded": excluded_nodes(Trie.from_token_ids([[40]]), torch.tensor([[0]]))},
            "excluded: the nodes belong to another trie",
        ),
    ],
)
@pytest.mark.parametrize("reader", READERS)
def test_bad_input_is_an_error(lab: Lab, reader: Any, changed: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "reader": reader(lab.model("llama")),
        "prompts": PromptBatch.of([[1, 2, 3]]),
        "trie": Trie.from_token_ids([[40, 50], [40, 51]]),
        "beam_size": 2,
    }
    with pytest.raises(ValueError, match=message):
        beam_search(**arguments | changed)
