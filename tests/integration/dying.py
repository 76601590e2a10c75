"""The main command in separate processes that kill themselves with SIGKILL at a chosen moment.


The moments are steps of tuning, validation, test and the writing of files.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import SHOP, write_index, write_shop

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 300


def die(*_: Any, **__: Any) -> None:
    """End this process as a power failure would: no handler runs, and no file is closed."""
    os.kill(os.getpid(), signal.SIGKILL)


def _at(owner: Any, name: str, reached: Callable[..., bool]) -> None:
    """Kill the process when a method is called, before it does anything, if the moment has come."""
    original = getattr(owner, name)

    def dying(self: Any, *args: Any, **kwargs: Any) -> Any:
        if reached(self, *args, **kwargs):
            die()
        return original(self, *args, **kwargs)

    setattr(owner, name, dying)


def _in_step(when: int) -> None:
    """Die in optimizer step ``when`` of the run, counted from 0, after the gradients and before the update."""
    from recbole_lcrec.llm.tuner import Tuner

    _at(Tuner, "_get_grad_norm", lambda self, *_, **__: self.state.global_step == when)


def _in_checkpoint(when: int) -> None:
    """Die when the checkpoint after ``when`` steps has weights and optimizer, but not the random generators."""
    from recbole_lcrec.llm.tuner import Tuner

    _at(Tuner, "_save_rng_state", lambda self, *_: self.state.global_step == when)


def _before_checkpoint(when: int) -> None:
    """Die when the checkpoint after ``when`` steps is due and nothing of it is written."""
    from recbole_lcrec.llm.tuner import Tuner

    _at(Tuner, "write_checkpoint", lambda self, *_: self.state.global_step == when)


def _in_validation(when: int) -> None:
    """Die while the validation users of epoch ``when``, counted from 0, are ranked."""
    from recbole_lcrec.models.lcrec.trainer import LCRecTrainer

    _at(LCRecTrainer, "_valid_epoch", lambda self, *_, **__: max(self.train_loss_dict) == when)


def _in_swap(when: int) -> None:
    """Die when the folder of epoch ``when`` is written and the older one is renamed, but the new one is not yet."""
    from recbole_lcrec.models.lcrec import epochs

    owner: Any = epochs.EpochHandler
    in_epoch: list[int] = []
    keep = owner._keep

    def remembering(self: Any, report: Any, *args: Any, **kwargs: Any) -> None:
        in_epoch[:] = [report.epoch]
        keep(self, report, *args, **kwargs)
        in_epoch.clear()

    owner._keep = remembering
    _at(Path, "rename", lambda self, *_: in_epoch == [when] and self.name.endswith(".saving"))


def _in_test(when: int) -> None:
    """Die while the test users are ranked."""
    from recbole_lcrec.models.lcrec import trainer

    owner: Any = trainer.LCRecTrainer
    original = owner.evaluate

    def dying(self: Any, eval_data: Any, load_best_model: bool = True, **kwargs: Any) -> Any:
        if load_best_model:
            owner._full_sort_batch_eval = die
        return original(self, eval_data, load_best_model, **kwargs)

    owner.evaluate = dying


MOMENTS = {
    "step": _in_step,
    "checkpoint": _in_checkpoint,
    "before checkpoint": _before_checkpoint,
    "validation": _in_validation,
    "swap": _in_swap,
    "test": _in_test,
}


@dataclass(frozen=True)
class Ended:
    """End of a command: the exit code of its first process, ``-SIGKILL`` if it was killed, and all its output."""

    code: int | None
    log: str


@dataclass(frozen=True)
class _Start:
    """Arguments of one process of a command."""

    folder: Path
    flags: list[str]
    log: Path
    moment: str | None
    when: int
    launched: dict[str, str]


def _work(start: _Start) -> None:
    os.chdir(start.folder)
    for number in (1, 2):
        os.dup2(os.open(start.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ.update(start.launched)
    from recbole_lcrec.quick_start import main

    if start.moment is not None:
        MOMENTS[start.moment](start.when)
    raise SystemExit(main(start.flags))


def start_server(patch: pytest.MonkeyPatch) -> None:
    """Load the package once, in a server process that is forked for each command, as the import takes seconds."""
    patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    patch.setenv("OMP_NUM_THREADS", "1")
    patch.setenv("DS_ACCELERATOR", "cpu")
    multiprocessing.set_forkserver_preload(
        ["deepspeed", "recbole_lcrec.models.lcrec.trainer", "tests.integration.dying"]
    )
    ensure_running()


def command(
    folder: Path,
    parameters: dict[str, Any],
    moment: str | None = None,
    when: int = 0,
    processes: int = 1,
    resume: str | None = None,
) -> Ended:
    """Run the main command on the shop; when one process is killed, so are the others.

    Args:
        folder: working directory of the processes, to which the parameters are written.
        parameters: parameters of the run.
        moment: key of :data:`MOMENTS` at which to die; None: never.
        when: step or epoch of the moment.
        processes: number of processes; several are connected as under torchrun.
        resume: value of the flag ``--resume``; None: not given.
    """
    (folder / "run.yaml").write_text(yaml.safe_dump(parameters), encoding="utf-8")
    words = ["--model=LCRec", f"--dataset={SHOP}", "--config_files=run.yaml"]
    words += [f"--resume={resume}"] if resume else []
    log = folder / "output.txt"
    log.write_text("", encoding="utf-8")
    context = multiprocessing.get_context("forkserver")
    running = [
        context.Process(target=_work, args=(_Start(folder, words, log, moment, when, launched),))
        for launched in _launched(processes)
    ]
    for process in running:
        process.start()
    waiting, left = {process.sentinel for process in running}, time.monotonic() + TIMEOUT
    while waiting:
        ended = wait(waiting, timeout=max(0.0, left - time.monotonic()))
        waiting -= set(ended)
        if not ended or any(process.exitcode for process in running):
            for process in running:
                process.kill()
    for process in running:
        process.join()
    codes = [process.exitcode for process in running]
    return Ended(min(codes, key=lambda code: code == 0), log.read_text(encoding="utf-8"))


def _launched(processes: int) -> list[dict[str, str]]:
    """Return the environment variables that a launcher sets for each process."""
    if processes == 1:
        return [{}]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]


def write_indexed_shop(data_path: Path) -> Path:
    """Write the shop of the common fixtures with its index, for a whole module, and return ``data_path``."""
    return write_index(write_shop(data_path))


def saved_run(checkpoint_dir: Path) -> Path:
    """Return the folder of the only run in a checkpoint_dir, which may not exist before an epoch is saved."""
    runs = {path.name.removesuffix("-checkpoint") for path in checkpoint_dir.glob("LCRec-*")}
    (name,) = runs
    return checkpoint_dir / name


def results(checkpoint_dir: Path) -> dict[str, Any]:
    """Return ``results.json`` of the only run in a checkpoint_dir, without the costs of the run."""
    found: dict[str, Any] = json.loads((saved_run(checkpoint_dir) / "results.json").read_text(encoding="utf-8"))
    return {key: value for key, value in found.items() if key != "result"}
