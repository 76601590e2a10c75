"""RecBole's trainer for LC-Rec: ``fit`` drives the fine-tuning, ``evaluate`` is RecBole's own.

Knows RecBole's trainer, its early stopping and its log, and what a saved run holds. Refuses to know how the language
model is optimised (``llm/finetune.py``) and how users are ranked (``models/lcrec/model.py``).
"""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.utils import dict2str, early_stopping, get_local_time, set_color

from recbole_lcrec.bridge.loading import HistoryMaskedLoader
from recbole_lcrec.config.resources import properties_dir, unused_path
from recbole_lcrec.llm.adapters import is_adapter_folder
from recbole_lcrec.llm.backbone import Backbone, merge_adapter_folder
from recbole_lcrec.llm.checkpoints import Checkpoints, Progress
from recbole_lcrec.llm.finetune import EpochReport, TuningRun, finetune
from recbole_lcrec.llm.launch import deepspeed_config
from recbole_lcrec.models.lcrec.dataset import LCRecDataset
from recbole_lcrec.models.lcrec.evaluation import LCRecEvaluation, write_results
from recbole_lcrec.models.lcrec.inputs import max_norm
from recbole_lcrec.models.lcrec.resume import checkpoint_folder, find_progress, held, run_identity, run_of
from recbole_lcrec.runs.saved import save_for_recommending
from recbole_lcrec.runtime.artifacts import put_back, whole_folder
from recbole_lcrec.runtime.processes import from_first_process

__all__ = ["LCRecTrainer"]


class LCRecTrainer(LCRecEvaluation):
    """Tunes the language model, scores the validation users after each epoch and keeps the best one.

    Attributes:
        saved_model_file: folder of the saved run: a Hugging Face model and tokenizer, ``<dataset>.index.json``, the
            trie and titles (``runs/saved.py``), ``config.yaml`` and ``results.json``.
    """

    def __init__(self, config: Any, model: Any) -> None:
        """Prepares a run; see RecBole's Trainer.

        Args:
            config: a :class:`recbole_lcrec.config.configurator.Config`.
            model: a :class:`recbole_lcrec.models.lcrec.model.LCRec`.
        """
        super().__init__(config, model)
        self.best_valid_score: float
        self.cur_step: int
        name = f"LCRec-{config['dataset']}-{get_local_time()}"
        self.saved_model_file = str(unused_path(Path(self.checkpoint_dir) / name))
        self.deepspeed = deepspeed_config(config["tuning_deepspeed"], properties_dir() / "deepspeed")
        self.finished = False
        self.checkpoints: Checkpoints | None = None

    def fit(
        self,
        train_data: Any,
        valid_data: Any = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Any = None,
    ) -> tuple[float, Any]:
        """Tunes the model; RecBole's arguments and result.

        Args:
            train_data: RecBole's loader of the training split; only its data set is read.
            valid_data: loader of the validation split; without it, or with ``eval_step`` 0, nothing stops early and
                every epoch is saved in the place of the one before.
            verbose: whether to log each epoch.
            saved: whether to save the best epoch.
            show_progress: whether to draw progress bars.
            callback_fn: called as ``callback_fn(epoch, valid_score)`` after each validation.

        Returns:
            Best validation score and the metrics of that epoch.

        Raises:
            ValueError: ``clip_grad_norm`` or ``valid_sample_users`` asks for what there is not.
        """
        self.eval_collector.data_collect(train_data)
        self.require_enough(*([valid_data] if valid_data else []))
        sample = self._sampled_users(valid_data) if valid_data else None
        source = self.model.instruction_source(train_data._dataset)
        identity = run_identity(
            self.config, train_data._dataset, source, self.model.tokenizer.get_vocab(), self.deepspeed
        )
        progress = find_progress(self.model.tuning.resume, Path(self.checkpoint_dir), identity)
        if progress is not None:
            self._take_over(progress)

        def after_epoch(report: EpochReport) -> bool:
            self._log_epoch(report, verbose)
            if report.epoch < self.model.tuning.stream_epochs:
                return False  # prompts of instructions mean nothing to the model yet
            if not sample or self.eval_step == 0:
                self._keep(report, train_data._dataset, saved, verbose)
                return False
            if (report.epoch + 1) % self.eval_step:
                return False
            started = perf_counter()
            score, result = from_first_process(self._valid_epoch(sample, show_progress=show_progress))
            self.best_valid_score, self.cur_step, stop, better = early_stopping(
                score, self.best_valid_score, self.cur_step, self.stopping_step, self.valid_metric_bigger
            )
            self._log_validation(report.epoch, score, result, perf_counter() - started, verbose)
            if better:
                self.best_valid_result = result
                self._keep(report, train_data._dataset, saved, verbose)
            if callback_fn:
                callback_fn(report.epoch, score)
            if stop and verbose:
                best = report.epoch - self.cur_step * self.eval_step
                self.logger.info(f"Finished training, best eval result in epoch {best}")
            self.finished = stop
            return stop

        started = perf_counter()
        self.checkpoints = self._checkpoints(identity, saved)
        running = held(self.checkpoints.folder) if self.checkpoints and self.is_main else nullcontext()
        with running:
            if self.finished:
                PartialState(cpu=self.device.type != "cuda")  # opens the process group, as the tuning would have done
            else:
                run = TuningRun(
                    source=source,
                    settings=self.model.tuning,
                    deepspeed=self.deepspeed,
                    device=self.device,
                    seed=int(self.config["seed"]),
                    max_grad_norm=max_norm(self.clip_grad_norm),
                    show_progress=show_progress and self.is_main,
                    checkpoints=self.checkpoints,
                    resume=progress,
                )
                finetune(Backbone(self.model.llm, self.model.tokenizer), run, after_epoch)
        if self.config["lora_r"] and self.config["lora_merge"] and saved and self.is_main:
            _merge(Path(self.saved_model_file), self.model.llm.get_base_model().dtype)
        self.saved_model_file = from_first_process(self.saved_model_file)  # which the first process alone has written
        if self.is_main and saved and Path(self.saved_model_file).is_dir():
            write_results(Path(self.saved_model_file), {"train_loss": self._losses()})
        self.logger.info(f"Tuning took {perf_counter() - started:.1f} s")
        self._add_hparam_to_tensorboard(self.best_valid_score)
        return self.best_valid_score, self.best_valid_result

    def evaluate(
        self, eval_data: Any, load_best_model: bool = True, model_file: Any = None, show_progress: bool = False
    ) -> Any:
        """See :meth:`LCRecEvaluation.evaluate`; a run that is tested needs no checkpoints any more."""
        result = super().evaluate(eval_data, load_best_model, model_file, show_progress)
        if load_best_model and eval_data and self.is_main and self.checkpoints is not None:
            self.checkpoints.remove()  # not before: a run that is killed while it is tested can be resumed
        return result

    def _checkpoints(self, identity: dict[str, Any], saved: bool) -> Checkpoints | None:
        every = self.model.tuning.checkpoint_steps
        if every is None or not saved:
            return None
        return Checkpoints(checkpoint_folder(self.saved_model_file), every, identity, self._progress_so_far)

    def _progress_so_far(self) -> dict[str, Any]:
        return {
            "best_valid_score": float(self.best_valid_score),
            "best_valid_result": dict(self.best_valid_result) if self.best_valid_result else None,
            "cur_step": self.cur_step,
            "train_loss": list(self.train_loss_dict.items()),
            "finished": self.finished,
        }

    def _losses(self) -> dict[str, float]:
        return {str(epoch): loss for epoch, loss in self.train_loss_dict.items()}

    def _take_over(self, progress: Progress) -> None:
        """The state of a killed run."""
        state = progress.caller
        self.saved_model_file = run_of(progress)
        if self.is_main:
            put_back(Path(self.saved_model_file))
        self.best_valid_score, self.best_valid_result = state["best_valid_score"], state["best_valid_result"]
        self.cur_step, self.finished = state["cur_step"], state["finished"]
        self.train_loss_dict.update((int(epoch), loss) for epoch, loss in state["train_loss"])
        self.logger.info(f"Resuming {self.saved_model_file} after step {progress.step}")

    def _sampled_users(self, valid_data: Any) -> Any:
        """The validation loader, of ``valid_sample_users`` users drawn by the seed when that is fewer.

        Raises:
            ValueError: fewer are asked for where items are sampled, not ranked in full.
        """
        dataset, count = valid_data._dataset, self.model.tuning.valid_sample_users
        if count is None or count >= len(dataset):
            return valid_data
        if not isinstance(valid_data, FullSortEvalDataLoader):
            raise ValueError(
                f"valid_sample_users = {count} is for validation over every item; give eval_args mode: full, or leave "
                "valid_sample_users out"
            )
        rng = np.random.default_rng(int(self.config["seed"]))
        chosen = np.sort(rng.choice(len(dataset), size=count, replace=False))
        part = dataset.copy(dataset.inter_feat[chosen])
        self.logger.info(f"Validating on {count:,} of {len(dataset):,} users (valid_sample_users)")
        if isinstance(valid_data, HistoryMaskedLoader):
            return HistoryMaskedLoader(self.config, part, valid_data._sampler, valid_data.histories)
        return FullSortEvalDataLoader(self.config, part, valid_data._sampler, shuffle=False)

    def _log_epoch(self, report: EpochReport, verbose: bool) -> None:
        self.train_loss_dict[report.epoch] = report.loss
        if verbose:
            line = self._generate_train_loss_output(report.epoch, 0.0, report.seconds, report.loss)
            self.logger.info(f"{line} [{report.in_words()}]")
        self._add_train_loss_to_tensorboard(report.epoch, report.loss)
        self.wandblogger.log_metrics(
            {"epoch": report.epoch, "train_loss": report.loss, "train_step": report.epoch}, head="train"
        )
        for name, value in report.rates().items():
            self.tensorboard.add_scalar(name, value, report.epoch)
        self.wandblogger.log_metrics({**report.rates(), "train_step": report.epoch}, head="train")

    def _log_validation(self, epoch: int, score: float, result: Any, seconds: float, verbose: bool) -> None:
        if verbose:
            self.logger.info(
                set_color(f"epoch {epoch} evaluating", "green")
                + f" [{set_color('time', 'blue')}: {seconds:.2f}s, {set_color('valid_score', 'blue')}: {score:f}]"
            )
            self.logger.info(set_color("valid result", "blue") + ": \n" + dict2str(result))
        self.tensorboard.add_scalar("Valid_score", score, epoch)
        self.wandblogger.log_metrics({**result, "valid_step": epoch}, head="valid")

    def _keep(self, report: EpochReport, dataset: LCRecDataset, saved: bool, verbose: bool) -> None:
        """Saves this epoch as the best one: written beside, then put in the place of the last."""
        if not saved:
            return
        final = Path(self.saved_model_file)
        with whole_folder(final, self.is_main) as partial:
            report.save(partial)
            if not self.is_main:
                return
            dataset.save_index(partial, before=final)
            model = self.model
            save_for_recommending(
                partial,
                dataset.dataset_name,
                model.trie,
                model.index,
                model.item_ids,
                model.tokenizer.get_vocab(),
                dataset.item_texts.titles if dataset.has_texts() else None,
                model.templates,
                allowed=model.allowed_ids,
            )
            self.config.save(partial / "config.yaml")
            write_results(
                partial,
                {
                    "best_epoch": report.epoch,
                    "valid_metric": self.valid_metric,
                    "best_valid_score": float(self.best_valid_score) if self.best_valid_result else None,
                    "best_valid_result": dict(self.best_valid_result or {}),
                    "train_loss": self._losses(),
                },
            )
        if verbose:
            self.logger.info(set_color("Saving current", "blue") + f": {final}")


def _merge(folder: Path, dtype: torch.dtype) -> None:
    """Puts the merged model in the place of a run's adapter; all other files of the run stay."""
    if not is_adapter_folder(folder):
        return
    with whole_folder(folder) as partial:
        merge_adapter_folder(folder, partial, dtype=dtype)
        for path in folder.iterdir():
            if not path.name.startswith("adapter_") and not (partial / path.name).exists():
                shutil.copyfile(path, partial / path.name)
