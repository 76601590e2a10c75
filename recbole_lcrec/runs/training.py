"""Training and test of runs: one model with one seed, and many of them, which are found again and shared."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from recbole_lcrec.bridge.building import build_run, build_trainer
from recbole_lcrec.config.configurator import Config
from recbole_lcrec.runs.finished import (
    FinishedRun,
    RunPlace,
    find_place,
    mark_begun,
    new_place,
    place_of,
    read_finished,
    save_finished,
)
from recbole_lcrec.runs.identity import run_identity
from recbole_lcrec.runs.ranks import recorded_ranks
from recbole_lcrec.runs.resuming import PROGRESS_FILE, can_resume, keep_progress
from recbole_lcrec.runs.sharing import shared
from recbole_lcrec.runtime.errors import RunAborted
from recbole_lcrec.runtime.memory import peak_memory, reset_peak_memory
from recbole_lcrec.runtime.processes import from_first_process, process_count, process_rank

__all__ = ["finished_runs", "train_and_test"]


def finished_runs(configs: Sequence[Config], saved: bool = True) -> Iterator[FinishedRun]:
    """Yield each run as it is finished.

    With ``seeds`` every run has an identity: a finished run is found again, a killed one is continued, and processes
    that are started with the same command share the work. Without, every run is a new one.

    Args:
        configs: one configuration a run.
        saved: whether anything is written.
    """
    if not saved or not configs or configs[0]["seeds"] is None:
        for config in configs:
            yield train_and_test(config, saved)
    elif process_count() > 1:
        for config in configs:
            yield _in_all_processes(config)
    else:
        jobs = {_lock_file(config): config for config in configs}
        yield from shared(jobs, _found, lambda config: train_and_test(config, saved, run_identity(config)))


def _lock_file(config: Config) -> Path:
    """Return the file that a process locks while it does a run."""
    name = f"{config.label}-{config['seed']}-{run_identity(config)}.lock"
    return Path(config["checkpoint_dir"]) / ".running" / name


def _found(config: Config) -> FinishedRun | None:
    """Return a finished run of the same identity; None if there is none."""
    place = find_place(config, run_identity(config))
    run = read_finished(place, config.label, config["seed"]) if place else None
    if place and run:
        getLogger().info(f"{config.label}, seed {config['seed']}: found in {place.folder}")
        (place.folder / PROGRESS_FILE).unlink(missing_ok=True)  # of a process that was killed at the very end
    return run


def _in_all_processes(config: Config) -> FinishedRun:
    """Find or do a run in the processes of a launcher; the first one decides for those that train together.

    Raises:
        RunAborted: another command is doing the run.
    """
    together = config.spec.distributed
    if together:
        from accelerate import PartialState

        PartialState(cpu=config["device"].type != "cuda")  # opens the process group
    lock, run, taken = FileLock(_lock_file(config)), None, False
    if process_rank() == 0:
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
            run = _found(config)
        except Timeout:
            taken = True
    run, taken = from_first_process((run, taken)) if together else (run, taken)
    if taken:
        raise RunAborted(
            f"{config.label}, seed {config['seed']}, is being trained by another command; wait for its end"
        )
    try:
        return run or train_and_test(config, True, run_identity(config))
    finally:
        lock.release()


def train_and_test(config: Config, saved: bool = True, identity: str | None = None) -> FinishedRun:
    """Train and test one model.

    Args:
        config: its configuration.
        saved: whether the model, ranks and results are written; without, the last epoch is tested, not the best.
        identity: of the run, under which a killed one is found and continued; None: a new run.
    """
    start = time.perf_counter()
    reset_peak_memory(config["device"])
    if identity is not None and config.spec.resumable and config["resume"] is None:
        config["resume"] = "auto"
    with _place(config, saved, identity) as place, _hint_at_resuming(config, identity is not None):
        kept = place.folder if place and identity else None
        if place and kept:
            mark_begun(place, config, str(identity))
        built = build_run(config)
        began = time.perf_counter()
        pretrain = config.spec.part("pretrain")
        model, file = built.model, place.saved_model_file if place else None
        if pretrain is not None:
            model = pretrain(model, config, built.train_data, file, kept)
        trainer = build_trainer(config, model, file)
        require_enough = getattr(trainer, "require_enough", None)  # this package's trainers can tell before they train
        if require_enough is not None:
            require_enough(built.valid_data, built.test_data)
        if kept and can_resume(trainer):
            keep_progress(trainer, built.train_data, kept / PROGRESS_FILE, began)
        run = _fitted_and_tested(config, trainer, built, saved, (start, began))
        if place is None and saved and process_rank() == 0:  # the model's own trainer has saved a folder
            place = place_of(config, Path(trainer.saved_model_file))
        if place:
            save_finished(place, config, identity, run)
        if kept:
            (kept / PROGRESS_FILE).unlink(missing_ok=True)
    getLogger().info(
        f"{config.label}, seed {config['seed']}: best valid {run.result['best_valid_result']}, test result "
        f"{run.result['test_result']}"
    )
    return run


def _fitted_and_tested(
    config: Config, trainer: Any, built: Any, saved: bool, times: tuple[float, float]
) -> FinishedRun:
    """Train and test; ``times`` are those at which the run and its training began."""
    start, began = times
    shown = config["show_progress"]
    score, valid_result = trainer.fit(built.train_data, built.valid_data, saved=saved, show_progress=shown)
    test_start = time.perf_counter()
    with recorded_ranks(trainer, built.test_data) as recorded:
        test_result = trainer.evaluate(built.test_data, load_best_model=saved, show_progress=shown)
    end = time.perf_counter()
    before = getattr(trainer, "seconds_before", 0.0)  # of a killed process
    ranks = recorded[0] if recorded else None
    result = {
        "best_valid_score": score,
        "valid_score_bigger": config["valid_metric_bigger"],
        "best_valid_result": valid_result,
        "test_result": test_result,
        "seconds": before + end - start,
        "training_seconds": before + test_start - began,
        "users_per_second": ranks and ranks.hits.shape[0] * len(ranks.users) / (end - test_start),
        "parameters": sum(getattr(each, "ds_numel", each.numel()) for each in trainer.model.parameters()),
        "peak_memory": peak_memory(config["device"]),
        "saved_model_file": str(trainer.saved_model_file) if saved else None,
    }
    return FinishedRun(config.label, config["seed"], result, ranks)


@contextmanager
def _place(config: Config, saved: bool, identity: str | None) -> Iterator[RunPlace | None]:
    """Yield the place of a run's ``.pth`` file: that of a killed run with the same identity, or a new one.

    None if nothing is saved, or if the model's own trainer saves a folder, which it names itself.
    """
    if not saved or process_rank() or config.spec.load_folder is not None:
        yield None
    elif identity is not None and (killed := find_place(config, identity)):
        yield killed
    else:
        with new_place(config) as place:
            yield place


@contextmanager
def _hint_at_resuming(config: Config, found_again: bool) -> Iterator[None]:
    """Log how an interrupted training is resumed, where the model can."""
    try:
        yield
    except KeyboardInterrupt:
        if found_again:
            getLogger().warning(f"{config.label} was interrupted; the same command resumes it")
        elif config.spec.resumable:
            getLogger().warning(
                f"{config.label} was interrupted; --resume=auto resumes it from its last checkpoint, if there is one"
            )
        raise
