"""Counts worked out by plain loops, and texts compared by dense vectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_similarity

from recbole_lcrec.data.covisitation import covisitation, history_weights
from recbole_lcrec.data.sequences import UserSequences
from recbole_lcrec.data.text_similarity import similar_to_histories, tfidf_vectors

N = 6
SEQUENCES = st.lists(st.lists(st.integers(0, N - 1), min_size=1, max_size=9), min_size=1, max_size=5)


def user_sequences(rows: list[list[int]]) -> UserSequences:
    offsets = np.r_[0, np.cumsum([len(row) for row in rows])].astype(np.int64)
    return UserSequences(np.arange(len(rows)), np.array([item for row in rows for item in row], np.int64), offsets)


@given(SEQUENCES, st.integers(1, 4), st.sampled_from([0.0, 0.5, 1.0]))
def test_covisitation_is_that_of_plain_loops(rows: list[list[int]], window: int, backward: float) -> None:
    counted = np.zeros((N, N))
    for row in rows:
        for first in range(len(row)):
            for second in range(first + 1, min(first + window, len(row) - 1) + 1):
                counted[row[first], row[second]] += 1 / (second - first)
                counted[row[second], row[first]] += backward / (second - first)
    totals = counted.sum(axis=1)
    expected = counted / np.sqrt(np.outer(1 + totals, 1 + totals))
    found = covisitation(user_sequences(rows), N, window, backward).toarray()
    np.testing.assert_allclose(found, expected, atol=1e-12)


@given(SEQUENCES, st.sampled_from([0.3, 0.7, 1.0]))
def test_the_newest_item_of_a_history_weighs_most(rows: list[list[int]], decay: float) -> None:
    expected = np.zeros((len(rows), N))
    for user, row in enumerate(rows):
        for age, item in enumerate(reversed(row)):
            expected[user, item] += decay**age
    np.testing.assert_allclose(history_weights(rows, N, decay).toarray(), expected)


TEXTS = ["red steel bolt", "steel bolt blue", "red leather glove", "blue leather glove", "", "lamp"]


def test_texts_are_compared_by_their_cosine() -> None:
    vectors = tfidf_vectors(TEXTS, 100)
    assert vectors.shape[0] == N
    cosines = cosine_similarity(vectors.toarray())
    np.fill_diagonal(cosines, 0)
    weights = history_weights([[0, 2], [4], [1, 1]], N, 0.5)
    np.testing.assert_allclose(similar_to_histories(weights, vectors), weights.toarray() @ cosines, atol=1e-12)
    assert cosines[0, 1] > cosines[0, 2] > 0 == cosines[0, 5]


def test_texts_without_a_common_word_are_refused() -> None:
    with pytest.raises(ValueError, match="item texts have no word in common"):
        tfidf_vectors(["lamp", "glove"], 100)
