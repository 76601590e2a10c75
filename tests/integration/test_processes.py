"""Several processes on the CPU: DeepSpeed's ZeRO trains the same model, and the metrics are written once."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import N_USERS, SHOP, TINY
from tests.integration.dying import ROOT, Ended, command, results, saved_run, start_server, write_indexed_shop
from tests.integration.launched import launched
from tests.tiny_llama import save_tiny_llama

pytestmark = pytest.mark.slow

ROWS = 41  # 8 a step: the sixth step of an epoch has one row, and one process of two has none
COMMON: dict[str, Any] = {
    **TINY,
    "use_gpu": False,
    "eval_step": 0,  # every epoch is kept, so that the results hold the loss of each
    "epochs": 2,
    "tuning_tasks": ["seq"],
    "tuning_seq_format": "instruction",
    "tuning_samples_per_task": ROWS,
    "tuning_scheduler": "cosine",
    "tuning_warmup_ratio": 0.25,  # of 12 steps; so a step under a wrong rate shows, before a kill and after it
    "tuning_checkpoint_steps": 4,
    "learning_rate": 0.005,
    "weight_decay": 1.0,  # so much that it shows which weights decay
}
LORA = {"lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.0}
SINGLY: dict[str, Any] = {"tuning_samples_per_task": 5, "tuning_batch_tokens": 1, "epochs": 6}
"""Each epoch is a step of five rows, each row a pass of its own: of two processes one has three passes, one two."""
STOPPING: dict[str, Any] = {"eval_step": 1, "stopping_step": 0, "epochs": 40, "learning_rate": 0.02}
"""Tuning ends where the validation score falls for the first time."""
CASES = [(tied, lora) for tied in (False, True) for lora in (False, True)]
Run = Callable[..., tuple[dict[str, Any], Ended]]
APART = f"""
import os, sys, time
rank = int(os.environ["RANK"])
time.sleep(1.5 * rank)
sys.path.insert(0, {str(ROOT)!r})
from recbole_lcrec.quick_start import main
from recbole_lcrec.models.lcrec.trainer import LCRecTrainer
scored = LCRecTrainer._valid_epoch

def falling(self, *args, **kwargs):
    score, result = scored(self, *args, **kwargs)
    return score - rank * len(self.train_loss_dict), result

LCRecTrainer._valid_epoch = falling
sys.exit(main())
"""
"""The command, in processes that would name their folders differently and, on their own, keep different epochs."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The indexed shop, and a server that starts commands quickly."""
    with pytest.MonkeyPatch.context() as patch:
        start_server(patch)
        yield write_indexed_shop(tmp_path_factory.mktemp("shared") / "data")


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train a model once for each distinct call; return its results and how the command ended."""
    models = tmp_path_factory.mktemp("models")
    done: dict[str, tuple[dict[str, Any], Ended]] = {}

    def trained(tied: bool, lora: bool, stage: str | None = None, **changes: Any) -> tuple[dict[str, Any], Ended]:
        key = repr((tied, lora, stage, changes))
        if key not in done:
            folder = tmp_path_factory.mktemp("run")
            own = {**parameters(data, models, folder, tied, lora, stage), **changes}
            ended = command(folder, own, processes=2 if stage else 1)
            assert ended.code == 0, ended.log[-6000:]
            done[key] = results(folder / "saved"), ended
        return done[key]

    return trained


def parameters(data: Path, models: Path, folder: Path, tied: bool, lora: bool, stage: str | None) -> dict[str, Any]:
    """Return the parameters of one process with 8 rows per step, or of two with 4 each."""
    base = models / ("tied" if tied else "untied")
    if not base.exists():
        save_tiny_llama(base, tied)
    return {
        **COMMON,
        **(LORA if lora else {}),
        "base_model": str(base),
        "data_path": str(data),
        "checkpoint_dir": str(folder / "saved"),
        "train_batch_size": 4 if stage else 8,
        "tuning_deepspeed": stage,
    }


def losses(result: dict[str, Any]) -> list[float]:
    """Return the loss of each epoch."""
    return list(result["train_loss"].values())


def same_ranking(one: dict[str, float], two: dict[str, float], users: int = 2) -> bool:
    """Return whether results on the test users differ by no more than a change of ``users`` of them can explain.

    Every metric is a mean over the users of a number from 0 to 1; with one test item each, that of precision@k is 1/k
    at most. RecBole rounds to four places.
    """

    def share(metric: str) -> float:
        name, k = metric.split("@")
        return users / N_USERS / (int(k) if name == "precision" else 1)

    assert one and one.keys() == two.keys()
    return all(abs(value - two[metric]) <= share(metric) + 1e-4 for metric, value in one.items())


@pytest.mark.parametrize("stage", ["zero2", "zero3"])
@pytest.mark.parametrize(("tied", "lora"), CASES)
def test_two_processes_train_as_one(run: Run, tied: bool, lora: bool, stage: str) -> None:
    """The optimizer steps have the same rows and weight decay, also if a process has no rows."""
    one, alone = run(tied, lora)
    two, ended = run(tied, lora, stage)
    assert f"Tuning on {ROWS} instructions per epoch, 8 per optimizer step, 12 steps, fp32, no DeepSpeed" in alone.log
    assert f"12 steps, fp32, DeepSpeed ZeRO-{stage[-1]}, 2 process(es)" in ended.log
    assert ended.log.count("Results on the test users") == 1
    assert losses(two) == pytest.approx(losses(one), rel=1e-3)
    assert len(losses(one)) == 2 and losses(one)[1] < losses(one)[0]
    assert same_ranking(one["test_result"], two["test_result"])


def test_processes_with_unequal_numbers_of_passes(run: Run) -> None:
    """Under ZeRO-3, where a process that makes fewer passes than another would leave it waiting."""
    one, _ = run(False, False, **SINGLY)
    two, ended = run(False, False, "zero3", **SINGLY)
    assert "Tuning on 5 instructions per epoch, 8 per optimizer step, 6 steps" in ended.log
    assert losses(two) == pytest.approx(losses(one), rel=1e-3)
    assert len(losses(one)) == 6
    assert same_ranking(one["test_result"], two["test_result"])


@pytest.mark.parametrize("stage", ["zero2", "zero3"])
def test_an_estimate_in_between_changes_nothing(run: Run, stage: str) -> None:
    """After 12 steps users are ranked to estimate a validation; the weights must stay trainable, and the same."""
    longer = {"epochs": 3, "eval_step": 1}
    one, alone = run(False, False, **longer)
    two, ended = run(False, False, stage, **longer)
    assert all(log.count("Estimated duration: ") == 1 for log in (alone.log, ended.log))
    assert "for the remaining 6 steps" in ended.log and "per validation (1 to come)" in ended.log
    assert losses(two) == pytest.approx(losses(one), rel=1e-3)
    assert len(losses(two)) == 3 and same_ranking(one["test_result"], two["test_result"])


@pytest.mark.parametrize(("stage", "lora"), [("zero2", False), ("zero3", True)])
def test_two_killed_processes_resume(data: Path, run: Run, tmp_path: Path, stage: str, lora: bool) -> None:
    """Kills in a step of the first epoch, while a checkpoint is written in the second, and during the test."""
    own = parameters(data, tmp_path / "models", tmp_path, tied=True, lora=lora, stage=stage)
    whole, _ = run(True, lora, stage)
    for moment, when, behind in (("step", 5, None), ("checkpoint", 8, 4), ("test", 0, 6)):
        ended = command(tmp_path, own, moment, when, processes=2, resume="auto")
        assert ended.code == -signal.SIGKILL, ended.log[-6000:]
        folder = saved_run(tmp_path / "saved")
        assert behind is None or f"Resuming {folder} after step {behind}" in ended.log
    last = command(tmp_path, own, processes=2, resume="auto")
    assert last.code == 0, last.log[-6000:]
    assert f"Resuming {folder} after step 12" in last.log
    found = results(tmp_path / "saved")
    assert losses(found) == pytest.approx(losses(whole), rel=1e-6)
    assert found["best_epoch"] == whole["best_epoch"]
    assert same_ranking(found["test_result"], whole["test_result"], users=0)
    assert not folder.with_name(f"{folder.name}-checkpoint").exists()


def test_processes_that_stopped_early_are_tested_after_a_kill(data: Path, tmp_path: Path) -> None:
    """The tuning is finished, and the processes must still open their group."""
    own = {**parameters(data, tmp_path / "models", tmp_path, tied=False, lora=False, stage="zero2"), **STOPPING}
    ended = command(tmp_path, own, "test", processes=2)
    assert ended.code == -signal.SIGKILL, ended.log[-6000:]
    assert "Finished training, best eval result in epoch" in ended.log
    before = results(tmp_path / "saved")
    last = command(tmp_path, own, processes=2, resume="auto")
    assert last.code == 0, last.log[-6000:]
    assert "Tuning on" not in last.log and last.log.count("Results on the test users") == 1
    found, folder = results(tmp_path / "saved"), saved_run(tmp_path / "saved")
    assert found.pop("test_result") and found.pop("certified")
    assert found == before
    assert not folder.with_name(f"{folder.name}-checkpoint").exists()


def test_under_torchrun_the_first_process_decides(data: Path, tmp_path: Path) -> None:
    own = {**TINY, "use_gpu": False, "data_path": str(data), "checkpoint_dir": str(tmp_path / "saved"), "epochs": 3}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    (tmp_path / "apart.py").write_text(APART, encoding="utf-8")
    flags = ["--model=LCRec", f"--dataset={SHOP}", "--config_files=run.yaml"]
    done = launched(2, "apart.py", *flags, cwd=tmp_path, timeout=600)
    assert "DeepSpeed ZeRO-2, 2 process(es)" in done.stderr  # the default with several processes
    assert done.stderr.count("Results on the test users") == 1
    (saved,) = (tmp_path / "saved").glob("LCRec-*")
    found = json.loads((saved / "results.json").read_text(encoding="utf-8"))
    assert found["best_epoch"] < len(found["train_loss"]) == 3 and "test_result" in found


def test_one_process_under_deepspeed(data: Path, run: Run, tmp_path: Path) -> None:
    own = parameters(data, tmp_path / "models", tmp_path, tied=False, lora=False, stage="zero2")
    ended = command(tmp_path, {**own, "train_batch_size": 8})
    assert ended.code == 0, ended.log[-6000:]
    assert "DeepSpeed ZeRO-2, 1 process(es)" in ended.log
    one, _ = run(False, False)
    assert losses(results(tmp_path / "saved")) == pytest.approx(losses(one), rel=1e-3)
