"""Conflict resolution by codes alone, against its rule applied item by item."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lcrec.indexing.conflicts import resolve_without_embeddings


def by_codes_alone(codes, sizes, occupied):
    """Apply the documented rule item by item."""
    taken, result, movers = {tuple(row) for row in occupied}, [tuple(row) for row in codes], []
    for row, leaf in enumerate(result):
        if leaf in taken:
            movers.append(row)
        taken.add(leaf)
    for depth in range(len(sizes) - 1, -1, -1):
        left = []
        for row in movers:
            below = itertools.product(*(range(size) for size in sizes[depth:]))
            found = next((codes[row][:depth] + rest for rest in below if codes[row][:depth] + rest not in taken), None)
            if found is None:
                left.append(row)
            else:
                result[row] = found
                taken.add(found)
        movers = left
    return result


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_without_embeddings_equals_the_rule(data):
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    n = data.draw(st.integers(1, min(int(np.prod(sizes)), 60)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**20)))
    codes = rng.integers(np.minimum(sizes, data.draw(st.integers(1, 4))), size=(n, len(sizes)))
    leaves = np.array(list(itertools.product(*map(range, sizes))))
    occupied = rng.permutation(leaves)[: data.draw(st.integers(0, len(leaves) - n))]
    resolved, moved = resolve_without_embeddings(codes, sizes, occupied=occupied)
    expected = by_codes_alone([tuple(row) for row in codes.tolist()], sizes, occupied.tolist())
    assert [tuple(row) for row in resolved.tolist()] == expected
    assert moved == (resolved != codes).any(axis=1).sum()


def test_without_embeddings_by_hand():
    codes = np.array([[0, 1], [0, 1], [0, 1], [0, 0], [1, 1], [0, 2], [1, 1], [0, 1]])
    resolved, moved = resolve_without_embeddings(codes, [3, 4])
    assert resolved.tolist() == [[0, 1], [0, 3], [1, 2], [0, 0], [1, 1], [0, 2], [1, 0], [1, 3]]
    assert moved == 4
