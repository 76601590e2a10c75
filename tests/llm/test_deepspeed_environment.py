"""Global state that tuning changes while it runs, and that it restores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from recbole_lcrec.llm.backbone import Backbone
from recbole_lcrec.llm.deepspeed_environment import deepspeed_environment
from recbole_lcrec.llm.finetune import finetune
from tests.llm.plain_tuning import CPU, tuning_run, tuning_settings

ROOT = Path(__file__).resolve().parents[2]
RUNS_IN_TURN = """
import json, os
from recbole_lcrec.llm.finetune import finetune
from recbole_lcrec.llm.deepspeed_files import deepspeed_config
from recbole_lcrec.config.resources import properties_dir
from tests.llm.conftest import backbone as fixture
from tests.llm.plain_tuning import tuning_run, tuning_settings

found = []
for name in (None, "zero3", None, "zero2", None):
    backbone, losses = fixture.__wrapped__(), []
    deepspeed = deepspeed_config(name, properties_dir() / "deepspeed")
    record = lambda report: bool(losses.append(report.loss))
    finetune(backbone, tuning_run(tuning_settings(), deepspeed=deepspeed), record)
    found.append([losses, dict(os.environ), [weight.numel() for weight in backbone.model.parameters()]])
with open("found.json", "w") as file:
    json.dump(found, file)
"""


@pytest.mark.parametrize("failing", [False, True])
def test_environment_and_ops_are_restored(monkeypatch: pytest.MonkeyPatch, failing: bool) -> None:
    """Also variables that other code set in the meantime, as accelerate does, and also after an error."""
    ops = pytest.importorskip("deepspeed.ops")
    monkeypatch.setitem(vars(ops), "__compatible_ops__", {"deepspeed_shm_comm": True, "other": True, "none": False})
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "DS_ACCELERATOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KEPT", "before")
    before = dict(os.environ)
    with pytest.raises(KeyError) if failing else nullcontext(), deepspeed_environment(CPU):
        found = [os.environ[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "DS_ACCELERATOR")]
        assert found == ["0", "0", "1", "127.0.0.1", "cpu"] and int(os.environ["MASTER_PORT"]) > 0
        assert ops.__compatible_ops__ == {"deepspeed_shm_comm": False, "other": True, "none": False}
        os.environ.update(ACCELERATE_USE_DEEPSPEED="true", KEPT="after")
        if failing:
            raise KeyError
    assert dict(os.environ) == before
    assert ops.__compatible_ops__ == {"deepspeed_shm_comm": True, "other": True, "none": False}


def test_a_launchers_environment_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "there", "MASTER_PORT": "7"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)
    with deepspeed_environment(torch.device("cuda")):
        assert {name: os.environ[name] for name in given} == given
        assert "DS_ACCELERATOR" not in os.environ  # DeepSpeed finds the GPU itself


@pytest.mark.slow
def test_runs_in_one_process_are_independent(tmp_path: Path) -> None:
    """With and without DeepSpeed in turn: each run sees the environment of the first and gets the same losses."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = [sys.executable, "-c", RUNS_IN_TURN]
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    (losses, first, sizes), *others = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    for number, (again, seen, _) in enumerate(others):
        assert seen == first
        assert again == (losses if number % 2 else pytest.approx(losses, rel=1e-5))
    assert others[1][2] == sizes and others[3][2] == sizes  # ZeRO-3 split its own model only


def test_gradient_checkpointing_is_on_only_while_tuning(backbone: Backbone) -> None:
    layers = backbone.model.model.layers
    seen = []
    backbone.model.model.embed_tokens.register_forward_hook(lambda *_: seen.append(layers[0].gradient_checkpointing))
    settings = tuning_settings(gradient_checkpointing=True, epochs=1)
    finetune(backbone, tuning_run(settings), lambda report: False)
    assert seen and all(seen)
    assert not any(getattr(part, "gradient_checkpointing", False) for part in backbone.model.modules())
