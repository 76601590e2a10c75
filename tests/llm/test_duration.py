"""The estimated duration of a run, as the log gives it."""

from __future__ import annotations

import pytest

from recbole_lcrec.llm.finetune import duration_in_words, minutes


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (99.4, "99 s"), (150, "2 min"), (9000, "2.5 h")])
def test_durations_read_well(seconds: float, text: str) -> None:
    assert minutes(seconds) == text


def test_the_rest_of_the_run_is_estimated_from_a_step() -> None:
    text = "Estimated duration: an epoch 60 s, all 1,188 steps that are left 10 min"
    assert duration_in_words(0.5, 120, 1188, None) == text
    assert duration_in_words(0.5, 120, 1188, (0, 0.0)) == text
    assert duration_in_words(0.5, 120, 1188, (5, 42.0)) == (
        f"{text}, and each of 5 validations 42 s; early stopping may end the run sooner"
    )
