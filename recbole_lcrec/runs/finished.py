"""A trained and tested run: its place on disk, its results and the ranks of its test users."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole.utils import get_local_time

from recbole_lcrec.runs.ranks import RANKS_FILE, UserRanks
from recbole_lcrec.runs.results_file import write_results
from recbole_lcrec.runtime.claims import claimed_folder

__all__ = [
    "FinishedRun",
    "RunPlace",
    "find_place",
    "mark_begun",
    "new_place",
    "place_of",
    "read_finished",
    "save_finished",
]

_IDENTITY, _RESULT, _RANKED = "identity", "result", "ranked"


@dataclass(frozen=True)
class RunPlace:
    """Where a run is saved.

    Attributes:
        folder: ranks, results and configuration; also the model, if the model's own trainer saves a folder.
        saved_model_file: RecBole's ``.pth`` file beside the folder, or the folder itself.
    """

    folder: Path
    saved_model_file: Path


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """One model tested with one seed.

    Attributes:
        label: label of the model.
        seed: seed of the run.
        result: what ``run_recbole_lcrec`` returns for one model.
        ranks: ranks of the test users; None if no metric has a cut-off.
    """

    label: str
    seed: int
    result: dict[str, Any]
    ranks: UserRanks | None


@contextmanager
def new_place(config: Any) -> Iterator[RunPlace]:
    """Claim the place of a ``.pth`` file in ``checkpoint_dir``, named as RecBole names it but by label.

    Args:
        config: a :class:`recbole_lcrec.config.configurator.Config`.

    Yields:
        The place; its folder is removed at the end if nothing was written into it.
    """
    with claimed_folder(Path(config["checkpoint_dir"]) / f"{config.label}-{get_local_time()}") as folder:
        yield place_of(config, folder)


def place_of(config: Any, folder: Path) -> RunPlace:
    """Return the place whose folder is given.

    Args:
        config: configuration of the run.
        folder: its folder.
    """
    saves_folder = config.spec.load_folder is not None
    return RunPlace(folder, folder if saves_folder else folder.with_name(f"{folder.name}.pth"))


def find_place(config: Any, identity: str) -> RunPlace | None:
    """Return the newest place of a run with an identity, finished or not; None if there is none.

    Args:
        config: configuration of the run.
        identity: see :func:`recbole_lcrec.runs.identity.run_identity`.
    """
    folders = [
        path.parent
        for path in Path(config["checkpoint_dir"]).glob(f"{config.label}-*/results.json")
        if _content(path).get(_IDENTITY) == identity
    ]
    if not folders:
        return None
    newest = max(folders, key=lambda folder: (is_finished(folder), (folder / "results.json").stat().st_mtime_ns))
    return place_of(config, newest)


def is_finished(folder: Path) -> bool:
    """Return whether the run of a folder was tested to its end."""
    return _RESULT in _content(folder / "results.json")


def _content(path: Path) -> dict[str, Any]:
    """Return the content of a ``results.json``; empty for one that is not there, is damaged or holds something else."""
    with suppress(OSError, ValueError):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
    return {}


def mark_begun(place: RunPlace, config: Any, identity: str) -> None:
    """Write identity and configuration of a run that begins, so that :func:`find_place` finds it."""
    place.folder.mkdir(parents=True, exist_ok=True)
    write_results(place.folder, {_IDENTITY: identity})
    config.save(place.folder / "config.yaml")


def save_finished(place: RunPlace, config: Any, identity: str | None, run: FinishedRun) -> None:
    """Write a tested run into its folder: ranks, configuration, and last ``results.json``, which makes it count.

    Args:
        place: of the run.
        config: configuration of the run.
        identity: see :func:`recbole_lcrec.runs.identity.run_identity`; None: the run is not found again.
        run: the run.
    """
    place.folder.mkdir(parents=True, exist_ok=True)
    if run.ranks is not None:
        run.ranks.save(place.folder / RANKS_FILE)
    if not (place.folder / "config.yaml").is_file():
        config.save(place.folder / "config.yaml")
    result = {key: value for key, value in run.result.items() if key != "saved_model_file"}
    plain = {key: dict(run.result[key] or {}) for key in ("best_valid_result", "test_result")}
    content: dict[str, Any] = {_RESULT: {**result, **plain, _RANKED: run.ranks is not None}, **plain}
    write_results(place.folder, {**content, **({} if identity is None else {_IDENTITY: identity})})


def read_finished(place: RunPlace, label: str, seed: int) -> FinishedRun | None:
    """Read a run that :func:`save_finished` wrote; None if it is not finished, or its ranks are lost.

    Args:
        place: of the run.
        label: label of the model.
        seed: seed of the run.
    """
    found: dict[str, Any] | None = _content(place.folder / "results.json").get(_RESULT)
    if found is None:
        return None
    ranks, path = None, place.folder / RANKS_FILE
    if found.pop(_RANKED, False):
        try:
            ranks = UserRanks.load(path)
        except ValueError as err:
            getLogger().warning(f"{err}: {label}, seed {seed}, is trained again")
            return None
    saved = str(place.saved_model_file) if place.saved_model_file.exists() else None
    return FinishedRun(label, seed, {**found, "saved_model_file": saved}, ranks)
