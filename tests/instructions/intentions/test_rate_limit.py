"""No minute has more calls than allowed, by a clock that the test controls."""

from __future__ import annotations

import numpy as np
import pytest

from recbole_lcrec.instructions.intentions.rate_limit import RateLimiter


class FakeClock:
    """A clock that moves only while sleeping."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("per_minute", [1, 7, 60])
def test_no_minute_has_more_calls_than_allowed(per_minute: int) -> None:
    clock, rng = FakeClock(), np.random.default_rng(0)
    limiter = RateLimiter(per_minute, clock, clock.sleep)
    starts = []
    for _ in range(5 * per_minute):
        limiter.wait()
        starts.append(clock.now)
        clock.now += float(rng.exponential(10.0 / per_minute))
    busiest = max(sum(start <= other < start + 60 - 1e-6 for other in starts) for start in starts)
    assert busiest == per_minute


def test_without_a_limit_nothing_waits() -> None:
    clock = FakeClock()
    limiter = RateLimiter(None, clock, clock.sleep)
    for _ in range(50):
        limiter.wait()
    assert clock.now == 100.0
