"""Resuming of RecBole's trainers: the state before each epoch, from which a killed training continues."""

from __future__ import annotations

import os
import pickle
import random
from logging import getLogger
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from recbole.trainer import S3RecTrainer, Trainer

from recbole_lcrec.config.values import first_line

__all__ = ["PROGRESS_FILE", "can_resume", "keep_progress"]

PROGRESS_FILE = "progress.pt"
_STOPPING = ("cur_step", "best_valid_score", "best_valid_result", "train_loss_dict")


def can_resume(trainer: Any) -> bool:
    """Return whether a trainer runs RecBole's loop over epochs, which :func:`keep_progress` understands.

    NCL and RaCT have loops of their own and begin anew.
    """
    return type(trainer).fit in (Trainer.fit, S3RecTrainer.fit)


def keep_progress(trainer: Any, train_data: Any, path: Path, began: float) -> None:
    """Write the state of a training before each epoch, after restoring the state of a killed one.

    The state is all that the following epochs depend on: weights and other numbers of the model, optimizers, early
    stopping, and the random numbers of Python, NumPy, PyTorch and the loaders. So a resumed training gives the figures
    of one that was not interrupted. A file that cannot be read is reported, and the training begins anew.

    Args:
        trainer: one that :func:`can_resume`; changed in place. Training begins with its ``start_epoch``.
        train_data: RecBole's loader of the training rows.
        path: the file of the state.
        began: ``time.perf_counter()`` at the beginning of the training; the seconds of a killed process are added up in
            ``trainer.seconds_before``.
    """
    trainer.seconds_before = 0.0
    state = _read(path)
    if state is not None:
        _restore(trainer, train_data, state)
        getLogger().info(f"Resuming {trainer.saved_model_file} before epoch {trainer.start_epoch}")
    train_epoch = trainer._train_epoch

    def train_and_keep(data: Any, epoch: int, *args: Any, **kwargs: Any) -> Any:
        partial = path.with_suffix(".writing")
        seconds = trainer.seconds_before + perf_counter() - began
        torch.save({**_state(trainer, train_data, epoch), "seconds": seconds}, partial)
        os.replace(partial, path)
        return train_epoch(data, epoch, *args, **kwargs)

    trainer._train_epoch = train_and_keep


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=False)
    except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError, OSError) as err:
        getLogger().warning(f"{path} cannot be read ({first_line(err)}): the training begins anew")
        return None
    return state


def _state(trainer: Any, train_data: Any, epoch: int) -> dict[str, Any]:
    optimizers = _optimizers(trainer)
    return {
        "epoch": epoch,
        "model": trainer.model.state_dict(),
        "other_parameter": trainer.model.other_parameter(),
        "numbers": {name: _numbers(module) for name, module in trainer.model.named_modules()},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
        "same": {name: other for name in optimizers for other in _others(optimizers, name)},
        "stopping": {name: getattr(trainer, name) for name in _STOPPING if hasattr(trainer, name)},
        "loaders": [loader.generator.get_state() for loader in _loaders(train_data)],
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _restore(trainer: Any, train_data: Any, state: dict[str, Any]) -> None:
    trainer.start_epoch, trainer.seconds_before = state["epoch"], state["seconds"]
    trainer.model.load_state_dict(state["model"])
    trainer.model.load_other_parameter(state["other_parameter"])
    for name, module in trainer.model.named_modules():
        for attribute, value in state["numbers"][name].items():
            present = getattr(module, attribute)
            moved = isinstance(value, torch.Tensor) and isinstance(present, torch.Tensor)
            setattr(module, attribute, value.to(present.device) if moved else value)
    for name, other in state["same"].items():
        setattr(trainer, other, getattr(trainer, name))
    for name, optimizer in _optimizers(trainer).items():
        optimizer.load_state_dict(state["optimizers"][name])
    for name, value in state["stopping"].items():
        setattr(trainer, name, value)
    for loader, generator in zip(_loaders(train_data), state["loaders"], strict=True):
        loader.generator.set_state(generator)
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def _numbers(module: torch.nn.Module) -> dict[str, Any]:
    """Return a module's numbers and arrays that its ``state_dict`` lacks, such as MultiVAE's count of updates."""
    kinds = (bool, int, float, np.generic, np.ndarray, torch.Tensor)
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, kinds) and not name.startswith("_") and name != "training"
    }


def _optimizers(trainer: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(trainer).items() if isinstance(value, torch.optim.Optimizer)}


def _others(optimizers: dict[str, Any], name: str) -> list[str]:
    """Return earlier names of the same optimizer: RecVAE's trainer takes turns with two of them as ``optimizer``."""
    names = list(optimizers)
    return [other for other in names[: names.index(name)] if optimizers[other] is optimizers[name]]


def _loaders(train_data: Any) -> list[Any]:
    """Return the loaders with random numbers of their own; RecBole's knowledge models have two."""
    parts = [train_data, *(getattr(train_data, name, None) for name in ("general_dataloader", "kg_dataloader"))]
    return [part for part in parts if isinstance(getattr(part, "generator", None), torch.Generator)]
