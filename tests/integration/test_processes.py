"""Several processes on the CPU: DeepSpeed's ZeRO trains the same model, and the metrics are written once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import SHOP

ROOT = Path(__file__).resolve().parents[2]
Parameters = Callable[..., dict[str, Any]]
APART = f"""
import os, sys, time
rank = int(os.environ["RANK"])
time.sleep(1.5 * rank)
sys.path.insert(0, {str(ROOT)!r})
from recbole_lcrec.quick_start import main
from recbole_lcrec.trainer import LCRecTrainer
scored = LCRecTrainer._valid_epoch

def falling(self, *args, **kwargs):
    score, result = scored(self, *args, **kwargs)
    return score - rank * len(self.train_loss_dict), result

LCRecTrainer._valid_epoch = falling
sys.exit(main())
"""
"""The command, in processes that would name their folders differently and, on their own, keep different epochs."""


def run(folder: Path, parameters: dict[str, Any], processes: int) -> tuple[dict[str, Any], str]:
    """Runs the command under torchrun; returns the saved results and the log."""
    (folder / "run.yaml").write_text(yaml.safe_dump(parameters), encoding="utf-8")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    (folder / "apart.py").write_text(APART, encoding="utf-8")
    program = folder / "apart.py" if processes > 1 else ROOT / "run_recbole_lcrec.py"
    command = [str(program), "--model=LCRec", f"--dataset={SHOP}", "--config_files=run.yaml"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*(launcher if processes > 1 else [sys.executable]), *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    (saved,) = Path(parameters["checkpoint_dir"]).glob("LCRec-*")
    return json.loads((saved / "results.json").read_text(encoding="utf-8")), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["zero2", "zero3"])
def test_two_processes_train_as_one(indexed_shop: Path, tiny: Parameters, tmp_path: Path, stage: str) -> None:
    """The same rows in the same optimizer steps: 2 processes x 4 rows are 1 process x 8 rows."""
    common = {"epochs": 3, "tuning_scheduler": "constant", "learning_rate": 0.003, "shuffle": True}
    folders = {name: tmp_path / name for name in ("one", "two")}
    for folder in folders.values():
        folder.mkdir()
    one, _ = run(
        folders["one"], tiny(indexed_shop, **common, checkpoint_dir=str(folders["one"] / "saved")), processes=1
    )
    two, log = run(
        folders["two"],
        tiny(
            indexed_shop,
            **common,
            train_batch_size=4,
            tuning_deepspeed=stage,
            checkpoint_dir=str(folders["two"] / "saved"),
        ),
        processes=2,
    )
    assert f"DeepSpeed ZeRO-{stage[-1]}, 2 process(es)" in log
    assert log.count("Results on the test users") == 1
    assert list(two["train_loss"].values()) == pytest.approx(list(one["train_loss"].values()), rel=1e-3)
    assert two["test_result"].keys() == one["test_result"].keys()


@pytest.mark.slow
def test_one_process_under_deepspeed(indexed_shop: Path, tiny: Parameters, tmp_path: Path) -> None:
    parameters = tiny(indexed_shop, epochs=1, tuning_deepspeed="zero2", checkpoint_dir=str(tmp_path / "saved"))
    results, log = run(tmp_path, parameters, processes=1)
    assert "DeepSpeed ZeRO-2, 1 process(es)" in log
    assert 0 <= results["test_result"]["ndcg@5"] <= 1
