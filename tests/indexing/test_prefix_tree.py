"""The prefix tree against dictionaries of tuples."""

from collections import defaultdict

import numpy as np
import pytest

from recbole_lcrec.indexing.prefix_tree import children_per_node, prefix_ids, prefix_neighbours


def random_codes(seed, n=60, levels=3, size=4):
    return np.random.default_rng(seed).integers(0, size, (n, levels))


@pytest.mark.parametrize("seed", range(4))
def test_equal_numbers_mean_equal_prefixes(seed):
    codes = random_codes(seed)
    ids = prefix_ids(codes)
    for depth in range(1, 4):
        prefixes = [tuple(row[:depth]) for row in codes.tolist()]
        rank = {prefix: number for number, prefix in enumerate(sorted(set(prefixes)))}
        assert ids[:, depth - 1].tolist() == [rank[prefix] for prefix in prefixes]


@pytest.mark.parametrize("seed", range(4))
def test_children_of_every_prefix(seed):
    codes = random_codes(seed, levels=4)
    counted = children_per_node(prefix_ids(codes))
    assert len(counted) == 4
    for depth in range(4):
        followers = defaultdict(set)
        for row in codes.tolist():
            followers[tuple(row[:depth])].add(row[depth])
        assert counted[depth].tolist() == [len(followers[prefix]) for prefix in sorted(followers)]


def test_neighbours_by_prefix_then_by_embedding():
    codes = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 2, 0], [1, 0, 0], [0, 0, 2]])
    embeddings = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [2.0, 0.0], [1.0, 0.0], [3.0, 4.0]])
    found = prefix_neighbours(codes, 0, 10, embeddings)
    assert [(other.row, other.shared) for other in found] == [(5, 2), (1, 2), (3, 1), (2, 1)]
    np.testing.assert_allclose([other.cosine for other in found], [0.6, 0.0, 1.0, 0.6])
    assert [other.row for other in prefix_neighbours(codes, 0, 3, embeddings)] == [5, 1, 3]
    plain = prefix_neighbours(codes, 0, 3)
    assert [(other.row, other.cosine) for other in plain] == [(1, None), (5, None), (2, None)]
    assert prefix_neighbours(codes, 4, 5, embeddings) == ()


def test_neighbours_of_a_zero_embedding_and_of_a_twin():
    codes = np.array([[3, 3], [3, 3], [3, 0]])
    found = prefix_neighbours(codes, 0, 5, np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    assert [(other.row, other.shared, other.cosine) for other in found] == [(1, 2, 0.0), (2, 1, 0.0)]


@pytest.mark.parametrize("codes", [np.zeros((0, 2), int), np.zeros(3, int), np.zeros((2, 2))])
def test_bad_shapes(codes):
    with pytest.raises(ValueError, match="codes must be integers"):
        prefix_ids(codes)
