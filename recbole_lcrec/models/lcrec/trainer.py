"""RecBole's trainer for LC-Rec: ``fit`` tunes the language model, ``evaluate`` is RecBole's own."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.utils import get_local_time

from recbole_lcrec.bridge.masking import HistoryMaskedLoader
from recbole_lcrec.config.resources import properties_dir
from recbole_lcrec.config.settings import LoraSettings
from recbole_lcrec.llm.adapters import is_adapter_folder
from recbole_lcrec.llm.backbone import Backbone, merge_adapter_folder
from recbole_lcrec.llm.checkpoints import Checkpoints, Progress
from recbole_lcrec.llm.deepspeed_files import deepspeed_config
from recbole_lcrec.llm.finetune import TuningRun, finetune
from recbole_lcrec.models.lcrec.dataset import LCRecDataset
from recbole_lcrec.models.lcrec.early_stopping import EarlyStopping
from recbole_lcrec.models.lcrec.epochs import EpochHandler
from recbole_lcrec.models.lcrec.evaluation import LCRecEvaluation
from recbole_lcrec.models.lcrec.inputs import max_norm
from recbole_lcrec.models.lcrec.resume import checkpoint_folder, find_progress, held, run_identity, run_of
from recbole_lcrec.runs.results_file import write_results
from recbole_lcrec.runs.saved import SavedCatalogue, save_for_recommending
from recbole_lcrec.runtime.artifacts import put_back, whole_folder
from recbole_lcrec.runtime.claims import claimed_folder
from recbole_lcrec.runtime.processes import from_first_process

__all__ = ["LCRecTrainer"]


class LCRecTrainer(LCRecEvaluation):
    """Tunes the language model, ranks the validation users after each epoch and saves the best epoch.

    Attributes:
        saved_model_file: folder of the saved run: a Hugging Face model and tokenizer, ``<dataset>.index.json``, the
            trie and titles (``runs/saved.py``), ``config.yaml`` and ``results.json``.
        stopping: state of early stopping.
        started, seconds_before: when the tuning began, and how long it had taken before it was resumed.
    """

    def __init__(self, config: Any, model: Any) -> None:
        """Prepare a run; see RecBole's Trainer.

        Args:
            config: a :class:`recbole_lcrec.config.configurator.Config`.
            model: a :class:`recbole_lcrec.models.lcrec.model.LCRec`.
        """
        super().__init__(config, model)
        name = f"{config.label}-{config['dataset']}-{get_local_time()}"
        self.saved_model_file = str(Path(self.checkpoint_dir) / name)
        self.deepspeed = deepspeed_config(model.tuning.deepspeed, properties_dir() / "deepspeed")
        self.stop_by(EarlyStopping.start(self.stopping_step, self.valid_metric_bigger))
        self.checkpoints: Checkpoints | None = None
        self.started, self.seconds_before = perf_counter(), 0.0

    def stop_by(self, stopping: EarlyStopping) -> None:
        """Set the state of early stopping, also in RecBole's attributes."""
        self.stopping = stopping
        self.best_valid_score, self.best_valid_result = stopping.best_score, stopping.best_result
        self.cur_step = stopping.since_best

    def fit(
        self,
        train_data: Any,
        valid_data: Any = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Any = None,
    ) -> tuple[float, Any]:
        """Tune the model; RecBole's arguments and result.

        Args:
            train_data: RecBole's loader of the training split; only its data set is used.
            valid_data: loader of the validation split; without it, or with ``eval_step`` 0, there is no early stopping
                and every epoch replaces the saved one.
            verbose: whether to log each epoch.
            saved: whether to save the best epoch.
            show_progress: whether to draw progress bars.
            callback_fn: called as ``callback_fn(epoch, valid_score)`` after each validation.

        Returns:
            The best validation score, and the metrics of that epoch.

        Raises:
            ValueError: ``clip_grad_norm`` or ``valid_sample_users`` is not supported here.
        """
        self.eval_collector.data_collect(train_data)
        self.require_enough(*([valid_data] if valid_data else []))
        dataset: LCRecDataset = train_data._dataset
        valid = self._sampled_users(valid_data) if valid_data and self.eval_step else None
        handler = EpochHandler(self, dataset, valid, saved, verbose, show_progress, callback_fn)
        source = self.model.instruction_source(dataset)
        identity = run_identity(self.config, dataset, source, self.model.tokenizer.get_vocab(), self.deepspeed)
        progress = find_progress(self.model.tuning.resume, Path(self.checkpoint_dir), self.config.label, identity)
        if progress is not None:
            self._take_over(progress)
        self.started = perf_counter()
        with ExitStack() as held_names:
            if progress is None and saved and self.is_main:
                folder = held_names.enter_context(claimed_folder(Path(self.saved_model_file)))
                self.saved_model_file = str(folder)
            self.checkpoints = self._checkpoints(identity, saved)
            if self.checkpoints and self.is_main:
                held_names.enter_context(held(self.checkpoints.folder))
            if self.stopping.stopped:
                PartialState(cpu=self.device.type != "cuda")  # opens the process group, as the tuning would
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
                    validations=handler.validations,
                )
                finetune(Backbone(self.model.llm, self.model.tokenizer), run, handler)
        lora = self.config.stage(LoraSettings)
        if lora.r and lora.merge and saved and self.is_main:
            _merge(Path(self.saved_model_file), self.model.llm.get_base_model().dtype)
        self.saved_model_file = from_first_process(self.saved_model_file)  # only the first process has written it
        if self.is_main and saved and Path(self.saved_model_file).is_dir():
            write_results(Path(self.saved_model_file), {"train_loss": self.losses()})
        self.logger.info(f"Tuning took {perf_counter() - self.started:.1f} s")
        self._add_hparam_to_tensorboard(self.best_valid_score)
        return self.best_valid_score, self.best_valid_result

    def evaluate(
        self, eval_data: Any, load_best_model: bool = True, model_file: Any = None, show_progress: bool = False
    ) -> Any:
        """Evaluate as :meth:`LCRecEvaluation.evaluate` does, and remove the checkpoints of a run that is tested."""
        result = super().evaluate(eval_data, load_best_model, model_file, show_progress)
        if load_best_model and eval_data and self.is_main and self.checkpoints is not None:
            self.checkpoints.remove()  # not earlier, so that a run killed during the test can be resumed
        return result

    def losses(self) -> dict[str, float]:
        """Return epoch -> training loss (nats per response token)."""
        return {str(epoch): loss for epoch, loss in self.train_loss_dict.items()}

    def save_catalogue(self, folder: Path, dataset: LCRecDataset, before: Path) -> None:
        """Write everything but the model: index, trie, titles, templates and configuration.

        Args:
            folder: folder of the run that is being written.
            dataset: supplies index and titles.
            before: folder of the run's earlier epoch, whose report is copied instead of made again.
        """
        dataset.save_index(folder, before=before)
        model = self.model
        titles = dataset.item_texts.titles if dataset.has_texts() else ("",) * len(model.item_ids)
        catalogue = SavedCatalogue(model.item_ids, model.index, model.trie, tuple(titles), model.templates)
        save_for_recommending(
            folder, dataset.dataset_name, catalogue, model.tokenizer.get_vocab(), allowed=model.allowed_ids
        )
        self.config.save(folder / "config.yaml")

    def _checkpoints(self, identity: dict[str, Any], saved: bool) -> Checkpoints | None:
        every = self.model.tuning.checkpoint_steps
        if every is None or not saved:
            return None
        return Checkpoints(checkpoint_folder(self.saved_model_file), every, identity, self._progress_so_far)

    def _progress_so_far(self) -> dict[str, Any]:
        seconds = self.seconds_before + perf_counter() - self.started
        return {**self.stopping.to_plain(), "train_loss": list(self.train_loss_dict.items()), "seconds": seconds}

    def _take_over(self, progress: Progress) -> None:
        """Restore the state of a killed run."""
        self.saved_model_file = run_of(progress)
        if self.is_main:
            put_back(Path(self.saved_model_file))
        self.stop_by(self.stopping.resumed(progress.caller))
        self.seconds_before = progress.caller.get("seconds", 0.0)  # checkpoints of earlier versions have none
        self.train_loss_dict.update((int(epoch), loss) for epoch, loss in progress.caller["train_loss"])
        self.logger.info(f"Resuming {self.saved_model_file} after step {progress.step}")

    def _sampled_users(self, valid_data: Any) -> Any:
        """Return the validation loader, reduced to ``valid_sample_users`` users drawn by the seed.

        Raises:
            ValueError: users would be drawn, but the loader samples candidate items.
        """
        dataset, count = valid_data._dataset, self.model.tuning.valid_sample_users
        if count is None or count >= len(dataset):
            return valid_data
        if not isinstance(valid_data, FullSortEvalDataLoader):
            raise ValueError(
                f"valid_sample_users = {count} needs validation over every item; set eval_args mode: full, or remove "
                "valid_sample_users"
            )
        rng = np.random.default_rng(int(self.config["seed"]))
        chosen = np.sort(rng.choice(len(dataset), size=count, replace=False))
        part = dataset.copy(dataset.inter_feat[chosen])
        self.logger.info(f"Validating on {count:,} of {len(dataset):,} users (valid_sample_users)")
        if isinstance(valid_data, HistoryMaskedLoader):
            return valid_data.of(part)
        return FullSortEvalDataLoader(self.config, part, valid_data._sampler, shuffle=False)


def _merge(folder: Path, dtype: torch.dtype) -> None:
    """Replace a run's adapter by the merged model; all other files of the run are kept."""
    if not is_adapter_folder(folder):
        return
    with whole_folder(folder) as partial:
        merge_adapter_folder(folder, partial, dtype=dtype)
        for path in folder.iterdir():
            if not path.name.startswith("adapter_") and not (partial / path.name).exists():
                shutil.copyfile(path, partial / path.name)
