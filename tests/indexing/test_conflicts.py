"""Conflict resolution against brute force, and its guarantees on adversarial inputs."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from recbole_lcrec.indexing import leaf_assignment
from recbole_lcrec.indexing.conflicts import resolve_conflicts, resolve_without_embeddings


def nearest_codes(latents, codebooks):
    """Residual quantization in plain NumPy."""
    columns, residual = [], latents
    for codebook in codebooks:
        columns.append(((residual[:, None] - codebook) ** 2).sum(axis=2).argmin(axis=1))
        residual = residual - codebook[columns[-1]]
    return np.stack(columns, axis=1).astype(np.int64)


def distance(latent, codes, codebooks):
    return float(((latent - sum(codebooks[h][c] for h, c in enumerate(codes))) ** 2).sum())


def total_distance(latents, codes, codebooks):
    return sum(distance(latent, row, codebooks) for latent, row in zip(latents, codes, strict=True))


def distinct(codes):
    return len({tuple(row) for row in codes.tolist()})


def every_leaf(levels, size):
    return np.array(list(itertools.product(range(size), repeat=levels)), dtype=np.int64)


def greedily(codes, latents, codebooks):
    """A greedy baseline: exact assignment within prefixes; items that do not fit move in row order."""
    rows_of = {}
    for row, leaf in enumerate(map(tuple, codes.tolist())):
        rows_of.setdefault(leaf, []).append(row)
    result, taken = codes.copy(), {leaf for leaf, rows in rows_of.items() if len(rows) == 1}
    conflicts = {}
    for leaf, rows in rows_of.items():
        if len(rows) > 1:
            conflicts.setdefault(leaf[:-1], []).extend(rows)
    left = []
    for prefix, rows in conflicts.items():
        free = [(*prefix, code) for code in range(codebooks.shape[1]) if (*prefix, code) not in taken]
        cost = np.array([[distance(latents[row], leaf, codebooks) for leaf in free] for row in rows])
        kept, columns = linear_sum_assignment(cost) if free else ([], [])
        for position, column in zip(kept, columns, strict=True):
            result[rows[position]] = free[column]
            taken.add(free[column])
        left.extend(row for position, row in enumerate(rows) if position not in set(kept))
    leaves = every_leaf(*codebooks.shape[:2])
    decoded = codebooks[np.arange(len(codebooks)), leaves].sum(axis=1)
    leaves = [tuple(leaf) for leaf in leaves.tolist()]
    for row in sorted(left):
        nearest_first = ((latents[row] - decoded) ** 2).sum(axis=1).argsort()
        result[row] = next(leaves[number] for number in nearest_first if leaves[number] not in taken)
        taken.add(tuple(result[row].tolist()))
    return result


@st.composite
def catalogues(draw, most_leaves=1296, most_items=200):
    """Catalogues up to full occupancy: duplicates, all items on one index or prefix, equal latents."""
    levels, size = draw(st.sampled_from([1, 2, 3, 4])), draw(st.sampled_from([2, 3, 4, 5, 6]))
    leaves = size**levels
    assume(leaves <= most_leaves)
    most = min(leaves, most_items)
    n = draw(st.sampled_from([most, (most + 1) // 2, draw(st.integers(1, most))]))
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))
    centres = rng.normal(size=(draw(st.integers(1, n)), 3))
    spread = draw(st.sampled_from([0.0, 1e-9, 0.1, 1.0]))
    latents = centres[rng.integers(len(centres), size=n)] + spread * rng.normal(size=(n, 3))
    codebooks = rng.normal(size=(levels, size, 3)) * 0.6 ** np.arange(levels)[:, None, None]
    kind = draw(st.sampled_from(["nearest", "nearest", "one index", "one prefix", "equal latents", "any"]))
    codes = nearest_codes(latents, codebooks)
    if kind == "one index":
        codes = np.repeat(codes[:1], n, axis=0)
    if kind == "one prefix":
        codes[:, :-1] = codes[0, :-1]
    if kind == "equal latents":
        latents, codes = np.repeat(latents[:1], n, axis=0), np.repeat(codes[:1], n, axis=0)
    if kind == "any":
        codes = rng.integers(size, size=(n, levels))
    scale = draw(st.sampled_from([1e-3, 1.0, 1e3]))
    return codes, latents * scale, codebooks * scale


LIMITS = [
    {},
    {"_EXACT_STEPS": 0},
    {"_EXACT_STEPS": 0, "_WAVE": 3, "_SCAN_CELLS": 64},
    {"_EXACT_STEPS": 0, "_WIDE": 5},
    {"_REGION_LEAVES": 7, "_WAVE": 4},
    {"_REGION_LEAVES": 37, "_EXACT_STEPS": 300, "_HELD_CELLS": 20, "_WIDE": 11},
]


@pytest.fixture(params=LIMITS, ids=str)
def limits(request, monkeypatch):
    """Lower the limits, so that small catalogues take the code paths of large ones."""
    for name, value in request.param.items():
        monkeypatch.setattr(leaf_assignment, name, value)
    return request.param


def test_distinct_deterministic_and_others_unchanged(limits):
    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(catalogues())
    def check(catalogue):
        codes, latents, codebooks = catalogue
        first = resolve_conflicts(codes, latents, codebooks)
        assert distinct(first.codes) == len(codes)
        assert first.codes.min() >= 0 and first.codes.max() < codebooks.shape[1]
        np.testing.assert_array_equal(first.codes, resolve_conflicts(codes, latents, codebooks).codes)
        _, inverse, counts = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
        alone = counts[np.reshape(inverse, -1)] == 1
        np.testing.assert_array_equal(first.codes[alone], codes[alone])
        changed = np.flatnonzero((first.codes != codes).any(axis=1))
        assert first.moved == len(changed)
        assert first.spilled == (first.codes[:, :-1] != codes[:, :-1]).any(axis=1).sum()
        added = [
            distance(latents[i], first.codes[i], codebooks) - distance(latents[i], codes[i], codebooks) for i in changed
        ]
        assert first.added_distance == pytest.approx(np.mean(added) if len(added) else 0.0, rel=1e-6, abs=1e-9)

    check()


def test_items_leave_full_prefixes_only_and_beat_greedy(limits):
    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(catalogues(most_leaves=81, most_items=40))
    def check(catalogue):
        codes, latents, codebooks = catalogue
        resolved = resolve_conflicts(codes, latents, codebooks).codes
        held = {tuple(row) for row in resolved.tolist()}
        for row in np.flatnonzero((resolved[:, :-1] != codes[:, :-1]).any(axis=1)):
            prefix = codes[row, :-1].tolist()
            assert all((*prefix, code) in held for code in range(codebooks.shape[1]))
        if not limits:
            plain = total_distance(latents, greedily(codes, latents, codebooks), codebooks)
            assert total_distance(latents, resolved, codebooks) <= plain + 1e-9 * (latents**2).sum()

    check()


@settings(max_examples=60, deadline=None)
@given(catalogues(), st.integers(0, 2**20), st.floats(0, 1))
def test_new_items_avoid_occupied_indices(catalogue, seed, share):
    codes, latents, codebooks = catalogue
    levels, size, _ = codebooks.shape
    leaves = every_leaf(levels, size)
    n_occupied = round(share * (len(leaves) - len(codes)))
    occupied = np.random.default_rng(seed).permutation(leaves)[:n_occupied]
    before = occupied.copy()
    for resolved in (
        resolve_conflicts(codes, latents, codebooks, occupied=occupied).codes,
        resolve_without_embeddings(codes, [size] * levels, occupied=occupied)[0],
    ):
        assert distinct(np.concatenate([occupied, resolved])) == n_occupied + len(codes)
        _, inverse, counts = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
        held = {tuple(row) for row in occupied.tolist()}
        alone = (counts[np.reshape(inverse, -1)] == 1) & [tuple(row) not in held for row in codes.tolist()]
        np.testing.assert_array_equal(resolved[alone], codes[alone])
    np.testing.assert_array_equal(occupied, before)


def test_assignment_within_a_prefix_is_optimal():
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


def test_surplus_items_are_those_that_lose_least():
    codebooks = np.array([[[0.0, 0.0], [5.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]])
    latents = np.array([[0.0, 0.0], [2.4, 0.0], [0.0, 0.1]])
    codes = np.zeros((3, 2), dtype=np.int64)
    resolved = resolve_conflicts(codes, latents, codebooks).codes
    assert resolved.tolist() == [[0, 0], [1, 0], [0, 1]]


@pytest.mark.parametrize("seed", range(8))
def test_overfull_prefixes_are_resolved_jointly(seed):
    """Compare with all assignments of six conflicting items that keep both prefixes full."""
    rng = np.random.default_rng(seed)
    codebooks = rng.normal(size=(2, 3, 2)) * np.array([1.0, 0.7])[:, None, None]
    codes = np.array([[0, 1]] * 4 + [[2, 0], [2, 0], [2, 1], [2, 2]])
    latents = codebooks[0, codes[:, 0]] + codebooks[1, codes[:, 1]] + 0.4 * rng.normal(size=(8, 2))
    result = resolve_conflicts(codes, latents, codebooks)
    free = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]

    def full(leaves):
        return sum(leaf[0] == 0 for leaf in leaves[:4]) == 3 and sum(leaf[0] == 2 for leaf in leaves[4:]) == 1

    costs = [[distance(latent, leaf, codebooks) for leaf in free] for latent in latents[:6]]
    best = min(
        sum(costs[i][column] for i, column in enumerate(columns))
        for columns in itertools.permutations(range(7), 6)
        if full([free[column] for column in columns])
    )
    assert total_distance(latents[:6], result.codes[:6], codebooks) == pytest.approx(best)
    assert full(result.codes[:6].tolist()) and result.spilled == 2
    np.testing.assert_array_equal(result.codes[6:], codes[6:])


def test_large_groups_come_near_the_joint_optimum(monkeypatch):
    rng = np.random.default_rng(5)
    codebooks = rng.normal(size=(3, 16, 8)) * 0.5 ** np.arange(3)[:, None, None]
    codes = np.array([[3, 4, 5]] * 90 + [[3, 9, 0]] * 40 + [[1, 1, 1]] * 5)
    latents = codebooks[np.arange(3), codes].sum(axis=1) + 0.1 * rng.normal(size=(135, 8))
    plain = total_distance(latents, greedily(codes, latents, codebooks), codebooks)

    def total(**limits):
        for name, value in limits.items():
            monkeypatch.setattr(leaf_assignment, name, value)
        return total_distance(latents, resolve_conflicts(codes, latents, codebooks).codes, codebooks)

    optimum = total()
    one_wave, waves, spread = total(_EXACT_STEPS=0), total(_WAVE=30), total(_WIDE=60)
    assert optimum <= one_wave <= 1.02 * optimum
    assert optimum <= waves <= 1.05 * optimum
    assert waves < plain
    assert optimum <= spread <= 1.3 * optimum


@pytest.mark.parametrize("exponent", [-500, 500])
def test_any_finite_scale_gives_the_same_index(exponent):
    rng = np.random.default_rng(1)
    codebooks = rng.normal(size=(2, 4, 3))
    latents = rng.normal(size=(14, 3))
    codes = nearest_codes(latents, codebooks)
    plain = resolve_conflicts(codes, latents, codebooks)
    scaled = resolve_conflicts(codes, np.ldexp(latents, exponent), np.ldexp(codebooks, exponent))
    assert plain.moved
    np.testing.assert_array_equal(scaled.codes, plain.codes)
    assert scaled.added_distance == np.ldexp(plain.added_distance, 2 * exponent)


def test_full_tree_of_identical_items_takes_every_leaf():
    codebooks = np.zeros((3, 3, 2))
    codes = np.zeros((27, 3), dtype=np.int64)
    resolved = resolve_conflicts(codes, np.zeros((27, 2)), codebooks).codes
    assert sorted(map(tuple, resolved.tolist())) == list(itertools.product(range(3), repeat=3))


def test_many_levels_do_not_overflow():
    codes = np.full((5, 26), 255, dtype=np.int64)
    resolved, moved = resolve_without_embeddings(codes, [256] * 26)
    assert moved == 4 and resolved[1:, -1].tolist() == [0, 1, 2, 3]
    codebooks = np.linspace(-1, 1, 26 * 256).reshape(26, 256, 1)
    assert distinct(resolve_conflicts(np.zeros((600, 26), dtype=int), np.zeros((600, 1)), codebooks).codes) == 600


def test_no_items_are_no_conflict():
    assert resolve_conflicts(np.zeros((0, 2), dtype=int), np.zeros((0, 3)), np.zeros((2, 4, 3))).codes.shape == (0, 2)
    assert resolve_without_embeddings(np.zeros((0, 2), dtype=int), [4, 4], occupied=np.zeros((1, 2), dtype=int))[1] == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: resolve_without_embeddings(np.zeros((5, 2), dtype=int), [2, 2]), r"5 items cannot .* make 4"),
        (lambda: resolve_conflicts(np.zeros((5, 2), dtype=int), np.zeros((5, 1)), np.zeros((2, 2, 1))), r"5 items"),
        (
            lambda: resolve_without_embeddings(np.zeros((3, 1), dtype=int), [4], occupied=np.array([[1], [2]])),
            r"3 items and 2 existing ones cannot .* make 4; learn the whole index again",
        ),
        (lambda: resolve_without_embeddings(np.array([[0]]), [4], occupied=np.array([[1], [1]])), r"occupied .* twice"),
        (lambda: resolve_without_embeddings(np.array([[0]]), [4], occupied=np.array([[4]])), r"occupied span"),
        (lambda: resolve_conflicts(np.array([[0]]), np.array([[np.nan]]), np.zeros((1, 2, 1))), r"latents hold NaN"),
        (lambda: resolve_conflicts(np.array([[0]]), np.zeros((1, 1)), np.full((1, 2, 1), np.inf)), r"codebooks hold"),
        (lambda: resolve_without_embeddings(np.full((1, 2), 2), [2, 2]), r"outside codebooks"),
        (lambda: resolve_without_embeddings(np.zeros((1, 3), dtype=int), [2, 2]), r"do not match 2 codebooks"),
        (lambda: resolve_conflicts(np.zeros((2, 1), dtype=int), np.zeros((3, 1)), np.zeros((1, 2, 1))), r"latents"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
