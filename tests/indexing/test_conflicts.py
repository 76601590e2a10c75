"""Conflict resolution against brute force, and its guarantee over hostile inputs."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lcrec.indexing.conflicts import resolve_conflicts, resolve_without_embeddings


def nearest_codes(latents, codebooks):
    """Residual quantization in plain NumPy, one item at a time."""
    rows = []
    for latent in latents:
        row, residual = [], latent
        for codebook in codebooks:
            row.append(int(((residual - codebook) ** 2).sum(axis=1).argmin()))
            residual = residual - codebook[row[-1]]
        rows.append(row)
    return np.array(rows, dtype=np.int64).reshape(len(latents), len(codebooks))


def distance(latent, codes, codebooks):
    return float(((latent - sum(codebooks[h][c] for h, c in enumerate(codes))) ** 2).sum())


def distinct(codes):
    return len({tuple(row) for row in codes.tolist()})


@st.composite
def catalogues(draw):
    """Sizes up to full occupancy, with duplicates and clusters that fall on few prefixes."""
    levels, size = draw(st.integers(1, 4)), draw(st.integers(2, 4))
    n = draw(st.integers(1, min(size**levels, 60)))
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))
    centres = draw(st.integers(1, n))
    spread = draw(st.sampled_from([0.0, 1e-9, 0.1, 1.0]))
    latents = rng.normal(size=(centres, 3))[rng.integers(centres, size=n)] + spread * rng.normal(size=(n, 3))
    codebooks = rng.normal(size=(levels, size, 3)) * draw(st.sampled_from([1e-3, 1.0, 1e3]))
    return latents, codebooks


@settings(max_examples=60, deadline=None)
@given(catalogues())
def test_always_distinct_deterministic_and_leaves_others_alone(catalogue):
    latents, codebooks = catalogue
    codes = nearest_codes(latents, codebooks)
    first = resolve_conflicts(codes, latents, codebooks)
    assert distinct(first.codes) == len(codes)
    assert first.codes.min() >= 0 and first.codes.max() < codebooks.shape[1]
    np.testing.assert_array_equal(first.codes, resolve_conflicts(codes, latents, codebooks).codes)
    _, inverse, counts = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    alone = counts[np.reshape(inverse, -1)] == 1
    np.testing.assert_array_equal(first.codes[alone], codes[alone])
    changed = [i for i in range(len(codes)) if tuple(first.codes[i]) != tuple(codes[i])]
    assert first.moved == len(changed)
    added = [
        distance(latents[i], first.codes[i], codebooks) - distance(latents[i], codes[i], codebooks) for i in changed
    ]
    assert first.added_distance == pytest.approx(np.mean(added) if added else 0.0, rel=1e-6, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_without_embeddings_always_distinct_and_lowest_row_keeps(data):
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    n = data.draw(st.integers(1, min(int(np.prod(sizes)), 60)))
    codes = np.array([[data.draw(st.integers(0, size - 1)) for size in sizes] for _ in range(n)], dtype=np.int64)
    resolved, moved = resolve_without_embeddings(codes, sizes)
    assert distinct(resolved) == n
    assert ((resolved >= 0) & (resolved < np.array(sizes))).all()
    assert moved == n - distinct(codes)
    seen = set()
    for before, after in zip(codes.tolist(), resolved.tolist(), strict=True):
        if tuple(before) not in seen:
            assert after == before
        seen.add(tuple(before))


def test_assignment_within_a_prefix_is_the_cheapest_of_all():
    rng = np.random.default_rng(3)
    codebooks = rng.normal(size=(2, 6, 2))
    latents = np.repeat(codebooks[0][2][None] + codebooks[1][1], 5, axis=0) + 0.05 * rng.normal(size=(5, 2))
    latents[4] = codebooks[0][2] + codebooks[1][4]
    codes = np.array([[2, 1], [2, 1], [2, 1], [2, 1], [2, 4]])
    resolved = resolve_conflicts(codes, latents, codebooks).codes
    free = [0, 1, 2, 3, 5]

    def cost(lasts):
        return sum(distance(latents[i], (2, last), codebooks) for i, last in enumerate(lasts))

    best = min(itertools.permutations(free, 4), key=cost)
    assert resolved[:4, 1].tolist() == list(best)
    assert resolved.tolist()[4] == [2, 4]
    assert (resolved[:, 0] == 2).all()


def test_surplus_goes_to_the_nearest_prefix_with_room():
    codebooks = np.array([[[0.0], [10.0], [11.0], [30.0]], [[0.0], [1.0], [2.0], [3.0]]])
    latents = np.array([[10.0]] * 5 + [[11.0], [12.0], [13.0], [14.0]])
    codes = np.array([[1, 0]] * 5 + [[2, 0], [2, 1], [2, 2], [2, 3]])
    resolved = resolve_conflicts(codes, latents, codebooks).codes
    assert sorted(resolved[:5].tolist()) == [[0, 3], [1, 0], [1, 1], [1, 2], [1, 3]]
    np.testing.assert_array_equal(resolved[5:], codes[5:])


def test_surplus_that_loses_least_elsewhere_is_the_one_to_leave():
    codebooks = np.array([[[0.0, 0.0], [5.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]])
    latents = np.array([[0.0, 0.0], [2.4, 0.0], [0.0, 0.1]])
    codes = np.zeros((3, 2), dtype=np.int64)
    resolved = resolve_conflicts(codes, latents, codebooks).codes
    assert resolved.tolist() == [[0, 0], [1, 0], [0, 1]]


def test_full_tree_of_identical_items_takes_every_leaf():
    codebooks = np.zeros((3, 3, 2))
    codes = np.zeros((27, 3), dtype=np.int64)
    resolved = resolve_conflicts(codes, np.zeros((27, 2)), codebooks).codes
    assert sorted(map(tuple, resolved.tolist())) == list(itertools.product(range(3), repeat=3))


def test_without_embeddings_by_hand():
    codes = np.array([[0, 1], [0, 1], [0, 1], [0, 0], [1, 1], [0, 2], [1, 1], [0, 1]])
    resolved, moved = resolve_without_embeddings(codes, [3, 4])
    assert resolved.tolist() == [[0, 1], [0, 3], [1, 0], [0, 0], [1, 1], [0, 2], [1, 2], [1, 3]]
    assert moved == 4


def test_many_levels_do_not_overflow():
    codes = np.full((5, 26), 255, dtype=np.int64)
    resolved, moved = resolve_without_embeddings(codes, [256] * 26)
    assert moved == 4 and resolved[1:, -1].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: resolve_without_embeddings(np.zeros((5, 2), dtype=int), [2, 2]), r"5 items cannot .* make 4"),
        (lambda: resolve_conflicts(np.zeros((5, 2), dtype=int), np.zeros((5, 1)), np.zeros((2, 2, 1))), r"5 items"),
        (lambda: resolve_without_embeddings(np.full((1, 2), 2), [2, 2]), r"outside codebooks"),
        (lambda: resolve_without_embeddings(np.zeros((1, 3), dtype=int), [2, 2]), r"do not fit 2 codebooks"),
        (lambda: resolve_conflicts(np.zeros((2, 1), dtype=int), np.zeros((3, 1)), np.zeros((1, 2, 1))), r"latents"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
