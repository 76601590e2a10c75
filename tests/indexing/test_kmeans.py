"""K-means: known clusters, degenerate inputs, and balanced centres against plain residual k-means."""

import numpy as np
import pytest
import torch

from recbole_lcrec.indexing.kmeans import balanced, kmeans, residual_codebooks


def nearest(points, centres):
    return np.linalg.norm(points[:, None] - centres[None], axis=2).argmin(axis=1)


def lopsided(n=600, seed=0):
    """A dense cluster and a few outliers."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(size=(n, 4)), 12 * rng.normal(size=(n // 30, 4))]).astype(np.float32)


def perplexity(codes):
    shares = np.unique(codes, return_counts=True)[1] / len(codes)
    return np.prod(shares**-shares)


def test_finds_the_centres_of_separate_clusters():
    rng = np.random.default_rng(0)
    true = 100 * rng.normal(size=(5, 3))
    points = np.repeat(true, 40, axis=0) + 0.01 * rng.normal(size=(200, 3))
    centres = kmeans(points, 5, seed=1)
    distances = np.linalg.norm(true[:, None] - centres[None], axis=2)
    assert distances.min(axis=1).max() < 0.1
    np.testing.assert_array_equal(centres, kmeans(points, 5, seed=1))


def test_every_point_counts():
    """With more than 256 points per centre, faiss would cluster a sample by default; the mean must be that of all."""
    points = np.random.default_rng(0).normal(size=(2000, 2)).astype(np.float32)
    np.testing.assert_allclose(kmeans(points, 1, seed=0), points.mean(axis=0, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("n", [1, 3, 8, 9, 20])
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_few_points_and_duplicates(n, spread):
    points = (spread * np.random.default_rng(0).normal(size=(n, 2)) + 4).astype(np.float32)
    points = np.repeat(points, 3, axis=0)
    centres = kmeans(points, 8, seed=0)
    assert centres.shape == (8, 2) and centres.dtype == np.float32 and np.isfinite(centres).all()
    assert np.isfinite(balanced(centres, points, seed=0)).all()
    distinct = np.unique(points, axis=0)
    if len(distinct) <= 8:
        assert {tuple(row) for row in distinct} <= {tuple(row) for row in centres}
        assert len(np.unique(centres, axis=0)) == 8


def test_residual_codebooks_are_centres_of_residuals():
    points = lopsided()
    books = residual_codebooks(points, 3, 8, torch.Generator().manual_seed(0))
    assert books.shape == (3, 8, 4) and books.dtype == np.float32
    residual, errors = points.copy(), []
    for book in books:
        codes = nearest(residual, book)
        means = np.stack([residual[codes == code].mean(axis=0) for code in range(8)])
        assert np.abs(means - book).max() < 0.05 * np.abs(residual).max()
        residual = residual - book[codes]
        errors.append((residual**2).mean())
    assert (points**2).mean() > errors[0] > errors[1] > errors[2]
    np.testing.assert_array_equal(points, lopsided())


def test_balanced_centres_are_used_more_evenly():
    points = lopsided()
    plain, even = (residual_codebooks(points, 1, 16, torch.Generator().manual_seed(0), even) for even in (False, True))
    assert perplexity(nearest(points, plain[0])) < perplexity(nearest(points, even[0]))
    assert len(np.unique(nearest(points, even[0]))) == 16


def test_a_read_only_memory_map_is_not_changed(tmp_path):
    np.save(tmp_path / "points.npy", lopsided())
    mapped = np.load(tmp_path / "points.npy", mmap_mode="r")
    books = residual_codebooks(mapped, 2, 8, torch.Generator().manual_seed(0), even=True)
    in_memory = residual_codebooks(lopsided(), 2, 8, torch.Generator().manual_seed(0), even=True)
    np.testing.assert_array_equal(books, in_memory)
