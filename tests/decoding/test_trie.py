"""The trie, compared with a brute-force dictionary of prefixes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lcrec.decoding.trie import Trie
from recbole_lcrec.decoding.trie_input import lexicographic_order
from tests.decoding.catalogues import Ids, Prefixes, catalogues


def assert_matches(trie: Trie, expected: Prefixes, n_rows: int) -> None:
    """Check every array and every method against the dictionary of prefixes."""
    nodes = [prefix for level in expected.levels for prefix in level]
    assert trie.token.tolist() == [prefix[-1] if prefix else -1 for prefix in nodes]
    assert trie.n_children.tolist() == [len(expected.children(prefix)) for prefix in nodes]
    assert trie.parent.tolist() == [expected.node[prefix[:-1]] if prefix else -1 for prefix in nodes]
    assert trie.n_leaves.tolist() == [len(expected.below(prefix)) for prefix in nodes]
    assert trie.max_token == max(max(prefix) for prefix in nodes if prefix)
    assert (trie.n_items, trie.n_levels, trie.n_rows) == (len(expected.rows), expected.n_levels, n_rows)
    assert all(array.dtype == torch.int32 for array in (trie.token, trie.parent, trie.n_leaves, trie.leaf_of_item))
    for level, prefixes in enumerate(expected.levels):
        assert trie.level_size(level) == len(prefixes)
        assert trie.level_offsets[level] == expected.node[prefixes[0]]
        if level < expected.n_levels:
            assert_children(trie, expected, level)
    assert trie.level_offsets[-1] == len(nodes)
    leaves = torch.arange(trie.level_offsets[-2], trie.level_offsets[-1])
    assert {expected.rows[item] for item in trie.items(leaves).tolist()} == set(expected.levels[-1])
    assert trie.leaves(trie.items(leaves)).equal(leaves)
    items = torch.tensor([-1, *range(n_rows)])
    absent = [-1] * expected.n_levels
    paths = [
        [expected.node[expected.rows[item][: depth + 1]] for depth in range(expected.n_levels)]
        if item in expected.rows
        else absent
        for item in items.tolist()
    ]
    assert trie.paths(items).tolist() == paths
    assert trie.paths(items.view(-1, 1, 1)).tolist() == [[[path]] for path in paths]
    assert trie.leaves(items).tolist() == [path[-1] for path in paths]


def assert_children(trie: Trie, expected: Prefixes, level: int) -> None:
    prefixes = expected.levels[level]
    parents = torch.tensor([expected.node[prefix] for prefix in prefixes])
    found = trie.children(parents.view(1, -1), level)
    width = max(len(expected.children(prefix)) for prefix in prefixes)
    assert found.nodes.shape == found.tokens.shape == found.legal.shape == (1, len(prefixes), width)
    assert trie.max_children[level] == width
    assert found.nodes.dtype == found.tokens.dtype == torch.int64
    legal_here = sorted({longer[-1] for longer in expected.levels[level + 1]})
    assert trie.level_tokens(level).tolist() == legal_here
    assert trie.level_tokens(level).dtype == torch.int64
    assert set(found.tokens.flatten().tolist()) <= set(legal_here)
    for beam, prefix in enumerate(prefixes):
        legal, children = found.legal[0, beam], expected.children(prefix)
        assert found.nodes[0, beam][legal].tolist() == [expected.node[child] for child in children]
        assert found.tokens[0, beam][legal].tolist() == [child[-1] for child in children]


def assert_same(first: Trie, second: Trie) -> None:
    for field in dataclasses.fields(Trie):
        ours, theirs = getattr(first, field.name), getattr(second, field.name)
        if isinstance(ours, torch.Tensor):
            assert ours.equal(theirs) and ours.dtype == theirs.dtype, field.name
        elif field.name == "tokens_below":
            assert all(a.equal(b) for a, b in zip(ours, theirs, strict=True))
        else:
            assert ours == theirs, field.name


@settings(max_examples=80, deadline=None)
@given(catalogues)
def test_trie_holds_exactly_the_prefixes_of_the_items(ids: Ids) -> None:
    assert_matches(Trie.from_token_ids(ids), Prefixes(ids), len(ids))


@settings(max_examples=50, deadline=None)
@given(catalogues, st.data())
def test_restricted_trie_holds_allowed_items_only(ids: Ids, data: st.DataObject) -> None:
    rows = st.sets(st.integers(0, len(ids) - 1), min_size=1)
    allowed = data.draw(rows)
    whole = Trie.from_token_ids(ids)
    trie = whole.restricted(np.isin(np.arange(len(ids)), list(allowed)))
    assert_matches(trie, Prefixes(ids, allowed), len(ids))
    for same in (sorted(allowed, reverse=True), torch.tensor([*allowed, *allowed]), np.array([*allowed], np.uint16)):
        assert_same(whole.restricted(same), trie)
    again = data.draw(st.sets(st.sampled_from(sorted(allowed)), min_size=1))
    assert_same(trie.restricted([*again]), whole.restricted([*again]))
    assert_same(whole.restricted(torch.ones(len(ids), dtype=torch.bool)), whole)


@settings(max_examples=50, deadline=None)
@given(catalogues, st.integers(0, 99))
def test_trie_does_not_depend_on_item_order_or_dtype(ids: Ids, seed: int) -> None:
    trie, order = Trie.from_token_ids(ids), np.random.default_rng(seed).permutation(len(ids))
    moved = Trie.from_token_ids(torch.from_numpy(ids[order]))
    assert order[moved.leaf_items.numpy()].tolist() == trie.leaf_items.tolist()
    assert moved.token.equal(trie.token) and moved.n_leaves.equal(trie.n_leaves)
    for same in (ids.astype(np.uint64), ids.tolist(), np.asfortranarray(ids.astype(np.int32))):
        assert_same(Trie.from_token_ids(same), trie)


@settings(max_examples=50, deadline=None)
@given(catalogues, st.data())
def test_duplicate_indices_are_errors(ids: Ids, data: st.DataObject) -> None:
    twin, place = data.draw(st.integers(0, len(ids) - 1)), data.draw(st.integers(0, len(ids)))
    rows = np.insert(ids, place, ids[twin], axis=0)
    first, second = sorted([place, twin + (twin >= place)])
    with pytest.raises(ValueError, match=rf"items {first} and {second} have the same index .*\(1 such rows in total\)"):
        Trie.from_token_ids(rows)


@pytest.mark.parametrize("spread", [1, 2**30])
def test_order_is_stable(spread: int) -> None:
    rows = np.random.default_rng(0).integers(0, 3, size=(500, 3)) * spread
    expected = sorted(range(len(rows)), key=lambda row: (*rows[row], row))
    assert lexicographic_order(rows).tolist() == expected


def test_trie_of_one_level() -> None:
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
    assert trie.parent.tolist() == [-1, 0, 0, 1, 2, 2]
    assert trie.n_leaves.tolist() == [3, 1, 2, 1, 1, 1]
    assert trie.leaf_items.tolist() == [1, 2, 0]
    assert trie.leaf_items.dtype == torch.int64
    assert trie.leaf_of_item.tolist() == [5, 3, 4]
    assert trie.level_offsets == (0, 1, 3, 6)
    assert trie.max_children == (2, 2)
    assert trie.children(torch.tensor([[1, 2]]), 1).nodes.tolist() == [[[3, 3], [4, 5]]]
    moved = trie.to("meta")
    assert moved.device.type == "meta"
    assert {ids.device.type for ids in moved.tokens_below} == {"meta"}
    assert moved.level_offsets == trie.level_offsets
    with pytest.raises(dataclasses.FrozenInstanceError):
        trie.max_token = 9  # type: ignore[misc]


def test_memory_is_linear_in_the_number_of_nodes() -> None:
    ids = np.unique(np.random.default_rng(0).integers(0, 256, size=(20_000, 4)), axis=0) + 1_000_000
    trie = Trie.from_token_ids(ids)
    n_nodes = 1 + sum(len(np.unique(ids[:, : level + 1], axis=0)) for level in range(4))
    assert all(len(array) == n_nodes for array in (trie.first_child, trie.n_children, trie.token))
    assert trie.leaf_items.tolist() == list(range(len(ids)))


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
def test_bad_input_is_an_error(ids: npt.ArrayLike, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Trie.from_token_ids(ids)


@pytest.mark.parametrize("level", [-1, 2])
def test_levels_without_children_are_errors(level: int) -> None:
    trie = Trie.from_token_ids([[1, 2], [3, 4]])
    with pytest.raises(ValueError, match=f"level={level}"):
        trie.children(torch.zeros((1, 1), dtype=torch.int64), level)
    with pytest.raises(ValueError, match=f"level={level}"):
        trie.level_tokens(level)


@pytest.mark.parametrize(
    ("allowed", "message"),
    [
        ([], "none of the 3 items"),
        (np.zeros(3, dtype=bool), "none of the 3 items"),
        (np.ones(4, dtype=bool), r"mask of shape \[4\]; must be \[3\]"),
        (np.ones((3, 1), dtype=bool), r"mask of shape \[3, 1\]"),
        ([0, 3], "item row 3 does not exist; rows are 0 to 2"),
        (torch.tensor([0, -1]), "item row -1 does not exist"),
        ([0.0, 1.0], "dtype float64"),
        ([[0, 1]], r"shape \[1, 2\]"),
    ],
)
def test_bad_restriction_is_an_error(allowed: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Trie.from_token_ids([[1, 2], [3, 4], [1, 3]]).restricted(allowed)


def test_restricting_again_cannot_add_items() -> None:
    trie = Trie.from_token_ids([[1, 2], [3, 4], [1, 3]]).restricted([0, 2])
    for allowed in ([0, 1], np.ones(3, dtype=bool)):
        with pytest.raises(ValueError, match=r"item row 1 is not in this trie \(1 such rows\)"):
            trie.restricted(allowed)


@pytest.mark.parametrize("row", [-2, 3])
def test_path_of_an_unknown_row_is_an_error(row: int) -> None:
    with pytest.raises(ValueError, match=f"item row {row} does not exist; rows are 0 to 2"):
        Trie.from_token_ids([[1, 2], [3, 4], [1, 3]]).paths(torch.tensor([[0, row]]))
