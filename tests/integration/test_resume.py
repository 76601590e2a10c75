"""A run that is killed with SIGKILL at any moment and resumed ends with exactly the numbers of an undisturbed run."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import SHOP, TINY, shop_index, shop_titles
from tests.integration.dying import Ended, command, results, saved_run, start_server, write_indexed_shop
from tests.tiny_llama import save_tiny_llama

pytestmark = pytest.mark.slow

EVERY = 3
EPOCHS, STEPS = 3, 15  # 5 families x 20 instructions, 7 a step
SETTINGS: dict[str, Any] = {
    **TINY,
    "use_gpu": False,  # whose sums are the same whenever they are taken
    "epochs": EPOCHS,
    "tuning_tasks": "paper",
    "tuning_seq_format": "instruction",
    "tuning_samples_per_task": 20,
    "train_batch_size": 7,
    "scratch_dropout": 0.2,
    "seed": 3,  # with which the last epoch is the best
    "tuning_checkpoint_steps": EVERY,
}


def killed(folder: Path, parameters: dict[str, Any], moment: str, when: int, resume: str | None = None) -> Ended:
    """Run the command, which must be killed at that moment."""
    ended = command(folder, parameters, moment, when, resume=resume)
    assert ended.code == -signal.SIGKILL, ended.log[-4000:]
    return ended


def ended_well(folder: Path, parameters: dict[str, Any], resume: str | None = None) -> Ended:
    """Run the command to its end."""
    ended = command(folder, parameters, resume=resume)
    assert ended.code == 0, ended.log[-4000:]
    return ended


def refused(folder: Path, parameters: dict[str, Any], resume: str | None = None) -> str:
    """Return the one line with which the command fails."""
    ended = command(folder, parameters, resume=resume)
    assert ended.code == 2, ended.log[-4000:]
    assert "Traceback" not in ended.log
    (line,) = [line for line in ended.log.splitlines() if line.startswith("error: ")]
    return line


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The indexed shop, and a server that starts commands quickly."""
    with pytest.MonkeyPatch.context() as patch:
        start_server(patch)
        yield write_indexed_shop(tmp_path_factory.mktemp("resumed") / "data")


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of a run that is not killed."""
    folder = tmp_path_factory.mktemp("whole")
    saved = folder / "saved"
    ended = ended_well(folder, {**SETTINGS, "data_path": str(data), "checkpoint_dir": str(saved)})
    assert f"{EPOCHS * STEPS} steps" in ended.log
    assert all(f"{task} 20" in ended.log for task in ("seq", "mut", "asy", "ite", "per"))
    found = results(saved)
    assert found["best_epoch"] == EPOCHS - 1  # so that the results hold every epoch's loss, and a kill can undo a swap
    assert len(found["train_loss"]) == EPOCHS
    return found


@pytest.fixture(scope="module")
def interrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint_dir of a run that was killed in step 7, before any epoch was kept."""
    folder = tmp_path_factory.mktemp("interrupted")
    saved = folder / "saved"
    killed(folder, {**SETTINGS, "data_path": str(data), "checkpoint_dir": str(saved)}, "step", 7)
    assert [path.name for path in saved.glob("LCRec-*/step-*")] == ["step-6"]
    return saved


def only_the_run(checkpoint_dir: Path) -> bool:
    """Return whether neither a checkpoint nor a partial file is left."""
    return [path.name for path in checkpoint_dir.iterdir() if path.name != "artifacts"] == [
        saved_run(checkpoint_dir).name
    ]


def test_three_kills_change_nothing(data: Path, whole: dict[str, Any], tmp_path: Path) -> None:
    """In a step, while a checkpoint is written, while an epoch is validated: each moment is drawn at random."""
    saved = tmp_path / "saved"
    parameters = {**SETTINGS, "data_path": str(data), "checkpoint_dir": str(saved)}
    rng = np.random.default_rng(29)
    step = int(rng.integers(EVERY + 1, STEPS))
    torn = EVERY * int(rng.integers(STEPS // EVERY + 1, 2 * STEPS // EVERY))

    killed(tmp_path, parameters, "step", step, resume="auto")
    run = saved_run(saved)
    second = killed(tmp_path, parameters, "checkpoint", torn, resume="auto")
    assert f"Resuming {run} after step {step // EVERY * EVERY}" in second.log
    checkpoints = run.with_name(f"{run.name}-checkpoint")
    assert {path.name for path in checkpoints.iterdir()} == {f"step-{torn - EVERY}", f".step-{torn}.saving", "run.lock"}
    third = killed(tmp_path, parameters, "validation", int(rng.integers(1, EPOCHS)), resume="auto")
    assert f"Resuming {run} after step {torn - EVERY}" in third.log
    ended_well(tmp_path, parameters, resume="auto")

    assert results(saved) == whole
    assert only_the_run(saved)


def test_kills_around_the_best_epoch_change_nothing(data: Path, whole: dict[str, Any], tmp_path: Path) -> None:
    """A run resumed by its folder: while the best epoch is replaced, before the next checkpoint, during the test."""
    saved, best = tmp_path / "saved", whole["best_epoch"]
    parameters = {**SETTINGS, "data_path": str(data), "checkpoint_dir": str(saved)}
    end = (best + 1) * STEPS

    killed(tmp_path, parameters, "swap", best)
    run = saved_run(saved)
    assert not run.exists()
    killed(tmp_path, parameters, "before checkpoint", end, resume=str(run))
    kept = results(saved)
    assert kept == {
        name: value for name, value in whole.items() if name not in ("test_result", "certified", "train_loss")
    } | {"train_loss": {epoch: loss for epoch, loss in whole["train_loss"].items() if int(epoch) <= best}}
    assert [path.name for path in saved.glob("LCRec-*/step-*")] == [f"step-{end - EVERY}"]
    killed(tmp_path, parameters, "test", 0, resume=str(run))
    assert "test_result" not in results(saved)
    last = ended_well(tmp_path, parameters, resume=f"{run}/")

    assert f"Resuming {run} after step {EPOCHS * STEPS}" in last.log
    assert results(saved) == whole
    assert only_the_run(saved)
    assert "finished run has removed its checkpoints" in refused(tmp_path, parameters, resume=str(run))


@pytest.mark.parametrize("tied", [False, True])
def test_lora_resumes_its_rows_and_matrices(data: Path, tmp_path: Path, tied: bool) -> None:
    """Rows of new tokens and matrices of layers, with dropout; merged before the second kill, during the test."""
    save_tiny_llama(tmp_path / "base", tied)
    lora = {"base_model": str(tmp_path / "base"), "lora_r": 4, "lora_dropout": 0.1, "lora_merge": True}
    short = {"tuning_tasks": ["seq"], "eval_step": 0, "epochs": 2, "tuning_samples_per_task": 41}
    parameters = {**SETTINGS, **lora, **short, "data_path": str(data)}
    ended_well(tmp_path, {**parameters, "checkpoint_dir": str(tmp_path / "whole")})
    saved = tmp_path / "saved"
    killed(tmp_path, {**parameters, "checkpoint_dir": str(saved)}, "step", 8)
    killed(tmp_path, {**parameters, "checkpoint_dir": str(saved)}, "test", 0, resume="auto")
    ended_well(tmp_path, {**parameters, "checkpoint_dir": str(saved)}, resume="auto")
    assert results(saved) == results(tmp_path / "whole")
    assert len(results(saved)["train_loss"]) == 2
    assert not (saved_run(saved) / "adapter_model.safetensors").exists()
    assert only_the_run(saved)


def test_other_runs_are_refused(data: Path, interrupted: Path, tmp_path: Path) -> None:
    parameters = {**SETTINGS, "data_path": str(data), "checkpoint_dir": str(tmp_path / "saved")}
    run = str(saved_run(interrupted))
    line = refused(tmp_path, {**parameters, "learning_rate": 0.02}, resume=run)
    assert "(learning_rate was 0.01 and is 0.02)" in line

    other = tmp_path / "other.index.json"
    index = shop_index()
    index["i0"], index["i1"] = index["i1"], index["i0"]
    other.write_text(json.dumps(index), encoding="utf-8")
    line = refused(tmp_path, {**parameters, "index_file": str(other)}, resume=run)
    assert "(item index was " in line and "; instructions was " in line and line.count(" was ") == 2

    titles = tmp_path / "data"
    shutil.copytree(data, titles)
    table = titles / SHOP / f"{SHOP}.item"
    title = shop_titles()["i0"]
    table.write_text(table.read_text(encoding="utf-8").replace(title, title[::-1]), encoding="utf-8")
    line = refused(tmp_path, {**parameters, "data_path": str(titles)}, resume=run)
    assert "vocabulary was " in line
    assert list((tmp_path / "saved").glob("LCRec-*")) == []


def test_auto_starts_a_new_run_and_says_why(data: Path, interrupted: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    shutil.copytree(interrupted, saved)
    before = {path.name for path in saved.iterdir()}
    parameters = {**SETTINGS, "data_path": str(data), "checkpoint_dir": str(saved), "epochs": 1}
    log = ended_well(tmp_path, parameters, resume="auto").log
    assert "Skipped by resume = auto" in log and "epochs was 3 and is 1" in log
    assert f"Nothing to resume in {saved}: starting a new run" in log
    assert before < {path.name for path in saved.iterdir()}  # the other run's checkpoint is left alone
