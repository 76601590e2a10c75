"""Which run a killed tuning belongs to, and where it goes on.

Knows a run's folder, the folder of its checkpoints beside it, and which settings make a run the same. Refuses to know
what a checkpoint holds (``llm/checkpoints.py``) and how tuning goes on from it.
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
"""The value of ``resume`` that takes the newest killed run of the same settings, if there is one."""

_ENDING = "-checkpoint"
_LOCK = "run.lock"


def checkpoint_folder(run: str | Path) -> Path:
    """Where a run keeps its checkpoints: beside the folder of its best epoch, whose name it adds to."""
    return Path(f"{str(run).rstrip('/').removesuffix(_ENDING)}{_ENDING}")


def run_of(progress: Progress) -> str:
    """The folder of the run that a checkpoint belongs to."""
    return str(progress.folder.parent).removesuffix(_ENDING)


def run_identity(
    config: Any,
    dataset: LCRecDataset,
    source: TuningData,
    vocabulary: Mapping[str, int],
    deepspeed: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What a checkpoint must have in common with a run for the run to go on from it.

    Args:
        config: a :class:`recbole_lcrec.config.configurator.Config`.
        dataset: the training split.
        source: its instructions.
        vocabulary: token -> id, of the model's tokenizer; as many tokens may be other ones.
        deepspeed: content of the DeepSpeed file, if there is one.
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


def check_resume(wanted: str | None) -> None:
    """Makes sure, before any long work, that there is what ``resume`` names.

    Raises:
        ValueError: the folder has no whole checkpoint.
    """
    if wanted in (None, AUTO) or latest_checkpoint(checkpoint_folder(wanted)) is not None:
        return
    raise ValueError(
        f"resume = {wanted!r}: there is no whole checkpoint in {checkpoint_folder(wanted)}. A run that has come to its "
        "end has none any more; give the folder of a killed one, or auto"
    )


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps other processes off the checkpoints of a run that is alive; a killed process holds them no longer.

    Args:
        folder: of the run's checkpoints; made if it is not there.

    Raises:
        ValueError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as err:
        raise ValueError(f"resume: the run of {folder} is still running in another process; wait for its end") from err
    try:
        yield
    finally:
        lock.release()
        if folder.is_dir() and not any(path.name != _LOCK for path in folder.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)  # a run that came to no checkpoint leaves nothing behind


def _is_held(folder: Path) -> bool:
    try:
        with held(folder):
            return False
    except ValueError:
        getLogger().info(f"Passed over by resume = auto: the run of {folder} is still running")
        return True


def find_progress(wanted: str | None, parent: Path, model: str, identity: dict[str, Any]) -> Progress | None:
    """How far the run had come that ``resume`` names; None for a new run.

    Args:
        wanted: a run's folder, :data:`AUTO`, or None.
        parent: folder of all runs.
        model: the model's label, with which the runs' folders begin.
        identity: of this run.

    Raises:
        ValueError: the checkpoint is of another run.
    """
    if wanted is None:
        return None
    if wanted != AUTO:
        check_resume(wanted)
        checkpoint = latest_checkpoint(checkpoint_folder(wanted))
        return read_progress(checkpoint, identity) if checkpoint else None
    folders = list(parent.glob(f"{model}-{identity['dataset']}-*{_ENDING}"))
    if process_count() == 1:  # of several, one may hold already what another still looks for
        folders = [folder for folder in folders if not _is_held(folder)]
    found = [checkpoint for folder in folders if (checkpoint := latest_checkpoint(folder))]
    for checkpoint in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            return read_progress(checkpoint, identity)
        except ValueError as err:
            getLogger().info(f"Passed over by resume = auto: {err}")
    getLogger().info(f"Nothing to resume in {parent}: a new run begins")
    return None
