"""Handling of a finished epoch of tuning: log, validate, save the best epoch, stop early."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.utils import dict2str, set_color

from recbole_lcrec.llm.finetune import EpochReport
from recbole_lcrec.models.lcrec.dataset import LCRecDataset
from recbole_lcrec.models.lcrec.early_stopping import EarlyStopping
from recbole_lcrec.runs.results_file import write_results
from recbole_lcrec.runtime.artifacts import whole_folder
from recbole_lcrec.runtime.processes import from_first_process, process_count

__all__ = ["EpochHandler"]

_SAMPLED_USERS = 64
"""Users of each process that are ranked to estimate how long a validation takes."""


class TunedTrainer(Protocol):
    """The attributes of LC-Rec's trainer that the handler uses, besides RecBole's loggers and names."""

    config: Any
    model: Any
    stopping: EarlyStopping
    is_main: bool
    eval_step: int
    saved_model_file: str
    valid_metric: str
    train_loss_dict: dict[int, float]
    logger: Any
    tensorboard: Any
    wandblogger: Any

    def stop_by(self, stopping: EarlyStopping) -> None:
        """Set the state of early stopping."""

    def losses(self) -> dict[str, float]:
        """Return epoch -> training loss."""

    def save_catalogue(self, folder: Path, dataset: LCRecDataset, before: Path) -> None:
        """Write everything but the model."""

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, Any]: ...

    def _generate_train_loss_output(self, epoch: int, start: float, end: float, losses: float) -> str: ...

    def _add_train_loss_to_tensorboard(self, epoch: int, losses: float) -> None: ...


@dataclass(frozen=True, eq=False)
class EpochHandler:
    """Callback of the tuning, called with the report of each epoch in every process; returns whether to stop.

    Attributes:
        trainer: trainer of the model; its early stopping is updated after each validation.
        dataset: the training split, whose index is saved.
        valid_data: loader of the validation users; None: no early stopping, and each epoch replaces the saved one.
        saved: whether to save the best epoch.
        verbose: whether to log each epoch.
        show_progress: whether to draw progress bars.
        callback: called as ``callback(epoch, valid_score)`` after each validation; None: no callback.
    """

    trainer: TunedTrainer
    dataset: LCRecDataset
    valid_data: Any
    saved: bool
    verbose: bool
    show_progress: bool
    callback: Callable[[int, float], Any] | None

    def __call__(self, report: EpochReport) -> bool:
        """Handle one epoch."""
        trainer = self.trainer
        self._log_epoch(report)
        if report.epoch < trainer.model.tuning.stream_epochs:
            return False  # the model has not seen prompts of instructions yet
        if self.valid_data is None:
            self._keep(report)
            return False
        last = report.epoch + 1 == trainer.model.tuning.epochs  # validated always: a schedule ends at its best
        if (report.epoch + 1) % trainer.eval_step and not last:
            return False
        started = perf_counter()
        score, result = from_first_process(trainer._valid_epoch(self.valid_data, show_progress=self.show_progress))
        trainer.stop_by(trainer.stopping.after(report.epoch, score, result))
        self._log_validation(report.epoch, score, result, perf_counter() - started)
        if trainer.stopping.improved:
            self._keep(report)
        if self.callback:
            self.callback(report.epoch, score)
        if trainer.stopping.stopped and self.verbose:
            trainer.logger.info(f"Finished training, best eval result in epoch {trainer.stopping.best_epoch}")
        return trainer.stopping.stopped

    def validations(self, epoch: int) -> tuple[int, float]:
        """Return the number of validations from an epoch on, and the seconds of one, measured on a few users.

        Every process must call it, because ranking may need all of them. Validation on sampled candidates, which is
        cheap, is not estimated.
        """
        if not isinstance(self.valid_data, FullSortEvalDataLoader):
            return 0, 0.0
        trainer, users = self.trainer, self.valid_data._dataset.inter_feat
        model, last = trainer.model, trainer.model.tuning.epochs
        first = max(epoch, model.tuning.stream_epochs)
        count = sum((each + 1) % trainer.eval_step == 0 or each + 1 == last for each in range(first, last))
        k = max(trainer.config["topk"])
        training = model.training
        model.eval()
        model.rank(model.histories(users[: process_count()]), k)  # the first call takes longer
        sample = users[np.linspace(0, len(users) - 1, min(_SAMPLED_USERS * process_count(), len(users))).astype(int)]
        started = perf_counter()
        model.rank(model.histories(sample), k)
        seconds = perf_counter() - started
        model.train(training)
        return count, seconds * len(users) / len(sample)

    def _log_epoch(self, report: EpochReport) -> None:
        trainer = self.trainer
        trainer.train_loss_dict[report.epoch] = report.loss
        if self.verbose:
            line = trainer._generate_train_loss_output(report.epoch, 0.0, report.seconds, report.loss)
            trainer.logger.info(f"{line} [{report.in_words()}]")
        trainer._add_train_loss_to_tensorboard(report.epoch, report.loss)
        trainer.wandblogger.log_metrics(
            {"epoch": report.epoch, "train_loss": report.loss, "train_step": report.epoch}, head="train"
        )
        for name, value in report.rates().items():
            trainer.tensorboard.add_scalar(name, value, report.epoch)
        trainer.wandblogger.log_metrics({**report.rates(), "train_step": report.epoch}, head="train")

    def _log_validation(self, epoch: int, score: float, result: Any, seconds: float) -> None:
        trainer = self.trainer
        if self.verbose:
            trainer.logger.info(
                set_color(f"epoch {epoch} evaluating", "green")
                + f" [{set_color('time', 'blue')}: {seconds:.2f}s, {set_color('valid_score', 'blue')}: {score:f}]"
            )
            trainer.logger.info(set_color("valid result", "blue") + ": \n" + dict2str(result))
        trainer.tensorboard.add_scalar("Valid_score", score, epoch)
        trainer.wandblogger.log_metrics({**result, "valid_step": epoch}, head="valid")

    def _keep(self, report: EpochReport) -> None:
        """Save this epoch in place of the last best one, which is replaced only when all files are written."""
        if not self.saved:
            return
        trainer = self.trainer
        final = Path(trainer.saved_model_file)
        with whole_folder(final, trainer.is_main) as partial:
            report.save(partial)
            if not trainer.is_main:
                return
            trainer.save_catalogue(partial, self.dataset, before=final)
            best = trainer.stopping.best_result
            write_results(
                partial,
                {
                    "best_epoch": report.epoch,
                    "valid_metric": trainer.valid_metric,
                    "best_valid_score": float(trainer.stopping.best_score) if best else None,
                    "best_valid_result": dict(best or {}),
                    "train_loss": trainer.losses(),
                },
            )
        if self.verbose:
            trainer.logger.info(set_color("Saving current", "blue") + f": {final}")
