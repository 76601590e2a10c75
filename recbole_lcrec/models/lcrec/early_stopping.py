"""Early stopping as an immutable state.

The best validation so far, and whether tuning should stop.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from recbole.utils import early_stopping

__all__ = ["EarlyStopping"]


@dataclass(frozen=True)
class EarlyStopping:
    """The state of RecBole's early stopping.

    Attributes:
        patience: ``stopping_step``, the validations without improvement after which tuning stops.
        bigger: whether a higher score is better.
        best_score: score of the best validation; infinitely bad before the first one.
        best_result: metrics of the best validation; None before the first one.
        best_epoch: epoch of the best validation, from 0; None before the first one.
        since_best: validations since the best one.
        stopped: whether tuning should stop.
        improved: whether the last validation was the best.
    """

    patience: int
    bigger: bool
    best_score: float
    best_result: Mapping[str, float] | None = None
    best_epoch: int | None = None
    since_best: int = 0
    stopped: bool = False
    improved: bool = False

    @classmethod
    def start(cls, patience: int, bigger: bool) -> Self:
        """Return the state before the first validation."""
        return cls(patience, bigger, float("-inf") if bigger else float("inf"))

    def after(self, epoch: int, score: float, result: Mapping[str, float]) -> EarlyStopping:
        """Return the state after one more validation, by RecBole's rule.

        Args:
            epoch: after which the model was validated, from 0.
            score: value of ``valid_metric``.
            result: all metrics.
        """
        best, since, stop, improved = early_stopping(
            score, self.best_score, self.since_best, self.patience, self.bigger
        )
        return dataclasses.replace(
            self,
            best_score=float(best),
            best_result=result if improved else self.best_result,
            best_epoch=epoch if improved else self.best_epoch,
            since_best=since,
            stopped=stop,
            improved=improved,
        )

    def to_plain(self) -> dict[str, Any]:
        """Return the state for a checkpoint, as plain values for JSON."""
        return {
            "best_valid_score": self.best_score,
            "best_valid_result": dict(self.best_result) if self.best_result else None,
            "best_epoch": self.best_epoch,
            "cur_step": self.since_best,
            "finished": self.stopped,
        }

    def resumed(self, plain: Mapping[str, Any]) -> EarlyStopping:
        """Return the state that :meth:`to_plain` wrote."""
        return dataclasses.replace(
            self,
            best_score=plain["best_valid_score"],
            best_result=plain["best_valid_result"],
            best_epoch=plain.get("best_epoch"),  # checkpoints of 0.1.0 have none
            since_best=plain["cur_step"],
            stopped=plain["finished"],
        )
