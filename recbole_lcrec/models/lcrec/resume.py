"""Resuming of a killed run from its checkpoints.

Defines where they are, what must be equal, and which process holds them.

``llm/checkpoints.py`` writes and reads the checkpoints themselves.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from recbole_lcrec.llm.checkpoints import Progress, latest_checkpoint, read_progress
from recbole_lcrec.llm.devices import resolve_precision
from recbole_lcrec.models.lcrec.dataset import LCRecDataset
from recbole_lcrec.models.lcrec.settings import RESUMED_KEYS
from recbole_lcrec.models.lcrec.tuning_data import TuningData
from recbole_lcrec.runtime.fingerprints import fingerprint
from recbole_lcrec.runtime.processes import process_count

__all__ = ["AUTO", "check_resume", "checkpoint_folder", "find_progress", "held", "run_identity", "run_of"]

AUTO = "auto"
"""The value of ``resume`` that selects the newest killed run with the same settings, if there is one."""

_ENDING = "-checkpoint"
_LOCK = "run.lock"


def checkpoint_folder(run: str | Path) -> Path:
    """Return the folder of a run's checkpoints, which is beside the folder of its best epoch.

    Args:
        run: either of the two folders.
    """
    return Path(f"{str(run).rstrip('/').removesuffix(_ENDING)}{_ENDING}")


def run_of(progress: Progress) -> str:
    """Return the folder of the run that a checkpoint belongs to."""
    return str(progress.folder.parent).removesuffix(_ENDING)


def run_identity(
    config: Any,
    dataset: LCRecDataset,
    source: TuningData,
    vocabulary: Mapping[str, int],
    deepspeed: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return everything that a checkpoint and a run must have in common for the run to resume from it.

    Args:
        config: a :class:`recbole_lcrec.config.configurator.Config`.
        dataset: the training split.
        source: its instructions.
        vocabulary: token -> id of the model's tokenizer.
        deepspeed: content of the DeepSpeed file; None: DeepSpeed is not used.
    """
    plain = config.to_plain()
    return {
        "dataset": config["dataset"],
        "item index": fingerprint({"codes": dataset.item_index.codes})[:12],
        "vocabulary": f"{len(vocabulary)} tokens, {fingerprint(vocabulary)[:12]}",
        "instructions": source.digest[:12],
        "instructions of an epoch": [source.size(epoch) for epoch in range(config["epochs"])],
        "processes": process_count(),
        "device": config["device"].type,
        "precision": resolve_precision(config["tuning_precision"], config["device"]),
        "DeepSpeed": fingerprint(deepspeed)[:12] if deepspeed is not None else None,
        **{key: plain[key] for key in sorted(RESUMED_KEYS) if key in plain},
    }


def check_resume(resume: str | None) -> None:
    """Check, before any long work, that the run named by ``resume`` has a complete checkpoint.

    Raises:
        ValueError: the folder has no complete checkpoint.
    """
    if resume in (None, AUTO) or latest_checkpoint(checkpoint_folder(resume)) is not None:
        return
    raise ValueError(
        f"resume = {resume!r}: there is no complete checkpoint in {checkpoint_folder(resume)}. A finished run has "
        "removed its checkpoints; give the folder of a killed run, or auto"
    )


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Lock the checkpoints of a running run against other processes; a killed process loses the lock.

    Args:
        folder: folder of the run's checkpoints; created if it does not exist.

    Raises:
        ValueError: another process holds the lock.
    """
    lock = FileLock(folder / _LOCK)
    while not (folder / _LOCK).is_file() or not lock.is_locked:  # a process that only looks may remove the folder
        lock.release()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout as err:
            raise ValueError(
                f"resume: the run of {folder} is still running in another process; wait until it ends"
            ) from err
        except FileNotFoundError:
            continue
    try:
        yield
    finally:
        lock.release()
        if folder.is_dir() and not any(path.name != _LOCK for path in folder.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)  # a run without a checkpoint leaves no folder behind


def _is_held(folder: Path) -> bool:
    try:
        with held(folder):
            return False
    except ValueError:
        getLogger().info(f"Skipped by resume = auto: the run of {folder} is still running")
        return True


def find_progress(resume: str | None, parent: Path, label: str, identity: dict[str, Any]) -> Progress | None:
    """Return the progress of the run to resume; None for a new run.

    Args:
        resume: a run's folder, :data:`AUTO`, or None.
        parent: folder of all runs.
        label: the model's label, the prefix of the names of its runs.
        identity: :func:`run_identity` of this run.

    Raises:
        ValueError: the checkpoint belongs to a different run.
    """
    if resume is None:
        return None
    if resume != AUTO:
        check_resume(resume)
        checkpoint = latest_checkpoint(checkpoint_folder(resume))
        return read_progress(checkpoint, identity) if checkpoint else None
    folders = list(parent.glob(f"{label}-{identity['dataset']}-*{_ENDING}"))
    if process_count() == 1:  # one of several processes may already hold the lock of the run that all resume
        folders = [folder for folder in folders if not _is_held(folder)]
    found = [checkpoint for folder in folders if (checkpoint := latest_checkpoint(folder))]
    for checkpoint in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            return read_progress(checkpoint, identity)
        except ValueError as err:
            getLogger().info(f"Skipped by resume = auto: {err}")
    getLogger().info(f"Nothing to resume in {parent}: starting a new run")
    return None
