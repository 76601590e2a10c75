"""Dead nodes, compared with the sets of items below each prefix."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lcrec.decoding.exclusion import excluded_nodes
from recbole_lcrec.decoding.trie import Trie
from tests.decoding.catalogues import Ids, Prefixes, catalogues


def rows(histories: list[list[int]]) -> torch.Tensor:
    """Histories as rows of equal length, padded with -1."""
    width = max(map(len, histories))
    return torch.tensor([[*history, *[-1] * (width - len(history))] for history in histories]).view(len(histories), -1)


@settings(max_examples=60, deadline=None)
@given(catalogues, st.data())
def test_nodes_are_dead_if_all_items_below_are_excluded(ids: Ids, data: st.DataObject) -> None:
    item = st.integers(-1, len(ids) - 1)
    histories = data.draw(st.lists(st.lists(item, max_size=50), min_size=1, max_size=4))
    histories.append([*range(len(ids))])
    kept = data.draw(st.sets(st.integers(0, len(ids) - 1), min_size=1))
    trie, expected = Trie.from_token_ids(ids).restricted([*kept]), Prefixes(ids, kept)
    excluded = excluded_nodes(trie, rows(histories))
    assert excluded.n_left(trie).tolist() == [len(kept - set(history)) for history in histories]
    for level in range(1, expected.n_levels + 1):
        prefixes = expected.levels[level]
        dead = [[expected.below(prefix) <= set(history) for prefix in prefixes] for history in histories]
        nodes = torch.tensor([expected.node[prefix] for prefix in prefixes]).expand(len(histories), -1)
        assert excluded.dead(level, nodes).tolist() == dead
        assert excluded.dead(level, nodes.unsqueeze(1).unsqueeze(-1)).squeeze(-1).squeeze(1).tolist() == dead
        assert excluded.dead(level, nodes[:, 0]).tolist() == [user[0] for user in dead]
        held = excluded.nodes[level - 1]
        assert held.shape == (len(histories), max(map(len, histories)))
        for user, row in enumerate(held.tolist()):
            own = [node for node, gone in zip(nodes[user].tolist(), dead[user], strict=True) if gone]
            assert row == own + [excluded.padding] * (len(row) - len(own))
    assert excluded.padding == len(expected.node)


@pytest.mark.parametrize("items", [torch.zeros((3, 0), dtype=torch.int64), torch.full((3, 2), -1)])
def test_no_exclusion_without_a_history(items: torch.Tensor) -> None:
    trie = Trie.from_token_ids([[1, 2], [1, 3]])
    excluded = excluded_nodes(trie, items)
    assert not excluded.dead(1, torch.ones((3, 4, 2), dtype=torch.int64)).any()
    assert not excluded.dead(2, torch.tensor([[2, 3]] * 3)).any()
    assert excluded.n_left(trie).tolist() == [2, 2, 2]


def test_no_users() -> None:
    trie = Trie.from_token_ids([[1, 2], [1, 3]])
    for width in (0, 2):
        excluded = excluded_nodes(trie, torch.zeros((0, width), dtype=torch.int64))
        assert excluded.dead(1, torch.zeros((0, 5), dtype=torch.int64)).shape == (0, 5)
        assert excluded.n_left(trie).tolist() == []


def test_by_hand() -> None:
    trie = Trie.from_token_ids([[1, 5], [1, 6], [2, 5], [2, 7]])  # nodes 1, 2; 3, 4, 5, 6
    excluded = excluded_nodes(trie, torch.tensor([[1, 0, 2, 1], [3, -1, -1, 3]]))
    assert excluded.padding == 7
    assert excluded.nodes[0].tolist() == [[1, 7, 7, 7], [7, 7, 7, 7]]
    assert excluded.nodes[1].tolist() == [[3, 4, 5, 7], [6, 7, 7, 7]]
    assert excluded.n_left(trie).tolist() == [1, 3]


def test_many_users_at_once() -> None:
    rng = np.random.default_rng(1)
    ids = np.unique(rng.integers(0, 8, size=(600, 3)), axis=0)
    trie, histories = Trie.from_token_ids(ids), torch.from_numpy(rng.integers(-1, len(ids), size=(300, 200)))
    excluded = excluded_nodes(trie, histories)
    nodes = torch.arange(9, 73).expand(300, -1)
    below = [{item for item, row in enumerate(ids.tolist()) if row[:2] == [a, b]} for a in range(8) for b in range(8)]
    dead = [[items <= set(history) for items in below] for history in histories.tolist()]
    assert trie.level_size(2) == 64
    assert excluded.dead(2, nodes).tolist() == dead


def test_bad_input_is_an_error() -> None:
    trie = Trie.from_token_ids([[1, 2], [1, 3]])
    with pytest.raises(ValueError, match=r"shape \[2\]; must be \[R, E\]"):
        excluded_nodes(trie, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="item row 2 does not exist"):
        excluded_nodes(trie, torch.tensor([[0, 2]]))
    excluded = excluded_nodes(trie, torch.tensor([[0, 1]]))
    for level in (0, 3):
        with pytest.raises(ValueError, match=f"level={level}: must be from 1 to 2"):
            excluded.dead(level, torch.tensor([[0]]))
    with pytest.raises(ValueError, match="one row for each of 1 users"):
        excluded.dead(1, torch.tensor([[0], [0]]))
    with pytest.raises(ValueError, match="belong to a trie of 2 levels and 4 nodes"):
        excluded.n_left(trie.restricted([0]))
