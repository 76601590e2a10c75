"""Which run a killed tuning belongs to, and where it goes on.

Knows a run's folder, the folder of its checkpoints beside it, and which settings make a run the same. Refuses to know
what a checkpoint holds (``llm/checkpoints.py``) and how tuning goes on from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_lcrec.artifacts import fingerprint
from recbole_lcrec.dataset import LCRecDataset
from recbole_lcrec.instructions.mixture import InstructionSource
from recbole_lcrec.llm.checkpoints import Progress, latest_checkpoint, read_progress
from recbole_lcrec.processes import process_count
from recbole_lcrec.settings import RESUMED_KEYS

__all__ = ["AUTO", "check_resume", "checkpoint_folder", "find_progress", "run_identity", "run_of"]

AUTO = "auto"
"""The value of ``resume`` that takes the newest killed run of the same settings, if there is one."""

_ENDING = "-checkpoint"


def checkpoint_folder(run: str | Path) -> Path:
    """Where a run keeps its checkpoints: beside the folder of its best epoch, whose name it adds to."""
    return Path(f"{str(run).rstrip('/').removesuffix(_ENDING)}{_ENDING}")


def run_of(progress: Progress) -> str:
    """The folder of the run that a checkpoint belongs to."""
    return str(progress.folder.parent).removesuffix(_ENDING)


def run_identity(
    config: Any, dataset: LCRecDataset, source: InstructionSource, vocabulary: Mapping[str, int]
) -> dict[str, Any]:
    """What a checkpoint must have in common with a run for the run to go on from it.

    Args:
        config: a :class:`recbole_lcrec.config.Config`.
        dataset: the training split.
        source: its instructions.
        vocabulary: token -> id, of the model's tokenizer; as many tokens may be other ones.
    """
    plain = config.to_plain()
    return {
        "dataset": config["dataset"],
        "interactions and texts": fingerprint(
            {"sequences": dataset.sequences(), "texts": dataset.item_texts if dataset.has_texts() else None}
        )[:12],
        "item index": fingerprint({"codes": dataset.item_index.codes})[:12],
        "vocabulary": f"{len(vocabulary)} tokens, {fingerprint(vocabulary)[:12]}",
        "instructions of an epoch": [source.size(epoch) for epoch in range(config["epochs"])],
        "processes": process_count(),
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


def find_progress(wanted: str | None, parent: Path, identity: dict[str, Any]) -> Progress | None:
    """How far the run had come that ``resume`` names; None for a new run.

    Args:
        wanted: a run's folder, :data:`AUTO`, or None.
        parent: folder of all runs.
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
    folders = parent.glob(f"LCRec-{identity['dataset']}-*{_ENDING}")
    found = [checkpoint for folder in folders if (checkpoint := latest_checkpoint(folder))]
    for checkpoint in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            return read_progress(checkpoint, identity)
        except ValueError as err:
            getLogger().info(f"Passed over by resume = auto: {err}")
    getLogger().info(f"Nothing to resume in {parent}: a new run begins")
    return None
