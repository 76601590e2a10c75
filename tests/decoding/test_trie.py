"""The trie against a brute-force set of prefixes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lcrec.decoding import Trie


@st.composite
def catalogues(draw: st.DrawFn) -> npt.NDArray[np.int64]:
    """Distinct rows of 1 to 6 tokens in any order; levels may share tokens and have gaps between them."""
    n_levels = draw(st.integers(1, 6))
    n_codes = draw(st.integers(1, 5))
    code = st.integers(0, n_codes - 1)
    rows = draw(st.lists(st.tuples(*[code] * n_levels), min_size=1, max_size=40, unique=True))
    stride = draw(st.integers(0, 7))
    return np.array(rows, dtype=np.int64) * draw(st.integers(1, 3)) + stride * np.arange(n_levels)


def walk(trie: Trie) -> list[dict[int, tuple[int, ...]]]:
    """The prefix of every node, level by level, found through ``children`` alone."""
    levels: list[dict[int, tuple[int, ...]]] = [{0: ()}]
    for level in range(trie.n_levels):
        parents = list(levels[-1])
        found = trie.children(torch.tensor([parents]), level)
        assert (
            found.nodes.shape == found.tokens.shape == found.legal.shape == (1, len(parents), trie.max_children[level])
        )
        below: dict[int, tuple[int, ...]] = {}
        for beam, parent in enumerate(parents):
            legal = found.legal[0, beam]
            tokens = found.tokens[0, beam][legal].tolist()
            assert tokens == sorted(set(tokens))
            for node, token in zip(found.nodes[0, beam][legal].tolist(), tokens, strict=True):
                assert node not in below
                below[node] = (*levels[-1][parent], token)
        levels.append(below)
    return levels


@settings(max_examples=150, deadline=None)
@given(catalogues())
def test_trie_spells_exactly_the_prefixes_of_the_items(ids: npt.NDArray[np.int64]) -> None:
    trie = Trie.from_token_ids(ids)
    levels = walk(trie)
    for level, nodes in enumerate(levels):
        expected = {tuple(row[:level]) for row in ids.tolist()}
        assert set(nodes.values()) == expected
        assert len(nodes) == len(expected) == trie.level_size(level)
        assert sorted(nodes) == list(range(trie.level_offsets[level], trie.level_offsets[level + 1]))
        assert [nodes[node] for node in sorted(nodes)] == sorted(expected)
    items = trie.items(torch.tensor(list(levels[-1])))
    for item, spelling in zip(items.tolist(), levels[-1].values(), strict=True):
        assert tuple(ids[item]) == spelling
    assert sorted(items.tolist()) == list(range(len(ids)))
    assert len(trie.token) == sum(len(nodes) for nodes in levels)
    assert trie.max_token == ids.max()


def test_one_level_hangs_every_item_below_the_root() -> None:
    trie = Trie.from_token_ids([[9], [4], [7]])
    found = trie.children(torch.zeros((2, 1), dtype=torch.int64), 0)
    assert found.tokens.tolist() == [[[4, 7, 9]]] * 2
    assert found.legal.all()
    assert trie.items(found.nodes).tolist() == [[[1, 2, 0]]] * 2


def test_fields_by_hand() -> None:
    trie = Trie.from_token_ids([[2, 5], [1, 6], [2, 3]])
    assert trie.token.tolist() == [-1, 1, 2, 6, 3, 5]
    assert trie.first_child.tolist() == [1, 3, 4, 0, 0, 0]
    assert trie.n_children.tolist() == [2, 1, 2, 0, 0, 0]
    assert trie.leaf_items.tolist() == [1, 2, 0]
    assert trie.level_offsets == (0, 1, 3, 6)
    assert trie.max_children == (2, 2)
    moved = trie.to("meta")
    assert moved.device.type == "meta"
    assert moved.level_offsets == trie.level_offsets


def test_many_items_need_memory_in_proportion_to_their_nodes() -> None:
    ids = np.unique(np.random.default_rng(0).integers(0, 256, size=(20_000, 4)), axis=0) + 1_000_000
    trie = Trie.from_token_ids(ids)
    n_nodes = 1 + sum(len(np.unique(ids[:, : level + 1], axis=0)) for level in range(4))
    assert all(len(array) == n_nodes for array in (trie.first_child, trie.n_children, trie.token))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([[1, 2], [3, 4], [1, 2]], r"items 0 and 2 have the same index \[1, 2\]"),
        ([1, 2, 3], r"shape \[3\]; must be \[N, H\]"),
        (np.zeros((0, 4), dtype=np.int64), "at least one item"),
        (np.zeros((4, 0), dtype=np.int64), "at least one item"),
        ([[1, 2], [3, -1]], "item 1 holds token id -1"),
        ([[1, 2], [3, 2**31]], "item 1 holds token id 2147483648"),
        ([[1.0, 2.0]], "must be integers"),
    ],
)
def test_bad_input_is_named(ids: npt.ArrayLike, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Trie.from_token_ids(ids)


@pytest.mark.parametrize("level", [-1, 2])
def test_leaves_have_no_children_to_ask_for(level: int) -> None:
    trie = Trie.from_token_ids([[1, 2], [3, 4]])
    with pytest.raises(ValueError, match=f"level={level}"):
        trie.children(torch.zeros((1, 1), dtype=torch.int64), level)
