"""S3-Rec's two stages in one run.

Pre-training on item attributes, then fine-tuning from the pre-trained weights.

With RecBole alone, users run it twice and copy the path of the weights by hand. The trainer runs the second stage.
"""

from __future__ import annotations

import copy
import os
import pickle
import tempfile
import time
from logging import getLogger
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recbole_lcrec.bridge import building
from recbole_lcrec.config.values import first_line
from recbole_lcrec.runs.resuming import PROGRESS_FILE, keep_progress

__all__ = ["attribute_targets", "build_model", "pretrained"]

_PROGRESS_FILE = "pretraining.pt"


def pretrained(
    model: Any, config: Any, train_data: Any, saved_model_file: Path | None = None, kept: Path | None = None
) -> Any:
    """Pre-train a model under ``train_stage: pretrain``, and return the model of the second stage.

    The weights are written every ``save_step`` epochs and at the end to one file beside the run's, which
    ``train_stage: finetune`` accepts as ``pre_model_path``.

    Args:
        model: the model built from ``config``.
        config: a :class:`recbole_lcrec.config.Config`, which is not changed.
        train_data: the loader of the training rows.
        saved_model_file: the file of the run; None: nothing is kept.
        kept: folder in which a run that may be killed keeps its progress; None: it is not resumed.

    Returns:
        ``model`` itself under ``train_stage: finetune``, else the model of the second stage.
    """
    if config["train_stage"] != "pretrain":
        return model
    with tempfile.TemporaryDirectory() as scratch:
        trainer = building.build_trainer(config, model, saved_model_file or Path(scratch) / "S3Rec.pth")
        path = Path(trainer.saved_model_file)
        path = path.with_name(f"{path.stem}-pretrained.pth")
        if kept is None or not (kept / PROGRESS_FILE).is_file():  # else the second stage has begun
            if kept is not None:
                keep_progress(trainer, train_data, kept / _PROGRESS_FILE, time.perf_counter())
            _pretrain(trainer, model, config, train_data, path)
        if kept is not None:
            (kept / _PROGRESS_FILE).unlink(missing_ok=True)
        second = copy.copy(config)  # the given ``config`` is saved with the model
        second.final_config_dict = {**config.final_config_dict, "train_stage": "finetune", "pre_model_path": str(path)}
        return build_model(second, train_data)


def build_model(config: Any, train_data: Any) -> Any:
    """Build the model of the configured stage; the second stage reads the pre-trained file.

    Args:
        config: a :class:`recbole_lcrec.config.Config`.
        train_data: the loader of the training rows.

    Raises:
        ValueError: the file of pre-trained weights is damaged, or of another data set or other sizes.
    """
    try:
        return building.build_model(config, train_data)
    except (RuntimeError, KeyError, TypeError, pickle.UnpicklingError, EOFError) as err:
        if config["train_stage"] != "finetune":
            raise
        raise ValueError(
            f"pre_model_path = {config['pre_model_path']!r} contains no S3Rec of this data set and these sizes "
            f"({first_line(err)}); give a file saved by a run with the same data and sizes, or keep train_stage = "
            "'pretrain'"
        ) from err


def _pretrain(trainer: Any, model: Any, config: Any, train_data: Any, path: Path) -> None:
    epochs, log = config["pretrain_epochs"], getLogger()
    model.reconstruct_pretrain_data = _QuickTargets(model)
    log.info(f"S3Rec is pre-trained for {epochs} epochs and then fine-tuned from {path}")
    for epoch in range(trainer.start_epoch, epochs):
        started = time.perf_counter()
        loss = trainer._train_epoch(train_data, epoch, show_progress=config["show_progress"])
        log.info(f"pre-training epoch {epoch} [time: {time.perf_counter() - started:.2f}s, train loss: {loss:.4f}]")
        if (epoch + 1) % config["save_step"] == 0 or epoch + 1 == epochs:
            partial = path.with_suffix(".writing")
            trainer.save_pretrained_model(epoch, str(partial))
            os.replace(partial, path)
            log.info(f"pre-trained model of epoch {epoch} saved in {path}")


class _QuickTargets:
    """RecBole's ``reconstruct_pretrain_data`` with attribute targets computed by indexing.

    RecBole builds them as Python lists with an entry for each attribute of each position, and mistakes a missing
    single-valued attribute for the last attribute. Everything else, including random numbers, is RecBole's.
    """

    def __init__(self, model: Any) -> None:
        self.model, self.draw = model, model.reconstruct_pretrain_data
        self.values = model.item_feat[model.FEATURE_FIELD]
        self.nothing = {model.FEATURE_FIELD: torch.zeros((len(self.values), 1), dtype=torch.long)}

    def __call__(self, item_seq: Tensor, item_seq_len: Tensor) -> tuple[Tensor, ...]:
        model = self.model
        kept = model.item_feat, model.n_features
        model.item_feat, model.n_features = self.nothing, 1
        try:
            _, masked, items, *others = self.draw(item_seq, item_seq_len)
        finally:
            model.item_feat, model.n_features = kept
        return attribute_targets(self.values.to(items.device), items, model.n_features), masked, items, *others


def attribute_targets(values: Tensor, items: Tensor, count: int) -> Tensor:
    """Return which attributes each item has, as 0 or 1.

    Args:
        values: int64 [N + 1] or [N + 1, S], up to S attributes 1 .. count of each item id; 0 stands for none.
        items: int64 [B, L], item ids; 0 is padding, which has no attributes.
        count: number of attributes.

    Returns:
        float32 [B, L, count], 1 where the item has the attribute.
    """
    ids = values[items].reshape(*items.shape, -1)
    return torch.zeros((*items.shape, count + 1), device=items.device).scatter_(-1, ids, 1.0)[..., 1:]
