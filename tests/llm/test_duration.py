"""The estimated duration of a run, as the log gives it."""

from __future__ import annotations

import logging

import pytest

from recbole_lcrec.llm import duration
from recbole_lcrec.llm.duration import DurationEstimate, duration_in_words, time_in_words
from recbole_lcrec.llm.steps import StepPlan


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (99.4, "99 s"), (150, "2 min"), (9000, "2.5 h")])
def test_durations_read_well(seconds: float, text: str) -> None:
    assert time_in_words(seconds) == text


def test_the_rest_of_the_run_is_estimated_from_a_step() -> None:
    text = "Estimated duration: 60 s for an epoch, 10 min for the remaining 1,188 steps"
    assert duration_in_words(0.5, 120, 1188, None) == duration_in_words(0.5, 120, 1188, (0, 0.0)) == text
    assert duration_in_words(0.5, 120, 1188, (5, 42.0)) == (
        f"{text}, 42 s per validation (5 to come); early stopping may end the run sooner"
    )


def run_steps(monkeypatch, caplog, plan: StepPlan, seconds, stream_epochs: int = 0, first: int = 0) -> list[str]:
    """Return what is logged if step n takes ``seconds(n)``, with 5 s for validation and saving after each epoch."""
    now = [0.0]
    monkeypatch.setattr(duration, "perf_counter", lambda: now[0])
    estimate = DurationEstimate(plan, stream_epochs, lambda epoch: (len(plan.sizes) - epoch, 7.0))
    with caplog.at_level(logging.INFO):
        for done in range(first + 1, len(plan) + 1):
            now[0] += seconds(done)
            estimate.step_ended(done)
            if done in plan.ends:
                now[0] += 5.0
                estimate.pause(5.0)
    return [record.getMessage() for record in caplog.records]


def test_validation_and_saving_are_no_steps(monkeypatch, caplog) -> None:
    """Epochs of 4 steps, of which the first two are slow."""
    messages = run_steps(monkeypatch, caplog, StepPlan((8,) * 6, 2, 0), lambda done: 30 if done < 3 else 2)
    expected = "8 s for an epoch, 24 s for the remaining 12 steps, 7 s per validation (3 to come)"
    assert len(messages) == 1 and expected in messages[0]


def test_streams_and_instructions_are_estimated_apart(monkeypatch, caplog) -> None:
    plan = StepPlan((40, 40, 60, 60), 2, 0)
    messages = run_steps(monkeypatch, caplog, plan, lambda done: 1 if done <= 40 else 10, stream_epochs=2)
    assert [message.partition(": ")[2] for message in messages] == [
        "20 s for an epoch, 28 s for the remaining 28 steps of streams",
        "5 min for an epoch, 8 min for the remaining 48 steps, 7 s per validation (2 to come); early stopping may end "
        "the run sooner",
    ]


def test_a_resumed_run_counts_what_is_left(monkeypatch, caplog) -> None:
    (message,) = run_steps(monkeypatch, caplog, StepPlan((40,) * 3, 2, 0), lambda done: 1, first=25)
    assert "the remaining 23 steps, 7 s per validation (2 to come)" in message
    assert run_steps(monkeypatch, caplog, StepPlan((24,), 2, 0), lambda done: 1)[1:] == []
