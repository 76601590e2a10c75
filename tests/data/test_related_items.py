"""The items nearest to each item, against dense matrices and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

import recbole_lcrec.data.related_items as module
from recbole_lcrec.data.related_items import related_items

N = 5
COUNTS = st.lists(st.lists(st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0]), min_size=N, max_size=N), min_size=N, max_size=N)


def unit(rows: np.ndarray) -> sparse.csr_matrix:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return sparse.csr_matrix(np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0))


@given(COUNTS, COUNTS, st.sampled_from([0.0, 0.4]), st.integers(1, N), st.sampled_from([0.0, 1.0, 2.0]))
def test_nearest_and_shares_are_those_of_plain_loops(counts, texts, weight, nearest, sharpness) -> None:
    covisits, vectors = sparse.csr_matrix(np.array(counts)), unit(np.array(texts))
    found = related_items(covisits, vectors, weight, nearest, sharpness)
    relation = covisits.toarray() + weight * (vectors @ vectors.T).toarray()
    for item in range(N):
        expected = sorted((other for other in range(N) if other != item), key=lambda other: -relation[item, other])
        expected = [other for other in expected if relation[item, other] > 0][:nearest]
        rows = slice(found.offsets[item], found.offsets[item + 1])
        assert found.items[rows].tolist() == expected
        if expected:
            drawn = relation[item, expected] ** sharpness
            np.testing.assert_allclose(found.shares[rows], np.cumsum(drawn) / drawn.sum(), atol=1e-12)
            assert found.shares[rows][-1] == 1
    assert found.rows.tolist() == [item for item in range(N) if found.offsets[item] < found.offsets[item + 1]]


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    counts, vectors = sparse.csr_matrix(rng.random((23, 23))), unit(rng.random((23, 7)))
    whole = related_items(counts, vectors, 0.4, 6, 2.0)
    monkeypatch.setattr(module, "_BLOCK_VALUES", 23 * 4)
    parts = related_items(counts, vectors, 0.4, 6, 2.0)
    assert all(np.array_equal(getattr(whole, name), getattr(parts, name)) for name in ("items", "shares", "offsets"))


def test_items_are_drawn_by_their_shares() -> None:
    found = related_items(sparse.csr_matrix(np.array([[9.0, 3.0, 1.0], [0, 0, 0], [0, 0, 0]])), None, 0.4, 5, 1.0)
    assert found.rows.tolist() == [0]
    assert [found.draw(0, number) for number in (0.0, 0.7499, 0.75, 0.9999)] == [1, 1, 2, 2]


def test_texts_alone_need_no_weight() -> None:
    vectors = unit(np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]))
    found = related_items(None, vectors, 0.0, 5, 2.0)
    assert found.items.tolist() == [1, 0] and found.rows.tolist() == [0, 1]


def test_nothing_to_relate_is_refused() -> None:
    with pytest.raises(ValueError, match="co-visitation, texts or both"):
        related_items(None, None, 0.4, 5, 2.0)
