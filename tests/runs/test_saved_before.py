"""Runs and artifacts of version 0.1.0, saved before the package had its rooms, load and rank the same.

``before/`` holds two runs of LCRec on the tests' shop (a model from nothing, and LoRA on ``base``), a checkpoint of
SASRec, which is RecBole's pickle, the artifacts of a learned index, and what all of them gave then.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import faiss
import pytest

from recbole_lcrec import Config, Recommender, create_dataset, load_data_and_model
from recbole_lcrec.config.registry import get_trainer
from tests.conftest import SHOP, TINY

BEFORE = Path(__file__).parent / "before"
EXPECTED = json.loads((BEFORE / "expected.json").read_text(encoding="utf-8"))
HISTORIES = [["i3", "i4"], ["i10", "i11", "i12"], ["i29"]]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A copy as the working directory, to which the paths in the runs are relative."""
    shutil.copytree(BEFORE, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.mark.parametrize("name", ["scratch", "lora"])
def test_a_run_recommends_the_same(place: Path, name: str) -> None:
    recommender = Recommender.load(place / name, device="cpu", base_model="base" if name == "lora" else None)
    for answer, before in zip(recommender.recommend(HISTORIES, k=5), EXPECTED[name]["answers"], strict=True):
        assert [(one.item, one.certified) for one in answer] == [(item, proved) for item, _, proved in before]
        assert [one.log_prob for one in answer] == pytest.approx([score for _, score, _ in before], abs=1e-5)


@pytest.mark.parametrize(("name", "path"), [("scratch", "scratch"), ("lora", "lora"), ("sasrec", "SASRec.pth")])
def test_a_run_is_evaluated_to_the_same_metrics(place: Path, name: str, path: str) -> None:
    config, model, _, _, valid_data, test_data = load_data_and_model(place / path)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    assert trainer.evaluate(valid_data, load_best_model=False) == EXPECTED[name]["valid"]
    assert trainer.evaluate(test_data, load_best_model=False) == EXPECTED[name]["test"]


def test_embeddings_are_reused_and_indices_made_anew(place: Path, caplog: Any) -> None:
    """The version that made the artifacts revived codes after its last epoch."""
    caplog.set_level(logging.INFO)
    (path,) = (place / "artifacts").glob("index-*/manifest.json")
    made_with = json.loads(path.read_text(encoding="utf-8"))["parts"]["libraries"]
    here = {"torch": version("torch"), "scipy": version("scipy"), "faiss": faiss.__version__}
    (path,) = (place / "artifacts").glob("embeddings-*/manifest.json")
    made_with |= json.loads(path.read_text(encoding="utf-8"))["parts"].get("libraries", {})
    here |= {name: version(name) for name in made_with if name != "faiss"}
    if made_with != here:
        pytest.skip(f"the artifacts were made with {made_with}, and {here} makes others")
    (place / "data" / SHOP / f"{SHOP}.index.json").unlink()
    values = {**TINY, "data_path": "data", "artifact_dir": "artifacts", "index_method": "rqvae", "use_gpu": False}
    before = {path.name for path in (place / "artifacts").glob("[!.]*-*")}
    create_dataset(Config("LCRec", SHOP, config_dict=values))
    assert re.search(r"embeddings reused \(.*index made \(", caplog.text)
    assert {path.name for path in (place / "artifacts").glob("[!.]*-*")} > before
