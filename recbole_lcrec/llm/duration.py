"""How long a tuning will take: an estimate from its first steps, for the log."""

from __future__ import annotations

from collections.abc import Callable
from logging import getLogger
from time import perf_counter

from recbole_lcrec.llm.steps import StepPlan

__all__ = ["DurationEstimate", "Validations", "duration_in_words", "time_in_words"]

Validations = Callable[[int], tuple[int, float]]
"""``(epoch) -> number of validations from this epoch on, and the seconds of one``; 0 if there are none."""

_WARM_UP, _MEASURED = 2, 10
"""Steps that are left out, because they warm up, and steps that are measured after them."""


class DurationEstimate:
    """Measures the first steps of a run, and of its instructions if streams come first, and logs what is left.

    Every process logs after the same step, because ranking may need all of them.
    """

    def __init__(self, plan: StepPlan, stream_epochs: int, validations: Validations | None) -> None:
        """Create the estimate.

        Args:
            plan: the steps of the run.
            stream_epochs: epochs of streams, whose steps are cheaper than those of the instructions after them.
            validations: estimates the validations; called once, in every process. None: there are none.
        """
        self.plan = plan
        self.streams_end = plan.first_step(stream_epochs) if stream_epochs else 0
        self.validations = validations
        self.steps, self.since = 0, 0.0

    def step_ended(self, done: int) -> float:
        """Count a step, and log the estimate when enough steps are measured.

        Args:
            done: steps of the run that are done.

        Returns:
            Seconds that the estimate itself took.
        """
        if done == self.streams_end + 1:
            self.steps = 0
        self.steps += 1
        if self.steps == _WARM_UP:
            self.since = perf_counter()
        streams = done <= self.streams_end
        end = self.streams_end if streams else len(self.plan)
        if self.steps != _WARM_UP + _MEASURED or done == end:
            return 0.0
        started, epoch = perf_counter(), self.plan.epoch_of(done)
        planned = None if streams or self.validations is None else self.validations(epoch)
        per_epoch = int(self.plan.ends[epoch]) - self.plan.first_step(epoch)
        seconds = (started - self.since) / _MEASURED
        getLogger().info(duration_in_words(seconds, per_epoch, end - done, planned, " of streams" if streams else ""))
        return perf_counter() - started

    def pause(self, seconds: float) -> None:
        """Leave out time that was spent on something else than steps."""
        self.since += seconds


def duration_in_words(
    seconds_per_step: float, per_epoch: int, left: int, validations: tuple[int, float] | None, what: str = ""
) -> str:
    """Return how long an epoch and the rest of a run will take.

    Args:
        seconds_per_step: measured on the first steps.
        per_epoch: steps of the current epoch.
        left: steps that remain.
        validations: how many remain, and the seconds of one; None: none.
        what: follows the number of steps.
    """
    epoch, rest = time_in_words(seconds_per_step * per_epoch), time_in_words(seconds_per_step * left)
    text = f"Estimated duration: {epoch} for an epoch, {rest} for the remaining {left:,} steps{what}"
    if validations is None or not validations[0]:
        return text
    count, seconds = validations
    return f"{text}, {time_in_words(seconds)} per validation ({count} to come); early stopping may end the run sooner"


def time_in_words(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours, whichever reads best."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
