"""Vectors of index tokens, against a plain loop."""

from __future__ import annotations

import numpy as np

from recbole_lcrec.indexing.token_vectors import token_vectors

ITEM_TOKENS = [("<a_0>", "<b_0>"), ("<a_0>", "<b_1>"), ("<a_1>", "<b_1>"), ("<a_2>", "<b_1>")]
TOKENS = ["<a_0>", "<a_1>", "<a_2>", "<b_0>", "<b_1>"]


def test_tokens_are_the_scaled_means_of_their_items() -> None:
    vectors = np.array([[1.0, 0.0], [3.0, 2.0], [0.0, 5.0], [0.0, 0.0]])
    first = np.array([[2.0, 1.0], [0.0, 5.0]])
    second = np.array([[1.0, 0.0], [1.5, 3.5]])
    first, second = ((rows - rows.mean(axis=0)) / (rows - rows.mean(axis=0)).std() for rows in (first, second))
    expected = np.stack([first[0], first[1], np.zeros(2), second[0], second[1]])
    np.testing.assert_allclose(token_vectors(vectors, ITEM_TOKENS, TOKENS), expected)
    some = token_vectors(vectors, ITEM_TOKENS, ["<b_1>", "<a_1>"])
    np.testing.assert_allclose(some, expected[[4, 1]])


def test_items_that_say_nothing_give_zeros() -> None:
    assert not token_vectors(np.zeros((4, 3)), ITEM_TOKENS, TOKENS).any()
