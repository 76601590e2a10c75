"""Peak memory of the process: it grows with what is used, and a reset forgets it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recbole_lcrec.runtime import memory
from recbole_lcrec.runtime.memory import peak_memory, reset_peak_memory


def test_the_peak_is_of_the_time_since_the_reset() -> None:
    reset_peak_memory("cpu")
    before = peak_memory("cpu")
    if before is None:
        pytest.skip("this system does not tell the peak of a process")
    np.ones(50_000_000, dtype=np.int64)
    used = peak_memory("cpu")
    assert used is not None and 300 * 2**20 < used - before < 500 * 2**20
    reset_peak_memory("cpu")
    after = peak_memory("cpu")
    assert after is not None and after < used - 200 * 2**20


def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_PROCESS", tmp_path / "nowhere")
    reset_peak_memory("cpu")
    assert peak_memory("cpu") is None
