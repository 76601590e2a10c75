"""Purity against plain loops, by hand, and against all permutations of the labels."""

from collections import Counter, defaultdict
from itertools import permutations

import numpy as np
import pytest

from recbole_lcrec.indexing.purity import PrefixPurity, prefix_purity


def labels_of(*words):
    """Return one set of letters per word; empty for '-'."""
    return [frozenset(word) - {"-"} for word in words]


def by_loops(codes, labels, depth):
    """(prefixes, items, purity) at one depth."""
    groups = defaultdict(list)
    for row, of_item in zip(codes.tolist(), labels, strict=True):
        if of_item:
            groups[tuple(row[:depth])].append(of_item)
    counted = [group for group in groups.values() if len(group) >= 2]
    items = sum(map(len, counted))
    best = sum(max(Counter(label for of_item in group for label in of_item).values()) for group in counted)
    return len(counted), items, best / items if items else None


@pytest.mark.parametrize("seed", range(6))
def test_equals_plain_loops(seed):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3, (50, 4))
    labels = [frozenset(rng.choice(list("abcdef"), rng.integers(0, 4), replace=False).tolist()) for _ in range(50)]
    records = prefix_purity(codes, labels)
    assert [record.depth for record in records] == [1, 2, 3, 4]
    for record in records:
        prefixes, items, purity = by_loops(codes, labels, record.depth)
        assert (record.prefixes, record.items) == (prefixes, items)
        assert record.purity == pytest.approx(purity)
        assert record.labelled == sum(map(bool, labels))


def test_by_hand():
    codes = np.array([[0, 0], [0, 0], [0, 1], [0, 1], [1, 0], [1, 1], [2, 0]])
    labels = labels_of("a", "ab", "c", "-", "b", "b", "a")
    one, two = prefix_purity(codes, labels)
    # depth 1: prefix 0 holds a, ab, c (2 of 3 have a), prefix 1 holds b, b; prefix 2 has one item only
    assert (one.prefixes, one.items, one.labelled, one.purity) == (2, 5, 6, pytest.approx(4 / 5))
    # depth 2: only (0, 0) has two labelled items, and both have a
    assert (two.prefixes, two.items, two.labelled, two.purity) == (1, 2, 6, 1.0)


def test_chance_is_the_mean_over_all_permutations():
    codes = np.array([[0, 0], [0, 0], [0, 1], [1, 0], [1, 0], [2, 0]])
    labels = labels_of("a", "b", "a", "ab", "c", "-")
    labelled = codes[:5]
    expected = {
        depth: np.mean([by_loops(labelled, order, depth)[2] for order in permutations(labels[:5])]) for depth in (1, 2)
    }
    for record in prefix_purity(codes, labels, permutations=3000):
        assert record.chance == pytest.approx(expected[record.depth], abs=0.015)


def test_a_pure_tree_is_pure_and_above_chance():
    codes = np.repeat(np.arange(20), 10)[:, None]
    (record,) = prefix_purity(codes, [frozenset([f"brand {code}"]) for code in codes[:, 0]])
    assert record.purity == 1.0
    assert record.chance < 0.4


def test_random_codes_are_at_chance():
    rng = np.random.default_rng(0)
    labels = [frozenset([str(label)]) for label in rng.integers(0, 30, 4000)]
    for record in prefix_purity(rng.integers(0, 16, (4000, 2)), labels):
        assert record.purity == pytest.approx(record.chance, abs=0.02)


def test_one_item_per_prefix_has_no_purity():
    assert prefix_purity(np.arange(5)[:, None], labels_of(*"abcde")) == [PrefixPurity(1, 0, 0, 5, None, None)]


def test_no_labels_at_all_and_a_single_item():
    assert prefix_purity(np.zeros((3, 1), int), labels_of("-", "-", "-")) == [PrefixPurity(1, 0, 0, 0, None, None)]
    assert prefix_purity(np.zeros((1, 1), int), labels_of("a")) == [PrefixPurity(1, 0, 0, 1, None, None)]


def test_chance_depends_on_the_seed():
    codes = np.random.default_rng(1).integers(0, 4, (40, 1))
    labels = labels_of(*"abcdefgh" * 5)
    assert prefix_purity(codes, labels, seed=3) == prefix_purity(codes, labels, seed=np.random.default_rng(3))
    assert prefix_purity(codes, labels, seed=3) != prefix_purity(codes, labels, seed=4)


def test_bad_input():
    with pytest.raises(ValueError, match="2 sets of labels for 3 items"):
        prefix_purity(np.zeros((3, 1), int), labels_of("a", "b"))
    with pytest.raises(ValueError, match="permutations = 0"):
        prefix_purity(np.zeros((2, 1), int), labels_of("a", "b"), permutations=0)
    with pytest.raises(ValueError, match="codes must be integers"):
        prefix_purity(np.zeros(2, int), labels_of("a", "b"))
