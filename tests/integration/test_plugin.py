"""Models of another package: installed, registered, trained, ranked, saved and restored without changing this one."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_lcrec import Recommender, load_data_and_model, run_recbole_lcrec
from recbole_lcrec.config import registry
from recbole_lcrec.quick_start import main
from tests.conftest import SHOP, TINY, write_index, write_shop

PLUGIN = Path(__file__).resolve().parents[1] / "plugin"


def install(folder: Path, target: Path) -> None:
    """Install a package by pip, without a network."""
    flags = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *flags, "--target", str(target), str(folder)]
    subprocess.run(command, check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def plugged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The package, installed into its own folder on Python's path."""
    source, target = tmp_path_factory.mktemp("source") / "plugin", tmp_path_factory.mktemp("site")
    subprocess.run(["cp", "-r", str(PLUGIN), str(source)], check=True)  # setuptools builds beside its sources
    install(source, target)
    sys.path.insert(0, str(target))
    registry._offers.cache_clear()
    yield target
    sys.path.remove(str(target))
    registry._offers.cache_clear()
    for name in [name for name in sys.modules if name.startswith("recbole_stranger")]:
        del sys.modules[name]


def values(root: Path, **changes: Any) -> dict[str, Any]:
    if not (root / "data").exists():
        write_index(write_shop(root / "data"))
    small = {f"LCRec.{key}": value for key, value in TINY.items() if key.startswith(("scratch_", "tuning_"))}
    names = ("topk", "valid_metric", "train_batch_size", "epochs", "show_progress", "state")
    shared = {key: TINY[key] for key in names}
    places = {"data_path": str(root / "data"), "checkpoint_dir": str(root / "saved"), "use_gpu": False}
    lengths = {"decoding_beam_size": 10, "MAX_ITEM_LIST_LENGTH": 6, "index_report": False, "learning_rate": 0.01}
    return {**shared, **small, **places, **lengths, **changes}


@pytest.fixture(scope="module")
def results(plugged: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        return run_recbole_lcrec("LCRec,TinyGPT,SASRec", SHOP, config_dict=values(root, epochs=3))


def test_the_help_lists_plugin_models(plugged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    listed, theirs = capsys.readouterr().out.split("models of RecBole:")
    assert "LCRec," in listed and "ItemBag, TinyGPT" in listed and "SASRec," in theirs


def test_plugin_models_are_in_one_table(results: dict[str, Any]) -> None:
    assert list(results) == ["LCRec", "TinyGPT", "SASRec"]
    for result in results.values():
        assert set(result["test_result"]) == {"hit@1", "hit@5", "ndcg@1", "ndcg@5"}
        assert Path(result["saved_model_file"]).exists()


def test_a_saved_run_is_evaluated_to_the_same_metrics(results: dict[str, Any]) -> None:
    config, model, dataset, _, _, test_data = load_data_and_model(results["TinyGPT"]["saved_model_file"])
    assert type(model).__name__ == config["model"] == "TinyGPT" and dataset.item_index.n_items == 30
    trainer = registry.get_trainer(config["MODEL_TYPE"], "TinyGPT")(config, model)
    assert trainer.evaluate(test_data, load_best_model=False) == results["TinyGPT"]["test_result"]


def test_recommendations_are_the_best_of_all_items(results: dict[str, Any]) -> None:
    path = results["TinyGPT"]["saved_model_file"]
    recommender = Recommender.load(path, decoding_beam_size=30)
    histories = [["i3", "i4"], ["i10", "i11", "i12"]]
    answers = recommender.recommend(histories, k=5)
    model = recommender.answering.model  # type: ignore[attr-defined]
    for history, answer in zip(histories, answers, strict=True):
        rows = [recommender.item_ids.index(item) for item in history]
        prompt = [0, *model.tokens[rows].ravel().tolist()]
        scores = []
        for tokens in model.tokens.tolist():  # plain forward passes, one an item
            with torch.no_grad():
                logits = model.network(torch.tensor([prompt + tokens])).logits[0].log_softmax(-1)
            scores.append(sum(float(logits[len(prompt) - 1 + place, token]) for place, token in enumerate(tokens)))
        np.testing.assert_allclose([one.log_prob for one in answer], sorted(scores)[::-1][:5], atol=1e-5)
        best = [recommender.item_ids[row] for row in np.argsort(scores)[::-1][:5]]
        assert [one.item for one in answer] == best and all(one.certified for one in answer)
    only = recommender.recommend(histories, k=2, allowed_items=["i1", "i2", "i3"], exclude_history=True)
    assert [one.item for one in only[0]] and {one.item for one in only[0]} == {"i1", "i2"}


def test_an_unknown_key_is_named_with_the_nearest(plugged: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown parameter 'TinyGPT.gpt_widht'.*did you mean 'gpt_width'"):
        run_recbole_lcrec("LCRec,TinyGPT", SHOP, config_dict=values(tmp_path, **{"TinyGPT.gpt_widht": 8}))
    with pytest.raises(ValueError, match=r"gpt_width = 2: expected an integer of at least 4"):
        run_recbole_lcrec("TinyGPT", SHOP, config_dict={"gpt_width": 2, "data_path": str(tmp_path / "data")})
    with pytest.raises(ValueError, match="unknown model 'TinyGTP'; did you mean 'TinyGPT'"):
        run_recbole_lcrec("TinyGTP", SHOP)


def test_a_scorer_is_ranked_among_candidates(plugged: Path, tmp_path: Path, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    sampled = values(tmp_path, eval_args={"mode": "uni10"}, epochs=3)
    results = run_recbole_lcrec(["ItemBag", "SASRec", "TinyGPT"], SHOP, config_dict=sampled)
    assert all(0 < result["test_result"]["hit@5"] <= 1 for result in results.values())
    table = next(text for text in reversed(caplog.messages) if "Results on the test users" in text)
    assert all(name in table for name in ("ItemBag", "SASRec", "TinyGPT"))
    path = results["ItemBag"]["saved_model_file"]
    weights = torch.load(path, weights_only=False)["state_dict"]["items.weight"]
    assert torch.equal(load_data_and_model(path)[1].items.weight, weights)
    with pytest.raises(ValueError, match="ItemBag only scores given candidates and cannot recommend"):
        Recommender.load(results["ItemBag"]["saved_model_file"])


def test_a_scorer_cannot_rank_every_item(plugged: Path, tmp_path: Path, capsys: Any) -> None:
    write_shop(tmp_path / "data")
    assert main(["--model=ItemBag,SASRec", f"--dataset={SHOP}", f"--data_path={tmp_path / 'data'}"]) == 2
    error = capsys.readouterr().err
    assert "ItemBag only scores given candidates" in error and "--eval_args=\"{'mode': 'uni100'}\"" in error


def test_a_run_whose_model_is_uninstalled(results: dict[str, Any], plugged: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(plugged)])
    for name in [name for name in sys.modules if name.startswith("recbole_stranger")]:
        monkeypatch.delitem(sys.modules, name)
    registry._offers.cache_clear()
    try:
        for load in (load_data_and_model, Recommender.load):
            with pytest.raises(ValueError, match="saved by the model 'TinyGPT', which cannot be loaded: unknown model"):
                load(results["TinyGPT"]["saved_model_file"])
    finally:
        registry._offers.cache_clear()


def test_two_processes_train_a_plugin_in_the_first(plugged: Path, tmp_path: Path) -> None:
    given = values(tmp_path)
    flags = [f"--{key}={value}" for key, value in given.items() if not key.startswith("LCRec.")]
    command = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29817"]
    program = str(Path(__file__).resolve().parents[2] / "run_recbole_lcrec.py")
    done = subprocess.run(
        [sys.executable, *command, program, "--model=TinyGPT", f"--dataset={SHOP}", *flags],
        env={**os.environ, "PYTHONPATH": str(plugged), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "TinyGPT" in done.stdout + done.stderr and len(list((tmp_path / "saved").glob("TinyGPT-*.pth"))) == 1
