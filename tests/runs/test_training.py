"""Runs of several seeds: found again, continued after a kill to the same figures, shared by processes, never mixed."""

from __future__ import annotations

import importlib
import json
import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from recbole.model.sequential_recommender import SASRec

from recbole_lcrec import objective_function, register_model, run_recbole_lcrec
from recbole_lcrec.config.build_configs import build_configs
from recbole_lcrec.runs import identity, training
from recbole_lcrec.runs.finished import new_place
from recbole_lcrec.runs.identity import run_identity
from recbole_lcrec.runs.ranks import UserRanks
from recbole_lcrec.runs.sharing import shared
from recbole_lcrec.runtime.claims import claimed_folder
from recbole_lcrec.runtime.errors import RunAborted
from tests.conftest import SHOP, write_shop
from tests.test_quick_start import KEYS

COSTS = {"seconds", "training_seconds", "users_per_second", "peak_memory"}


class Killed(BaseException):
    """What nothing catches, like the end of a process."""


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    write_shop(tmp_path / "data")
    given = {"topk": [1, 5], "valid_metric": "NDCG@5", "use_gpu": False, "show_progress": False, "epochs": 4}
    given |= {"data_path": str(tmp_path / "data"), "checkpoint_dir": str(tmp_path / "saved"), "train_batch_size": 16}
    return {**given, "SASRec.hidden_size": 8, "SASRec.inner_size": 8, "learning_rate": 0.01}


def figures(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key not in {*COSTS, "saved_model_file"}}


def count_trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    trained: list[tuple[str, int]] = []
    build = training.build_run

    def counting(config: Any) -> Any:
        trained.append((config.label, config["seed"]))
        return build(config)

    monkeypatch.setattr(training, "build_run", counting)
    return trained


def test_each_model_runs_with_each_seed(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trained = count_trained(monkeypatch)
    with caplog.at_level(logging.INFO):
        results = run_recbole_lcrec("SASRec,Pop", SHOP, config_dict={**values, "seeds": "2020,2021"})
    assert trained == [("SASRec", 2020), ("Pop", 2020), ("SASRec", 2021), ("Pop", 2021)]
    by_seed = results["SASRec"]["seeds"]
    assert list(by_seed) == [2020, 2021] and all(set(result) == KEYS for result in by_seed.values())
    mean = np.mean([result["test_result"]["ndcg@5"] for result in by_seed.values()])
    assert results["SASRec"]["test_result"]["ndcg@5"] == pytest.approx(mean)
    assert "seeds 2020, 2021" in caplog.text and "against SASRec" in caplog.text
    saved_config = Path(by_seed[2021]["saved_model_file"]).with_suffix("") / "config.yaml"
    alone = run_recbole_lcrec("SASRec", SHOP, config_file_list=[saved_config])
    assert figures(alone) == figures(by_seed[2021])
    saved = Path(by_seed[2021]["saved_model_file"])
    ranks = UserRanks.load(saved.with_suffix("") / "ranks.npz")
    assert saved.is_file()
    assert ranks.per_user("ndcg@5")[1].mean() == pytest.approx(by_seed[2021]["test_result"]["ndcg@5"], abs=1e-4)
    (table,) = Path(values["checkpoint_dir"]).glob("comparison-*/results.json")
    assert json.loads(table.read_text())["seeds"] == [2020, 2021]


def test_finished_runs_are_found_again(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = run_recbole_lcrec("SASRec,Pop", SHOP, config_dict={**values, "seeds": [2020]})
    trained = count_trained(monkeypatch)
    same = {**values, "seeds": [2020], "show_progress": True, "reference": "Pop", "table_format": "plain"}
    again = run_recbole_lcrec("SASRec,Pop", SHOP, config_dict=same)
    assert again == json.loads(json.dumps(first, default=float), object_hook=_seeds) and trained == []
    run_recbole_lcrec("SASRec,Pop", SHOP, config_dict={**values, "seeds": 2021})
    assert trained == [("SASRec", 2021), ("Pop", 2021)]
    for change in ({"learning_rate": 0.02}, {"MAX_ITEM_LIST_LENGTH": 7}):
        trained.clear()
        run_recbole_lcrec("SASRec", SHOP, config_dict={**values, "seeds": [2020], **change})
        assert trained == [("SASRec", 2020)]
    trained.clear()
    with (tmp_path / f"data/{SHOP}/{SHOP}.inter").open("a") as stream:
        stream.write("\n")
    run_recbole_lcrec("SASRec", SHOP, config_dict={**values, "seeds": [2020]})
    assert trained == [("SASRec", 2020)]  # other data
    trained.clear()
    run_recbole_lcrec("SASRec", SHOP, config_dict={**values})
    run_recbole_lcrec("SASRec", SHOP, config_dict={**values})
    assert trained == [("SASRec", 2020)] * 2  # without seeds each command is a new run


def _seeds(value: dict[str, Any]) -> dict[Any, Any]:
    return {int(key) if key.isdigit() else key: content for key, content in value.items()}


def test_one_model_has_one_result_whatever_the_number_of_seeds(values: dict[str, Any]) -> None:
    for seeds in ([1], [1, 2]):
        result = run_recbole_lcrec("Pop", SHOP, config_dict={**values, "seeds": seeds})
        assert list(result["seeds"]) == seeds and set(result) == {"test_result", "best_valid_score", "seeds"}
    with pytest.raises(ValueError, match="a trial takes one seed"):
        objective_function({**values, "model": "Pop", "dataset": SHOP, "seeds": [1]})


def test_a_failure_leaves_a_table_over_common_seeds(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    build = training.build_run

    def failing(config: Any) -> Any:
        if (config.label, config["seed"]) == ("Pop", 2):
            raise ValueError("broke late")
        return build(config)

    monkeypatch.setattr(training, "build_run", failing)
    with caplog.at_level(logging.INFO), pytest.raises(ValueError, match="broke late"):
        run_recbole_lcrec("SASRec,Pop", SHOP, config_dict={**values, "seeds": [1, 2], "reference": "Pop"})
    assert "Seeds 2 are left out" in caplog.text and ", seed 1\n" in caplog.text
    assert not list(Path(values["checkpoint_dir"]).glob("comparison-*"))


def test_other_code_is_another_run(values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    source = "from recbole.model.sequential_recommender import SASRec\nclass Mine(SASRec):\n    {}\n"
    (tmp_path / "mine.yaml").write_text("loss_type: CE\n")
    identities = []
    for body in ("pass", "pass", "extra = 1"):
        (tmp_path / "my_model.py").write_text(source.format(body))
        sys.modules.pop("my_model", None)
        mine = register_model(tmp_path / "mine.yaml")(importlib.import_module("my_model").Mine)
        (config,) = build_configs(
            mine, SHOP, None, {key: values[key] for key in ("data_path", "topk", "valid_metric")}, None
        )
        identities.append(run_identity(config))
    assert identities[0] == identities[1] != identities[2]


def test_classes_without_a_file_are_never_taken_for_one_another() -> None:
    one, other = (type("Mine", (), {"__module__": "nowhere"}) for _ in range(2))
    assert identity._source(one) == identity._source(one) != identity._source(other)


def test_a_torn_state_is_reported_and_the_training_begins_anew(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    given = {**values, "seeds": [1], "epochs": 3}
    whole = run_recbole_lcrec("SASRec", SHOP, config_dict={**given, "checkpoint_dir": f"{given['checkpoint_dir']}-w"})
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(SASRec, "calculate_loss", lambda *_: (_ for _ in ()).throw(Killed))
        run_recbole_lcrec("SASRec", SHOP, config_dict=given)
    (path,) = Path(values["checkpoint_dir"]).glob("SASRec-*/progress.pt")
    path.write_bytes(path.read_bytes()[:100])
    result = run_recbole_lcrec("SASRec", SHOP, config_dict=given)
    assert "progress.pt cannot be read" in caplog.text and figures(result["seeds"][1]) == figures(whole["seeds"][1])


def test_damaged_ranks_are_made_again(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = run_recbole_lcrec("Pop", SHOP, config_dict={**values, "seeds": [2020]})
    (path,) = Path(values["checkpoint_dir"]).glob("Pop-*/ranks.npz")
    path.write_bytes(b"torn")
    trained = count_trained(monkeypatch)
    again = run_recbole_lcrec("Pop", SHOP, config_dict={**values, "seeds": [2020]})
    assert trained == [("Pop", 2020)] and "ranks.npz cannot be read" in caplog.text
    assert again["test_result"] == first["test_result"]
    (path,) = Path(values["checkpoint_dir"]).glob("Pop-*/ranks.npz")
    path.unlink()
    run_recbole_lcrec("Pop", SHOP, config_dict={**values, "seeds": [2020]})
    assert trained == [("Pop", 2020)] * 2
    (results,) = Path(values["checkpoint_dir"]).glob("Pop-*/results.json")
    results.write_text("{torn")
    run_recbole_lcrec("Pop", SHOP, config_dict={**values, "seeds": [2020]})
    assert trained == [("Pop", 2020)] * 3


MODELS: dict[str, dict[str, Any]] = {
    "SASRec": {},
    "BERT4Rec": {"hidden_size": 8, "inner_size": 8},
    "SASRecBCE": {"hidden_size": 8, "inner_size": 8},
    "eSASRec": {"hidden_size": 8, "inner_size": 8, "n_heads": 2},
    "FMLPRec": {"hidden_size": 8, "loss_type": "BPR"},
    "GRU4Rec": {"embedding_size": 8, "hidden_size": 8},
    "BPR": {"embedding_size": 8},
    "RecVAE": {"hidden_dimension": 8, "latent_dimension": 4},
    "MultiVAE": {"mlp_hidden_size": [8], "latent_dimension": 4, "total_anneal_steps": 5},
    "DiffRec": {"dims_dnn": [8], "embedding_size": 4},
    "Pop": {},
}


@pytest.mark.parametrize("model", MODELS)
def test_a_killed_training_is_continued_to_the_same_figures(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    values = {**values, **MODELS[model], "seeds": [2020], "epochs": 4 if model != "Pop" else 1, "stopping_step": 3}
    elsewhere = {**values, "checkpoint_dir": f"{values['checkpoint_dir']}-whole"}
    whole = run_recbole_lcrec(model, SHOP, config_dict=elsewhere)["seeds"][2020]
    builder, epochs = training.build_trainer, []

    def killed_in_the_third(config: Any, *args: Any) -> Any:
        trainer = builder(config, *args)
        train = trainer._train_epoch

        def train_epoch(data: Any, epoch: int, *others: Any, **more: Any) -> Any:
            epochs.append(epoch)
            loss = train(data, epoch, *others, **more)
            if len(epochs) == (1 if model == "Pop" else 3):
                raise Killed
            return loss

        trainer._train_epoch = train_epoch
        return trainer

    monkeypatch.setattr(training, "build_trainer", killed_in_the_third)
    with pytest.raises(Killed):
        run_recbole_lcrec(model, SHOP, config_dict=values)
    begun = [path.name for path in Path(values["checkpoint_dir"]).glob(f"{model}-*") if path.is_dir()]
    result = run_recbole_lcrec(model, SHOP, config_dict=values)["seeds"][2020]
    assert epochs == ([0, 0] if model == "Pop" else [0, 1, 2, 2, 3])
    assert figures(result) == figures(whole)
    folders = [path for path in Path(values["checkpoint_dir"]).glob(f"{model}-*") if path.is_dir()]
    assert [path.name for path in folders] == begun and not (folders[0] / "progress.pt").exists()


def test_lcrec_is_found_again_and_leaves_no_empty_folder(
    indexed_shop: Any, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {**tiny(indexed_shop, epochs=1), "seeds": [2020]}
    first = run_recbole_lcrec("LCRec", SHOP, config_dict=given)["seeds"][2020]
    folder = Path(first["saved_model_file"])
    assert (folder / "ranks.npz").is_file() and json.loads((folder / "results.json").read_text())["train_loss"]
    assert len([path for path in folder.parent.glob("LCRec-*") if path.is_dir()]) == 1
    trained = count_trained(monkeypatch)
    again = run_recbole_lcrec("LCRec", SHOP, config_dict=given)["seeds"][2020]
    assert trained == [] and figures(again) == figures(json.loads(json.dumps(first, default=float)))


def test_processes_share_the_work(values: dict[str, Any], tmp_path: Path) -> None:
    flags = [f"--{key}={value}" for key, value in values.items()]
    code = "import sys; from recbole_lcrec.quick_start import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "--model=SASRec,Pop", f"--dataset={SHOP}", "--seeds=1,2,3", *flags]
    done = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
    logs = [process.communicate()[0].decode() for process in done]
    assert [process.returncode for process in done] == [0, 0], logs
    saved = Path(values["checkpoint_dir"])
    assert len(list(saved.glob("SASRec-*.pth"))) == len(list(saved.glob("Pop-*.pth"))) == 3
    tables = [json.loads(path.read_text()) for path in saved.glob("comparison-*/results.json")]
    assert len(tables) == 2 and tables[0] == tables[1] and tables[0]["seeds"] == [1, 2, 3]


def test_jobs_of_a_dead_process_are_done_by_another(tmp_path: Path) -> None:
    finished: dict[str, str] = {}

    def do(job: str) -> str:
        finished[job] = f"done {job}"
        return finished[job]

    code = (
        "import sys, time; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire(); "
        "print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a.lock")], stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdout.readline() == b"held\n"
    results = shared({tmp_path / "a.lock": "a", tmp_path / "b.lock": "b"}, finished.get, do, pause=0.05)
    assert next(results) == "done b"  # the first is held
    other.kill()
    other.wait()
    assert list(results) == ["done a"]


def test_processes_of_a_launcher_leave_the_runs_of_others_alone(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "0"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    given = {**values, "seeds": [1], "epochs": 1}
    (config,) = build_configs("SASRec", SHOP, None, given, None)
    with FileLock(Path(values["checkpoint_dir"]) / f".running/SASRec-1-{run_identity(config)}.lock"):
        with pytest.raises(RunAborted, match="SASRec, seed 1, is being trained by another command"):
            run_recbole_lcrec("SASRec", SHOP, config_dict=given)
        assert not list(Path(values["checkpoint_dir"]).glob("SASRec-*"))
    trained = count_trained(monkeypatch)
    first = run_recbole_lcrec("SASRec", SHOP, config_dict=given)
    again = run_recbole_lcrec("SASRec", SHOP, config_dict=given)
    assert trained == [("SASRec", 1)] and figures(again["seeds"][1]) == figures(first["seeds"][1])


def test_runs_begun_in_one_second_take_different_names(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as held, ThreadPoolExecutor(8) as pool:
        claims = [claimed_folder(tmp_path / "runs/SASRec-now") for _ in range(20)]
        claimed = list(pool.map(lambda claim: claim.__enter__(), claims))
        for claim in claims:
            held.push(claim)
        assert len(set(claimed)) == 20 and all(path.is_dir() for path in claimed)
        assert {path.name for path in claimed} == {"SASRec-now", *(f"SASRec-now-{n}" for n in range(2, 21))}
        (claimed[3] / "something").write_text("")
    assert list((tmp_path / "runs").iterdir()) == [claimed[3]]
    monkeypatch.setattr("recbole_lcrec.runs.finished.get_local_time", lambda: "now")
    configs = build_configs("SASRec,Pop", SHOP, None, values, None)
    with ExitStack() as held:
        places = [held.enter_context(new_place(config)) for config in (*configs, configs[0])]
    assert [place.saved_model_file.name for place in places] == ["SASRec-now.pth", "Pop-now.pth", "SASRec-now-2.pth"]
    assert [place.folder.name for place in places] == ["SASRec-now", "Pop-now", "SASRec-now-2"]
    results = [run_recbole_lcrec("Pop", SHOP, config_dict=values)["saved_model_file"] for _ in range(2)]
    assert [Path(name).name for name in results] == ["Pop-now.pth", "Pop-now-2.pth"]


def test_a_failed_run_leaves_no_folder(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any) -> Any:
        raise ValueError("no data")

    monkeypatch.setattr(training, "build_run", failing)
    with pytest.raises(ValueError, match="no data"):
        run_recbole_lcrec("SASRec", SHOP, config_dict=values)
    assert not list(Path(values["checkpoint_dir"]).glob("SASRec-*"))


def test_nothing_is_written_without_saving(values: dict[str, Any], tmp_path: Path) -> None:
    results = run_recbole_lcrec("SASRec,Pop", SHOP, config_dict={**values, "seeds": [1]}, saved=False)
    assert results["Pop"]["seeds"][1]["saved_model_file"] is None
    saved = tmp_path / "saved"
    assert not saved.exists() or not [path for path in saved.iterdir() if path.name != "artifacts"]


def test_identities_follow_files_that_are_no_atomic_files(tmp_path: Path) -> None:
    (tmp_path / "Shop/raw").mkdir(parents=True)
    review = '{"reviewerID": "u", "asin": "i", "unixReviewTime": 1, "overall": 5}\n'
    (tmp_path / "Shop/raw/Shop_5.json").write_text(review)
    (tmp_path / "Shop/raw/meta_Shop.json").write_text('{"asin": "i", "title": "t"}\n')
    identities = []
    for text in (review, review, 2 * review):
        if text != (tmp_path / "Shop/raw/Shop_5.json").read_text():
            (tmp_path / "Shop/raw/Shop_5.json").write_text(text)
        (config,) = build_configs("Pop", "Shop", None, {"data_path": str(tmp_path)}, None)
        identities.append(run_identity(config))
    assert identities[0] == identities[1] != identities[2]


def test_identities(values: dict[str, Any], tmp_path: Path) -> None:
    def of(**changes: Any) -> str:
        (config,) = build_configs("SASRec", SHOP, None, {**values, **changes}, None)
        return run_identity(config)

    plain = of()
    assert plain == of(checkpoint_dir="elsewhere", show_progress=True, table_format="latex", seeds=[2020])
    copied = tmp_path / "copy"
    (tmp_path / "data").rename(copied)
    assert plain == of(data_path=str(copied))
    assert len({plain, *(of(data_path=str(copied), **c) for c in ({"seed": 3}, {"epochs": 5}))}) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": "2020,2020"}, r"seeds = \(2020, 2020\): expected distinct integers"),
        ({"seeds": [-1]}, r"seeds = \[-1\]: expected distinct integers of at least 0"),
        ({"seeds": "one"}, "seeds = 'one': expected"),
        ({"seeds": []}, r"seeds = \[\]: expected"),
        ({"table_format": "Latex"}, "table_format = 'Latex': expected one of .*did you mean 'latex'"),
        ({"reference": "SASrec"}, "reference = 'SASrec' is not a model of this run; did you mean 'SASRec'"),
        ({"reference": ["Pop"]}, r"reference = \['Pop'\]: expected"),
        ({"Pop.seeds": [1], "SASRec.seeds": [2]}, "seeds differs between SASRec"),
        ({"seeds": [1, 2], "seed": 5}, "seed = 5 is given beside seeds"),
        ({"seeds": [1, 2], "SASRec.seed": 2020}, "seed = 2020 is given beside seeds"),
    ],
)
def test_values_that_cannot_be_used(values: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_configs("SASRec,Pop", SHOP, None, {**values, **changes}, None)
