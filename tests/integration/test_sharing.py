"""Users split among processes: the metrics and all scores equal those of one process."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recbole_lcrec import run_recbole_lcrec
from tests.conftest import SHOP, TINY
from tests.integration.dying import ROOT, write_indexed_shop
from tests.integration.launched import launched

pytestmark = pytest.mark.slow

EVALUATE = """
import hashlib, json, sys
from recbole_lcrec import LCRecTrainer, load_data_and_model
from recbole_lcrec.runtime.processes import process_rank


config, model, _, _, _, test = load_data_and_model(sys.argv[1])
trainer = LCRecTrainer(config, model)
trainer.eval_collector.data_collect(test)
digest, read = hashlib.sha256(), 0
rank, predict = model.full_sort_predict, model.predict

def remember(function):
    def remembered(*args):
        scores = function(*args)
        digest.update(scores.cpu().numpy().tobytes())
        return scores
    return remembered

from recbole_lcrec.decoding import SharedReader
reading = SharedReader.read

def counted(self, prompts, room):
    global read
    read += len(prompts)
    return reading(self, prompts, room)

SharedReader.read = counted
model.full_sort_predict, model.predict = remember(rank), remember(predict)
result = dict(trainer.evaluate(test, load_best_model=False))
with open(f"{sys.argv[2]}.{process_rank()}", "w") as stream:
    json.dump({"result": result, "scores": digest.hexdigest(), "read": read, "users": model.stats.users}, stream)
"""


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[dict[str, Any]]]:
    """Tune a run, test it in several processes, and return what each of them found."""
    home = tmp_path_factory.mktemp("sharing")
    data = write_indexed_shop(home / "data")
    (home / "evaluate.py").write_text(EVALUATE)
    saved: dict[str, str] = {}

    def run(processes: int, **settings: Any) -> list[dict[str, Any]]:
        key = hashlib.sha256(repr(settings).encode()).hexdigest()[:8]
        if key not in saved:
            common = {**TINY, "use_gpu": False, "data_path": str(data), "checkpoint_dir": str(home / key), "epochs": 1}
            extra = {"decoding_max_tokens": 100, "metric_decimal_place": 12, "state": "ERROR"}
            result = run_recbole_lcrec("LCRec", SHOP, config_dict={**common, **extra, **settings})
            saved[key] = result["saved_model_file"]
        out = home / f"{key}-{processes}"
        if processes > 1:
            launched(processes, "evaluate.py", saved[key], str(out), cwd=home, timeout=120)
        else:
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
            command = [sys.executable, "evaluate.py", saved[key], str(out)]
            subprocess.run(command, cwd=home, env=environment, check=True, capture_output=True, timeout=120)
        return [json.loads(Path(f"{out}.{rank}").read_text()) for rank in range(processes)]

    return run


@pytest.mark.parametrize(
    "settings",
    [{}, {"eval_args": {"mode": {"valid": "uni5", "test": "uni5"}}}, {"decoding_exact": True, "mask_history": True}],
    ids=["full", "sampled", "exact"],
)
def test_processes_share_users_and_find_the_same(
    evaluated: Callable[..., list[dict[str, Any]]], settings: dict[str, Any]
) -> None:
    (alone,) = evaluated(1, **settings)
    shared = evaluated(3, **settings)
    for one in shared:
        assert one["result"] == alone["result"]
        assert one["scores"] == alone["scores"]  # to the last bit
        assert one["users"] == alone["users"]
        assert 0 < one["read"] < alone["read"]
    assert sum(one["read"] for one in shared) == alone["read"]
