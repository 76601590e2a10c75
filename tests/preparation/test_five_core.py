"""k-core against repeated filtering of Python sets, and first rows against a dictionary."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lcrec.preparation.five_core import first_of_each, k_core

PAIRS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 6)), max_size=60)


def core_by_sets(pairs, k_user, k_item):
    """Return the rows that stay; users are filtered before items, while k_core filters both at once."""
    left = set(range(len(pairs)))
    while True:
        users = [pairs[row][0] for row in left]
        stays = {row for row in left if users.count(pairs[row][0]) >= k_user}
        items = [pairs[row][1] for row in stays]
        stays = {row for row in stays if items.count(pairs[row][1]) >= k_item}
        if stays == left:
            return left
        left = stays


def columns(pairs, width=2):
    return np.array(pairs, dtype=np.int64).reshape(-1, width).T


@settings(max_examples=80, deadline=None)
@given(PAIRS, st.integers(1, 4), st.integers(1, 4))
def test_k_core_equals_repeated_filtering(pairs, k_user, k_item):
    stays = k_core(*columns(pairs), k_user, k_item)
    assert set(np.flatnonzero(stays).tolist()) == core_by_sets(pairs, k_user, k_item)


def test_removals_cascade():
    # a chain: item 0 has four users, so its users fall to four interactions, and so on until nothing is left
    pairs = [(user, item) for user in range(5) for item in range(5) if (user, item) != (4, 0)]
    assert not k_core(*columns(pairs)).any()
    assert k_core(*columns([*pairs, (4, 0)])).all()


def test_k_core_of_no_interactions_is_empty():
    assert k_core(*columns([])).shape == (0,)


@pytest.mark.parametrize(
    ("users", "items", "k", "words"),
    [([0], [0, 1], 5, "equal length"), ([-1], [0], 5, "codes from 0"), ([0], [0], 0, "at least 1")],
)
def test_invalid_arrays_and_bounds_are_rejected(users, items, k, words):
    with pytest.raises(ValueError, match=words):
        k_core(np.array(users), np.array(items), k, k)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), max_size=40))
def test_first_of_each_is_earliest_then_first_in_file(rows):
    users, items, times = columns(rows, 3)
    first = {}
    for place in sorted(range(len(rows)), key=lambda place: (rows[place][2], place)):
        first.setdefault(rows[place][:2], place)
    assert set(np.flatnonzero(first_of_each((users, items), (times,))).tolist()) == set(first.values())
    whole = {row: place for place, row in reversed(list(enumerate(rows)))}
    assert set(np.flatnonzero(first_of_each((users, items, times))).tolist()) == set(whole.values())
