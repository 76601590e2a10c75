"""Numbers of the report against counts by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd

from recbole_lcrec.preparation.tables.report import describe

SECOND = 10**9


def test_time_bins_start_at_whole_seconds_and_cover_all() -> None:
    rng = np.random.default_rng(0)
    for span in (1, 59, 100, 86_400, 10**8):
        times = rng.integers(0, span * SECOND, 200) + 1_700_000_000 * SECOND
        times[0] = 1_700_000_000 * SECOND
        bins = describe(np.arange(200) % 7, np.arange(200) % 5, times, 5).time_bins
        starts = np.array([pd.Timestamp(start).value for start, _ in bins])
        assert len(bins) <= 60 and len(set(np.diff(starts))) <= 1
        if span > 60:
            assert not (starts % SECOND).any()
        for place, (_, count) in enumerate(bins):
            after = starts[place + 1] if place + 1 < len(bins) else 2**63 - 1
            assert count == ((times >= starts[place]) & (times < after)).sum()
