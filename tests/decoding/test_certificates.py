"""Certificates that the found items are the best of all, and search that is widened until there is one."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from recbole_lcrec.decoding import SharedReader, Trie, beam_search
from tests.decoding.conftest import TOLERANCE, Lab, assert_best, assert_ranks, decoding_settings, ranker_for, users_of

LENGTHS = (9, 3, 14, 1, 6, 20, 9, 11, 2, 17, 5)


@pytest.mark.parametrize("normalizer", ["full", "legal"])
@pytest.mark.parametrize("seed", range(6))
def test_certificates_are_correct(lab: Lab, seed: int, normalizer: str) -> None:
    """For random catalogues and beam sizes; both outcomes occur, and the bound is at least the best missed score."""
    model, ids = lab.model("llama"), lab.catalogue(150, 3, n_codes=7, seed=seed)
    prompts = lab.prompts(*range(3, 15), seed=seed)
    truth = lab.exhaustive(model, prompts, ids, legal=normalizer == "legal")
    best = truth.sort(dim=1, descending=True).values
    trie, verdicts = Trie.from_token_ids(ids), set()
    for beam_size in (1, 2, 5, 12):
        beams = beam_search(SharedReader(model), prompts, trie, beam_size, normalizer)
        missed = truth.scatter(1, beams.items, -torch.inf).amax(dim=1)
        assert (beams.bound >= missed - 1e-4).all()
        for k in range(1, beam_size + 1):
            certified = beams.certified(k)
            verdicts |= set(certified.tolist())
            torch.testing.assert_close(beams.log_probs[certified, :k], best[certified, :k], **TOLERANCE)
    assert verdicts == {True, False}


def test_certificate_needs_a_score_above_the_bound(lab: Lab) -> None:
    """Two levels; a beam of 1 drops the other first token, whose item may be better."""
    model, prompts = lab.model("llama"), lab.prompts(5)
    ids = torch.tensor([[40, 50], [41, 51], [41, 52]])
    beams = beam_search(SharedReader(model), prompts, Trie.from_token_ids(ids), beam_size=1)
    with torch.no_grad():
        first = model(prompts.ids).logits[0, -1].double().log_softmax(-1)[40:42]
    truth = lab.exhaustive(model, prompts, ids)[0]
    kept = int(first.argmax())
    dropped = [first[1 - kept].item()] + ([truth[1:].min().item()] if kept else [])
    assert beams.bound.item() == pytest.approx(max(dropped), abs=1e-4)
    assert beams.certified(1).tolist() == [beams.log_probs[0, 0].item() > max(dropped)]
    for k in (0, 2):
        with pytest.raises(ValueError, match=f"k = {k}: must be from 1 to 1, the number of beams"):
            beams.certified(k)


@pytest.mark.parametrize("search", ["shared", "plain"])
@pytest.mark.parametrize(
    ("normalizer", "n_templates", "beam_size", "k"),
    [("full", 1, 10, 1), ("full", 2, 20, 1), ("legal", 1, 4, 3), ("legal", 2, 4, 3)],
)
def test_exact_search_finds_the_best_of_all_items(
    lab: Lab, search: str, normalizer: str, n_templates: int, beam_size: int, k: int, caplog: pytest.LogCaptureFixture
) -> None:
    """With a beam size that certifies some users and not others."""
    model, ids, rows = lab.model("qwen2"), lab.catalogue(90, 3, n_codes=6), lab.rows(*LENGTHS, 4)
    changes: dict[str, Any] = {"beam_size": beam_size, "search": search, "normalizer": normalizer, "max_tokens": 200}
    trie, users = Trie.from_token_ids(ids), users_of(rows, n_templates)
    truth = lab.exhaustive(model, rows, ids, normalizer == "legal").unflatten(0, (len(users), n_templates)).sum(1)
    narrow = ranker_for(model, trie, decoding_settings(**changes)).rank(users, k)
    assert_ranks(narrow, truth)
    proved = narrow.certified(k)
    assert 0 < proved.sum() < len(users)
    with caplog.at_level(logging.DEBUG):
        beams = ranker_for(model, trie, decoding_settings(**changes, exact=True)).rank(users, k)
    assert beams.items.shape == (len(users), beam_size)
    assert beams.certified(k).all()
    assert_best(beams, truth, k)
    count = int((~proved).sum())
    assert (
        caplog.messages[0]
        == f"{count} users have no certificate for k = {k}: searching again with {2 * beam_size} beams"
    )
    assert beams.items[proved].equal(narrow.items[proved])


def test_exact_search_widens_up_to_all_items(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """All first tokens are equally likely, so only the widest beam gives a certificate."""
    model, ids = lab.model("llama"), torch.tensor([[32 + item, 44 + item % 4] for item in range(12)])
    with torch.no_grad():
        model.lm_head.weight[32:44] = 0.0
    rows = lab.rows(5, 8)
    with caplog.at_level(logging.DEBUG):
        beams = ranker_for(model, Trie.from_token_ids(ids), decoding_settings(beam_size=3, exact=True)).rank(
            users_of(rows), 1
        )
    assert [message.rsplit(" ", 2)[1] for message in caplog.messages] == ["6", "12"]
    assert_best(beams, lab.exhaustive(model, rows, ids), k=1)
    assert beams.bound.isneginf().all()
