"""The candidate trie, compared with sets of prefixes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lcrec.decoding.candidate_trie import CandidateTrie
from recbole_lcrec.decoding.trie import Trie
from tests.decoding.catalogues import Ids, Prefixes, catalogues


@settings(max_examples=60, deadline=None)
@given(catalogues, st.data())
def test_each_prefix_is_held_once_per_user(ids: Ids, data: st.DataObject) -> None:
    kept = data.draw(st.sets(st.integers(0, len(ids) - 1), min_size=1))
    trie, prefixes = Trie.from_token_ids(ids).restricted([*kept]), Prefixes(ids, kept)
    width = data.draw(st.integers(1, 12))
    item = st.sampled_from([-1, *sorted(kept)])
    users = data.draw(st.lists(st.lists(item, min_size=width, max_size=width), min_size=1, max_size=4))
    found = CandidateTrie.of(trie, torch.tensor(users))
    assert found.present.tolist() == [[candidate >= 0 for candidate in user] for user in users]
    prefixes_of_user: list[list[tuple[int, ...]]] = [[()] for _ in users]
    for level in range(1, trie.n_levels + 1):
        tokens, parents, valid = found.tokens[level - 1], found.parents[level - 1], found.valid[level - 1]
        expected = [sorted({prefixes.rows[c][:level] for c in user if c >= 0}) for user in users]
        assert tokens.shape == parents.shape == valid.shape == (len(users), max(1, *map(len, expected)))
        assert tokens.dtype == parents.dtype == torch.int64
        assert set(tokens.flatten().tolist()) <= set(trie.level_tokens(level - 1).tolist())
        assert not parents[~valid].any()
        assert level > 1 or not parents.any()
        for user, own in enumerate(expected):
            assert valid[user].tolist() == [place < len(own) for place in range(valid.shape[1])]
            steps = zip(parents[user, : len(own)].tolist(), tokens[user, : len(own)].tolist(), strict=True)
            assert [(*prefixes_of_user[user][parent], token) for parent, token in steps] == own
            prefixes_of_user[user] = own
    for user, candidates in enumerate(users):
        for place, candidate in zip(found.leaf_of_candidate[user].tolist(), candidates, strict=True):
            assert prefixes_of_user[user][place] == prefixes.rows[candidate] if candidate >= 0 else place == 0


def test_by_hand() -> None:
    trie = Trie.from_token_ids([[1, 5], [1, 6], [2, 5], [2, 7]])
    found = CandidateTrie.of(trie, torch.tensor([[3, 1, 1, 0], [-1, 2, -1, -1]]))
    assert [tokens.tolist() for tokens in found.tokens] == [[[1, 2], [2, 1]], [[5, 6, 7], [5, 5, 5]]]
    assert [parents.tolist() for parents in found.parents] == [[[0, 0], [0, 0]], [[0, 0, 1], [0, 0, 0]]]
    assert [valid.tolist() for valid in found.valid] == [
        [[True, True], [True, False]],
        [[True, True, True], [True, False, False]],
    ]
    assert found.leaf_of_candidate.tolist() == [[2, 1, 1, 0], [0, 0, 0, 0]]
    assert found.present.tolist() == [[True] * 4, [False, True, False, False]]


def test_bad_input_is_an_error() -> None:
    trie = Trie.from_token_ids([[1, 2], [1, 3], [2, 4]])
    for items in (torch.tensor([0, 1]), torch.zeros((0, 3), dtype=torch.int64), torch.zeros((3, 0), dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"must be \[R, C\]"):
            CandidateTrie.of(trie, items)
    for row in (-2, 3):
        with pytest.raises(ValueError, match=f"item row {row} does not exist"):
            CandidateTrie.of(trie, torch.tensor([[0, row]]))
    with pytest.raises(
        ValueError, match=r"row 1 is not in the trie \(2 such candidates\): only 2 of 3 items are allowed"
    ):
        CandidateTrie.of(trie.restricted([0, 2]), torch.tensor([[0, 1], [1, -1]]))
