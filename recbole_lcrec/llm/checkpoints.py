"""Checkpoints of a running tuning.

A complete one always exists, and only the same run can resume from it.

The content of a checkpoint is written by transformers and DeepSpeed.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_lcrec.runtime.artifacts import whole_folder

__all__ = ["Checkpoints", "Progress", "latest_checkpoint", "read_progress"]

_PROGRESS = "progress.json"
_STEP = re.compile(r"step-(\d+)")


@dataclass(frozen=True)
class Progress:
    """The progress of a run at a checkpoint.

    Attributes:
        folder: folder of the checkpoint.
        step: number of completed optimizer steps.
        sums: running sums of the unfinished epoch.
        caller: state that the caller of the tuning saved.
    """

    folder: Path
    step: int
    sums: dict[str, float]
    caller: dict[str, Any]

    @property
    def written(self) -> Path:
        """The folder that transformers or DeepSpeed wrote."""
        return self.folder / f"checkpoint-{self.step}"


@dataclass(frozen=True)
class Checkpoints:
    """Where and how often a run saves checkpoints.

    Attributes:
        folder: holds one folder ``step-N``, the latest checkpoint.
        every: optimizer steps between checkpoints; there is always one at the end of an epoch.
        identity: what must be unchanged for the run to be resumed, in JSON-serialisable values.
        caller: returns the caller's state, in JSON-serialisable values.
    """

    folder: Path
    every: int
    identity: Mapping[str, Any]
    caller: Callable[[], dict[str, Any]]

    def due(self, step: int) -> bool:
        """Return whether a checkpoint is due after this many steps, apart from ends of epochs."""
        return step % self.every == 0

    @contextmanager
    def keep(self, step: int, sums: Mapping[str, float], owner: bool, wait: Callable[[], None]) -> Iterator[Path]:
        """Open a folder to write weights and optimizer state to; it becomes a checkpoint when the block ends.

        The previous checkpoint is deleted afterwards, so that a complete checkpoint exists at all times.

        Args:
            step: number of completed optimizer steps.
            sums: see :class:`Progress`.
            owner: whether this process creates and renames the folder; all processes write into it.
            wait: a barrier; returns when every process has called it.

        Raises:
            DiskFullError: the disk is full; the previous checkpoint is unchanged.
        """
        final = self.folder / f"step-{step}"
        with whole_folder(final, owner) as partial:
            wait()
            yield partial
            if owner:
                progress = {"step": step, "sums": dict(sums), "caller": self.caller(), "identity": dict(self.identity)}
                (partial / _PROGRESS).write_text(json.dumps(progress, indent=2) + "\n", encoding="utf-8")
            wait()
        wait()
        if owner:
            for other in _steps(self.folder):
                if other != final:
                    _remove(other)

    def remove(self) -> None:
        """Delete the checkpoints of a finished run."""
        for checkpoint in _steps(self.folder):
            _remove(checkpoint)
        shutil.rmtree(self.folder, ignore_errors=True)


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the latest complete checkpoint in a folder of :class:`Checkpoints`, or None."""
    return max(_steps(folder), key=lambda path: int(path.name.removeprefix("step-")), default=None)


def _remove(checkpoint: Path) -> None:
    """Delete a checkpoint, ``progress.json`` first, so that after a kill the rest does not look complete."""
    (checkpoint / _PROGRESS).unlink(missing_ok=True)
    shutil.rmtree(checkpoint, ignore_errors=True)


def _steps(folder: Path) -> list[Path]:
    found = folder.iterdir() if folder.is_dir() else ()
    return [path for path in found if _STEP.fullmatch(path.name) and (path / _PROGRESS).is_file()]


def read_progress(checkpoint: Path, identity: Mapping[str, Any]) -> Progress:
    """Read the progress of a run, and check that the checkpoint belongs to the same run.

    Args:
        checkpoint: a checkpoint found by :func:`latest_checkpoint`.
        identity: identity of the run to resume.

    Raises:
        ValueError: the checkpoint belongs to a run with different settings, index or vocabulary; the message lists the
            differences.
    """
    content = json.loads((checkpoint / _PROGRESS).read_text(encoding="utf-8"))
    saved, current = content.pop("identity"), json.loads(json.dumps(dict(identity)))
    differing = [
        f"{key} was {saved.get(key)!r} and is {current.get(key)!r}"
        for key in {**saved, **current}
        if saved.get(key) != current.get(key)
    ]
    if differing:
        raise ValueError(
            f"resume: the checkpoint {checkpoint} belongs to a different run ({'; '.join(differing)}); use that run's "
            "settings, or remove resume to start a new run"
        )
    return Progress(checkpoint, **content)
