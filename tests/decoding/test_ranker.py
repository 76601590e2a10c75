"""Ranking of many users, compared with exhaustive scoring: order, batches, out-of-memory handling and bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import GraniteConfig

from recbole_lcrec.decoding import Beams, PlainReader, Ranker, Trie, ranker
from recbole_lcrec.decoding.beam_search import branch_tokens
from tests.decoding.conftest import TOLERANCE, Lab, Watched, assert_best, decoding_settings, ranker_for, users_of

LENGTHS = (9, 3, 14, 1, 6, 20, 9, 11, 2, 17, 5)


@pytest.mark.parametrize("max_tokens", [1, 120, 10_000])
def test_users_keep_their_order(lab: Lab, max_tokens: int) -> None:
    """User by user, in batches of similar length, and all at once."""
    model, ids, rows = lab.model("llama"), lab.catalogue(50, 3), lab.rows(*LENGTHS)
    decoder = ranker_for(model, Trie.from_token_ids(ids), decoding_settings(beam_size=50, max_tokens=max_tokens))
    beams = decoder.rank(users_of(rows), k=10)
    assert beams.items.shape == (11, 50) and beams.items.device.type == "cpu"
    assert_best(beams, lab.exhaustive(model, rows, ids))


def test_batches_keep_the_token_budget(lab: Lab) -> None:
    decoder = ranker_for(
        lab.model("llama"), Trie.from_token_ids(lab.catalogue(60, 3)), decoding_settings(max_tokens=90)
    )
    reader = Watched(decoder.reader)
    Ranker(reader, decoder.trie, decoder.settings, decoder.device).rank(users_of(lab.rows(*LENGTHS)), k=5)
    assert sum(len(batch) for batch, _ in reader.read_batches) == 11
    assert len(reader.read_batches) > 2
    for batch, room in reader.read_batches:
        assert room == branch_tokens(decoder.trie, 5) == 5 + 5
        assert len(batch) * (int(batch.lengths.max()) + room) <= 90


@pytest.mark.parametrize("at_once", [4, 8, 11])
def test_batches_do_not_depend_on_users_per_call(lab: Lab, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranker, "_USERS_PER_GROUP", 4)
    decoder = ranker_for(
        lab.model("llama"), Trie.from_token_ids(lab.catalogue(60, 3)), decoding_settings(max_tokens=90)
    )
    reader, rows = Watched(decoder.reader), lab.rows(*LENGTHS)
    watched = Ranker(reader, decoder.trie, decoder.settings, decoder.device)
    users = users_of(rows)
    for start in range(0, len(users), at_once):
        watched.rank(users[start : start + at_once], k=5)
    lengths = [sorted(batch.lengths.tolist()) for batch, _ in reader.read_batches]
    expected = [list(LENGTHS[start : start + 4]) for start in (0, 4, 8)]
    for group in expected:  # each batch lies within a group, and each group is finished before the next
        taken: list[int] = []
        while len(taken) < len(group):
            taken += lengths.pop(0)
        assert sorted(taken) == sorted(group)
    assert not lengths


@pytest.mark.parametrize("exact", [False, True])
def test_excluded_items_of_each_user(lab: Lab, exact: bool) -> None:
    """With batches in another order than the users; excluded items may be missing from a restricted trie."""
    model, ids, rows = lab.model("qwen3"), lab.catalogue(60, 3, n_codes=5), lab.rows(*LENGTHS)
    allowed = [item for item in range(60) if item % 7]
    excluded = [[(user * 5 + step) % 60 for step in range(3 * (user % 4))] for user in range(11)]
    truth = lab.exhaustive(model, rows, ids)
    truth[:, ::7] = -torch.inf
    for user, items in enumerate(excluded):
        truth[user, items] = -torch.inf
    settings = decoding_settings(beam_size=6 if exact else 60, exact=exact, max_tokens=150)
    trie = Trie.from_token_ids(ids).restricted(allowed)
    beams = ranker_for(model, trie, settings).rank(users_of(rows), 6, excluded)
    assert_best(Beams(beams.items[:, :6], beams.log_probs[:, :6], beams.bound), truth)


def test_too_few_items_left_are_counted_in_the_error(lab: Lab) -> None:
    model, rows = lab.model("llama"), lab.rows(5, 3, 8)
    trie = Trie.from_token_ids(lab.catalogue(10, 3))
    decoder = ranker_for(model, trie, decoding_settings(beam_size=5))
    excluded = [[0, 1], [0, 1, 2, 3, 4, 5, 6, 6], list(range(10))]
    with pytest.raises(ValueError, match=r"k = 5 items .* fewer are left for 2 users.*\(user 1\) has 3 of 10"):
        decoder.rank(users_of(rows), 5, excluded)
    found = decoder.rank(users_of(rows)[:2], 3, excluded[:2])
    assert (found.items[1, 3:] == -1).all() and set(found.items[1, :3].tolist()) == {7, 8, 9}
    few = ranker_for(model, trie.restricted([1, 2, 3]), decoding_settings(beam_size=5))
    with pytest.raises(ValueError, match="k = 4 items are requested, but there are 5 beams and 3 allowed items"):
        few.rank(users_of(rows), 4)
    assert few.rank(users_of(rows), 3).items.sort(dim=1).values.tolist() == [[1, 2, 3]] * 3


@pytest.mark.parametrize(
    "err", [MemoryError, lambda: torch.OutOfMemoryError("out"), lambda: RuntimeError("DefaultCPUAllocator: no")]
)
def test_out_of_memory_only_makes_batches_smaller(lab: Lab, err: Any, caplog: pytest.LogCaptureFixture) -> None:
    decoder = ranker_for(lab.model("llama"), Trie.from_token_ids(lab.catalogue(80, 3)), decoding_settings(beam_size=7))
    users = users_of(lab.rows(*LENGTHS))
    plenty = decoder.rank(users, 7)
    poor = Watched(decoder.reader, 110, err)
    beams = Ranker(poor, decoder.trie, decoder.settings, decoder.device).rank(users, 7)
    assert "Not enough memory to decode 11 users at once" in caplog.text
    assert {room for _, room in poor.read_batches} == {7 + 7}
    assert sum(len(batch) for batch, _ in poor.read_batches) == 11
    assert beams.items.equal(plenty.items)
    torch.testing.assert_close(beams.log_probs, plenty.log_probs, **TOLERANCE)
    with pytest.raises(RuntimeError, match="not enough memory to decode a single user"):
        Ranker(Watched(decoder.reader, 20, err), decoder.trie, decoder.settings, decoder.device).rank(users, 7)
    scores = Ranker(poor, decoder.trie, decoder.settings, decoder.device).score(users, beams.items.tolist())
    torch.testing.assert_close(torch.from_numpy(np.stack(scores)), beams.log_probs, **TOLERANCE)


@pytest.mark.parametrize("normalizer", ["full", "legal"])
def test_scores_equal_ranked_log_probs(lab: Lab, normalizer: str) -> None:
    """Different numbers of candidates, in any order, some twice; -1 is padding."""
    model, ids, rows = lab.model("gpt2"), lab.catalogue(50, 3), lab.rows(*LENGTHS, 8)
    settings = decoding_settings(beam_size=50, normalizer=normalizer, max_tokens=300)
    decoder, users = ranker_for(model, Trie.from_token_ids(ids), settings), users_of(rows, 2)
    candidates = [[3, 49, 3], [], [7], [0, -1, 20, 21, 22], [11], [5, 6]]
    scores = decoder.score(users, candidates)
    ranked = decoder.rank(users, 50)
    for user, items in enumerate(candidates):
        of_item = dict(zip(ranked.items[user].tolist(), ranked.log_probs[user].tolist(), strict=True)) | {
            -1: -torch.inf
        }
        assert scores[user].dtype == "float32"
        assert scores[user].tolist() == pytest.approx([of_item[item] for item in items], rel=1e-5, abs=1e-4)
    assert [row.tolist() for row in decoder.score(users, [[]] * 6)] == [[]] * 6
    assert decoder.score([], []) == []


def test_trie_moves_to_the_device(lab: Lab) -> None:
    trie, model = Trie.from_token_ids(lab.catalogue(20, 2)), lab.model("llama")
    assert Ranker(PlainReader(model), trie, decoding_settings(), torch.device("meta")).trie.device.type == "meta"
    assert trie.device.type == "cpu"


def test_no_users(lab: Lab) -> None:
    decoder = ranker_for(lab.model("llama"), Trie.from_token_ids(lab.catalogue(40, 3)), decoding_settings(exact=True))
    assert decoder.rank([], 3).items.shape == (0, 5)


def test_settings_select_the_reader(lab: Lab) -> None:
    model, ids, rows = lab.built(GraniteConfig(**lab.sizes(), logits_scaling=3.0)), lab.catalogue(20, 2), lab.rows(5, 8)
    trie = Trie.from_token_ids(ids)
    with pytest.raises(ValueError, match="decoding_search: plain"):
        ranker_for(model, trie, decoding_settings())
    decoder = ranker_for(model, trie, decoding_settings(search="plain", beam_size=20))
    assert isinstance(decoder.reader, PlainReader)
    assert_best(decoder.rank(users_of(rows), 5), lab.exhaustive(model, rows, ids))


def test_beam_size_of_a_call(lab: Lab) -> None:
    model, ids, rows = lab.model("llama"), lab.catalogue(40, 3), lab.rows(5, 8)
    decoder = ranker_for(model, Trie.from_token_ids(ids), decoding_settings(beam_size=5))
    assert_best(decoder.rank(users_of(rows), 30, beam_size=40), lab.exhaustive(model, rows, ids))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"k": 6}, "k = 6 items are requested, but there are 5 beams and 40 allowed items"),
        ({"k": 0}, "k = 0: request at least 1 item"),
        ({"beam_size": 0, "k": 1}, "k = 1 items are requested, but there are 0 beams"),
        ({"prompts": [[[1, 2]], [[3], [4]]]}, r"users have \[1, 2\] prompts"),
        ({"prompts": [[], []]}, r"users have \[0\] prompts"),
        ({"prompts": [[[1, 2]], [[]]]}, "user 1 has an empty prompt"),
        ({"prompts": [[[1, 2], [3]], [[4], []]]}, "user 1 has an empty prompt"),
        ({"prompts": [[[1] * 63], [[2]]]}, "prompt of 63 tokens and 2 index tokens"),
        ({"excluded": [[1]]}, "excluded: rows of 1 users, but prompts of 2"),
        ({"excluded": [[1], [40]]}, "item row 40 does not exist"),
    ],
)
def test_bad_input_is_an_error(lab: Lab, changed: dict[str, Any], message: str) -> None:
    decoder = ranker_for(lab.model("llama"), Trie.from_token_ids(lab.catalogue(40, 3)), decoding_settings())
    arguments: dict[str, Any] = {"prompts": [[[1, 2]], [[3]]], "k": 3}
    with pytest.raises(ValueError, match=message):
        decoder.rank(**arguments | changed)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([[1]], "items: rows of 1 users, but prompts of 2"),
        ([[1], [40]], "item row 40 does not exist"),
        ([[1], [7]], "row 7 is not in the trie"),
    ],
)
def test_bad_candidates_are_errors(lab: Lab, items: list[list[int]], message: str) -> None:
    trie = Trie.from_token_ids(lab.catalogue(40, 3)).restricted([1, 2])
    with pytest.raises(ValueError, match=message):
        ranker_for(lab.model("llama"), trie, decoding_settings()).score([[[1, 2]], [[3]]], items)


def test_nan_weights_are_an_error(lab: Lab) -> None:
    model = lab.model("llama")
    torch.nn.init.constant_(model.lm_head.weight, torch.nan)
    with pytest.raises(RuntimeError, match="NaN"):
        ranker_for(model, Trie.from_token_ids(lab.catalogue(40, 3)), decoding_settings()).rank([[[1, 2]]], 3)
