"""Bootstrap over users: against SciPy's, and pairing that two intervals do not show."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from recbole_lcrec.analysis.paired import Estimate, estimates, verdict


def test_intervals_are_those_of_scipy() -> None:
    values = np.random.default_rng(1).exponential(size=(300, 2))
    for column, found in enumerate(estimates(values)):
        theirs = stats.bootstrap(
            (values[:, column],), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(2)
        ).confidence_interval
        assert found.mean == pytest.approx(values[:, column].mean())
        assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.005)


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng, covered = np.random.default_rng(0), 0
    for seed in range(300):
        (found,) = estimates(rng.normal(size=(80, 1)), resamples=500, seed=seed)
        covered += found.low <= 0 <= found.high
    assert 0.90 <= covered / 300 <= 0.99


def test_pairing_tells_apart_what_two_intervals_do_not() -> None:
    users = np.random.default_rng(0).normal(size=400)
    one, other = users + 0.02, users
    of_one, of_other, difference = estimates(np.column_stack([one, other, one - other]))
    assert of_one.low < of_other.high  # they overlap
    assert verdict(difference) == "ahead" and difference.low == pytest.approx(0.02)


def test_batches_of_resamples_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(50, 3))
    whole = estimates(values, resamples=200)
    monkeypatch.setattr("recbole_lcrec.analysis.paired._BATCH", 120)
    assert [each.mean for each in estimates(values, resamples=200)] == [each.mean for each in whole]
    assert np.allclose([e.low for e in estimates(values, resamples=200)], [e.low for e in whole])


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(0.1, 0.2, "ahead"), (-0.2, -0.1, "behind"), (-0.1, 0.2, "not told apart"), (0.0, 0.0, "not told apart")],
)
def test_verdicts(low: float, high: float, word: str) -> None:
    assert verdict(Estimate((low + high) / 2, low, high)) == word


def test_no_users() -> None:
    with pytest.raises(ValueError, match="no user was evaluated"):
        estimates(np.empty((0, 1)))
