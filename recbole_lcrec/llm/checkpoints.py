"""Checkpoints of a tuning under way: whole at any moment, and gone on with only by the same run.

Knows folders, their order and what identifies a run. Refuses to know what transformers and DeepSpeed write into them.
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
    """How far a run had come at a checkpoint.

    Attributes:
        folder: of the checkpoint.
        step: optimizer steps done.
        sums: what the unfinished epoch has added up so far.
        caller: what the caller of the tuning wants to find again.
    """

    folder: Path
    step: int
    sums: dict[str, float]
    caller: dict[str, Any]

    @property
    def written(self) -> Path:
        """What transformers or DeepSpeed wrote into the folder."""
        return self.folder / f"checkpoint-{self.step}"


@dataclass(frozen=True)
class Checkpoints:
    """Where a run keeps its checkpoints, and when.

    Attributes:
        folder: holds one folder ``step-N``, the newest.
        every: optimizer steps between two; ends of epochs have one in any case.
        identity: what must be the same for the run to be gone on with, in values that JSON holds.
        caller: gives the caller's own state, in values that JSON holds.
    """

    folder: Path
    every: int
    identity: Mapping[str, Any]
    caller: Callable[[], dict[str, Any]]

    def due(self, step: int) -> bool:
        """Whether a checkpoint is kept after this many steps, apart from ends of epochs."""
        return step % self.every == 0

    @contextmanager
    def keep(self, step: int, sums: Mapping[str, float], owner: bool, wait: Callable[[], None]) -> Iterator[Path]:
        """A folder to write weights and optimizer into; it counts from the moment when it is whole.

        The older checkpoint goes when the new one is there, so that one whole checkpoint exists at any moment.

        Args:
            step: optimizer steps done.
            sums: see :class:`Progress`.
            owner: whether this process makes and renames the folder; all write into it.
            wait: returns when every process has called it.

        Raises:
            DiskFullError: there is no space left; the older checkpoint stays.
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
        """Deletes the checkpoints of a run that has come to its end."""
        for checkpoint in _steps(self.folder):
            _remove(checkpoint)
        shutil.rmtree(self.folder, ignore_errors=True)


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in a folder of :class:`Checkpoints`, or None."""
    return max(_steps(folder), key=lambda path: int(path.name.removeprefix("step-")), default=None)


def _remove(checkpoint: Path) -> None:
    """Deletes a checkpoint, what makes it count first, so that a kill leaves none that only looks whole."""
    (checkpoint / _PROGRESS).unlink(missing_ok=True)
    shutil.rmtree(checkpoint, ignore_errors=True)


def _steps(folder: Path) -> list[Path]:
    found = folder.iterdir() if folder.is_dir() else ()
    return [path for path in found if _STEP.fullmatch(path.name) and (path / _PROGRESS).is_file()]


def read_progress(checkpoint: Path, identity: Mapping[str, Any]) -> Progress:
    """Reads how far a run had come, after making sure that it is the same run.

    Args:
        checkpoint: of :func:`latest_checkpoint`.
        identity: of the run that wants to go on.

    Raises:
        ValueError: the checkpoint is of a run with other settings, another index or another vocabulary; says which.
    """
    content = json.loads((checkpoint / _PROGRESS).read_text(encoding="utf-8"))
    saved, wanted = content.pop("identity"), json.loads(json.dumps(dict(identity)))
    differing = [
        f"{key} was {saved.get(key)!r} and is {wanted.get(key)!r}"
        for key in {**saved, **wanted}
        if saved.get(key) != wanted.get(key)
    ]
    if differing:
        raise ValueError(
            f"resume: the checkpoint {checkpoint} is of another run ({'; '.join(differing)}); run it with its own "
            "settings, or leave resume out to begin anew"
        )
    return Progress(checkpoint, **content)
