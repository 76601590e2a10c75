"""Index arithmetic on sequences against plain lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_lcrec.data.sequences import UserSequences, exact_time_ranks, training_sequences

EVENTS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "10", "9"]), st.integers(1_700_000_000, 1_700_000_020)), max_size=40
)


def plain_ranks(users, times, lines):
    ranks = [0] * len(users)
    for user in set(users):
        rows = sorted((times[row], lines[row], row) for row in range(len(users)) if users[row] == user)
        for place, (_, _, row) in enumerate(rows):
            ranks[row] = place
    return ranks


@given(EVENTS, st.randoms(use_true_random=False))
def test_ranks_equal_a_plain_sort(events, random):
    users, times = [user for user, _ in events], [time for _, time in events]
    lines = list(range(len(events)))
    random.shuffle(lines)
    ranks = exact_time_ranks(np.array(times, dtype=np.float64), np.array(users, dtype=object), np.array(lines, int))
    assert ranks.dtype == np.float64
    assert ranks.tolist() == plain_ranks(users, times, lines)


def test_times_that_float32_confuses():
    times = 1_700_000_000 + np.array([2, 0, 1, 3])
    assert len(set(times.astype(np.float32).tolist())) == 1
    ranks = exact_time_ranks(times.astype(np.float64), np.zeros(4), np.arange(4))
    assert ranks.tolist() == [2, 0, 1, 3]
    assert len(set(ranks.astype(np.float32).tolist())) == 4


def test_ties_stay_in_file_order():
    times = np.array([5, 5, 5, 4], dtype=np.int64)
    assert exact_time_ranks(times, np.array(["u"] * 4), np.arange(4)).tolist() == [1, 2, 3, 0]
    assert exact_time_ranks(times, np.array(["u"] * 4), np.array([9, 7, 8, 1])).tolist() == [3, 1, 2, 0]


def test_no_events():
    assert exact_time_ranks(np.array([]), np.array([]), np.array([], dtype=np.int64)).tolist() == []


def test_missing_times_are_counted_with_the_first_line():
    times = np.array([1.0, np.nan, 3.0, np.nan])
    with pytest.raises(ValueError, match=r"2 interactions have no time \(the first on line 5\)"):
        exact_time_ranks(times, np.array(list("uuvv")), np.array([0, 9, 2, 3]))


def rows_as_recbole_makes_them(sequences, max_length):
    """(user, target, length, oldest) of every training row: one per item after a user's first."""
    rows = []
    for user, items in sequences.items():
        for end in range(1, len(items)):
            history = items[max(0, end - max_length) : end]
            rows.append((user, items[end], len(history), history[0]))
    return rows


@given(
    st.dictionaries(st.integers(1, 20), st.lists(st.integers(1, 6), min_size=2, max_size=12), min_size=1, max_size=6),
    st.integers(1, 4),
    st.randoms(use_true_random=False),
)
def test_training_sequences_are_the_original_lists(sequences, max_length, random):
    rows = rows_as_recbole_makes_them(sequences, max_length)
    merged = []  # users interleaved, each user's rows still in time order
    queues = {user: [row for row in rows if row[0] == user] for user in sequences}
    while any(queues.values()):
        user = random.choice([user for user, queue in queues.items() if queue])
        merged.append(queues[user].pop(0))
    found = training_sequences(*(np.array(column, dtype=np.int64) for column in zip(*merged, strict=True)))
    assert found.users.tolist() == sorted(sequences)
    assert len(found) == len(sequences)
    expected = [[item - 1 for item in sequences[user]] for user in sorted(sequences)]
    assert [found.of(place).tolist() for place in range(len(found))] == expected
    assert found.lengths().tolist() == [len(items) for items in expected]
    assert found.items.dtype == found.offsets.dtype == found.users.dtype == np.int64


def test_no_training_rows():
    nothing = np.array([], dtype=np.int64)
    found = training_sequences(nothing, nothing, nothing, nothing)
    assert len(found) == 0 and found.offsets.tolist() == [0] and found.lengths().tolist() == []


def test_a_truncated_first_row_is_an_error():
    with pytest.raises(RuntimeError, match="history of one item"):
        training_sequences(np.array([1, 2, 2]), np.array([3, 3, 4]), np.array([1, 2, 3]), np.array([2, 2, 2]))


def test_user_items_and_lengths():
    sequences = UserSequences(np.array([4, 9]), np.array([7, 7, 1]), np.array([0, 1, 3]))
    assert sequences.of(0).tolist() == [7] and sequences.of(1).tolist() == [7, 1]
    assert sequences.lengths().tolist() == [1, 2] and len(sequences) == 2
