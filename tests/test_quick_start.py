"""Runs of the main command on a tiny data set, whose popularity ranking is computed by hand."""

import errno
import logging
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from recbole.trainer import HyperTuning

from recbole_lcrec import load_data_and_model, objective_function, run_recbole_lcrec
from recbole_lcrec.config.build_configs import build_configs
from recbole_lcrec.config.registry import get_trainer
from recbole_lcrec.indexing.quantizer import squared_distances
from recbole_lcrec.quick_start import main, run_models
from recbole_lcrec.runs import training
from recbole_lcrec.runtime.commands import run_command
from recbole_lcrec.runtime.processes import process_rank

N_USERS, N_ITEMS, LENGTH = 24, 12, 6
TINY = {
    "SASRec.hidden_size": 8, "SASRec.inner_size": 8, "SASRec.n_layers": 1, "SASRec.n_heads": 1, "show_progress": False,
    "train_batch_size": 64, "epochs": 1, "topk": [1, 3, 12], "valid_metric": "NDCG@3", "use_gpu": False,
}  # fmt: skip
KEYS = {"best_valid_score", "valid_score_bigger", "best_valid_result", "test_result", "seconds", "saved_model_file"}
KEYS |= {"training_seconds", "users_per_second", "parameters", "peak_memory"}


@pytest.fixture(autouse=True)
def shop(tmp_path, monkeypatch):
    """Parameters for a folder with one data set, which is the working directory."""
    folder = tmp_path / "data" / "shop"
    folder.mkdir(parents=True)
    rows = [f"u{user}\ti{(user + step) % N_ITEMS}\t{1000 + step}" for user in range(N_USERS) for step in range(LENGTH)]
    (folder / "shop.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n" + "\n".join(rows) + "\n")
    items = [f"i{item}\tThing number {item}" for item in range(N_ITEMS)]
    (folder / "shop.item").write_text("item_id:token\ttitle:token_seq\n" + "\n".join(items) + "\n")
    monkeypatch.chdir(tmp_path)
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    return {**TINY, "data_path": str(tmp_path / "data")}


def flags(values):
    return [f"--{key}={value}" for key, value in values.items()]


def test_models_of_a_list_are_ranked_side_by_side(shop, caplog):
    with caplog.at_level(logging.INFO):
        results = run_recbole_lcrec("SASRec,Pop", "shop", config_dict={**shop, "Pop.seed": 2020})
    assert list(results) == ["SASRec", "Pop"]
    for result in results.values():
        assert set(result) == KEYS and result["valid_score_bigger"] is True and result["seconds"] > 0
        assert result["test_result"]["hit@12"] == 1.0  # all 12 items are ranked, so the 12th place always hits
        assert result["best_valid_result"]["ndcg@3"] == pytest.approx(result["best_valid_score"])
    tables = [record.message for record in caplog.records if "| " in record.message and "SASRec" in record.message]
    assert len(tables) == 1 and "NDCG@3" in tables[0]


@pytest.mark.parametrize(("mask_history", "hits"), [(False, 8), (True, 10)])
def test_pop_equals_counting(shop, tmp_path, mask_history, hits):
    """User j trains j + 1 times on item j, is validated on j + 1 and tested on j + 5 (all modulo 12).

    RecBole's Pop counts an item once a batch, and sampled negatives as if they had been bought, hence ``exact``.
    So item i is at place 12 - i, and targets 4 to 11 are among the first 8. Masking takes items j and j + 1 away from
    user j, which lifts targets 3 and 2 (users 10 and 9) from places 9 and 10 to places 7 and 8.
    """
    rows = []
    for user in range(N_ITEMS):
        items = [user] * (user + 1) + [(user + 1) % N_ITEMS, (user + 5) % N_ITEMS]
        rows += [f"u{user}\ti{item}\t{time}" for time, item in enumerate(items)]
    header = "user_id:token\titem_id:token\ttimestamp:float\n"
    (tmp_path / "data/shop/shop.inter").write_text(header + "\n".join(rows) + "\n")
    exact = {"train_batch_size": 1, "train_neg_sample_args": None}
    given = {**shop, **exact, "topk": [1, 3, 8], "mask_history": mask_history}
    result = run_recbole_lcrec("Pop", "shop", config_dict=given)["test_result"]
    assert result["hit@1"] == pytest.approx(1 / 12, abs=1e-4)
    assert result["hit@8"] == pytest.approx(hits / 12, abs=1e-4)
    assert result["ndcg@3"] == pytest.approx((1 + 1 / math.log2(3) + 1 / 2) / 12, abs=1e-4)


@pytest.fixture
def tiny_lcrec(shop):
    return {
        **shop, "index_levels": 2, "index_codebook_size": 4, "index_latent_dim": 4, "index_hidden_sizes": [8],
        "index_epochs": 2, "scratch_vocab_size": 300, "scratch_hidden_size": 16, "scratch_intermediate_size": 16,
        "scratch_layers": 1, "scratch_heads": 2, "tuning_seq_format": "stream", "decoding_beam_size": 12,
        "text_description_fields": [], "train_batch_size": 8,
    }  # fmt: skip


def test_a_saved_lcrec_is_loaded_with_the_same_numbers(tiny_lcrec):
    results = run_recbole_lcrec(["LCRec", "Pop"], "shop", config_dict=tiny_lcrec)
    assert results["LCRec"]["test_result"]["hit@12"] == 1.0 == results["Pop"]["test_result"]["hit@12"]
    config, model, _, _, _, test_data = load_data_and_model(results["LCRec"]["saved_model_file"])
    trainer = get_trainer(config["MODEL_TYPE"], config.model)(config, model)
    assert dict(trainer.evaluate(test_data, load_best_model=False)) == dict(results["LCRec"]["test_result"])


def test_everything_is_checked_before_the_first_model_trains(shop, tmp_path):
    bad = {"LCRec.decoding_beam_size": 5}
    with pytest.raises(ValueError, match=r"LCRec: topk = \[1, 3, 12\].*decoding_beam_size = 5"):
        run_recbole_lcrec(["Pop", "LCRec"], "shop", config_dict={**shop, **bad})
    with pytest.raises(ValueError, match=r"unknown parameter 'epoch' .* of Pop and SASRec; did you mean 'epochs'"):
        run_recbole_lcrec(["Pop", "SASRec"], "shop", config_dict={**shop, "epoch": 5})
    with pytest.raises(ValueError, match="data set 'shopp' was not found"):
        run_recbole_lcrec(["Pop", "SASRec"], "shopp", config_dict=shop)
    with pytest.raises(ValueError, match=r"base_model = './nowhere'"):
        run_recbole_lcrec(["Pop", "LCRec"], "shop", config_dict={**shop, "base_model": "./nowhere"})
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 3),
        ("topk", [3]),
        ("mask_history", True),
        ("metrics", ["NDCG"]),
        ("data_path", "x"),
        ("TIME_FIELD", "x"),
    ],
)
def test_models_that_cannot_be_compared_are_rejected(shop, key, value):
    with pytest.raises(ValueError, match=f"{key} differs between SASRec .* and Pop"):
        build_configs(["SASRec", "Pop"], "shop", None, {**shop, f"Pop.{key}": value}, None)


def test_models_may_be_named_in_a_file(shop, tmp_path):
    (tmp_path / "run.yaml").write_text("model: Pop,SASRec\ndataset: shop\n")
    configs = build_configs(None, None, [tmp_path / "run.yaml"], shop, None)
    assert [(config.model, config.dataset) for config in configs] == [("Pop", "shop"), ("SASRec", "shop")]
    with pytest.raises(ValueError, match="no model is given"):
        build_configs(None, "shop", None, shop, None)


def test_the_command_shows_one_table(shop, caplog, tmp_path):
    with caplog.at_level(logging.INFO):
        assert main(["--model=SASRec,Pop", "--dataset=shop", *flags(shop)]) == 0
    (shown,) = (record.message for record in caplog.records if "Results on the test users" in record.message)
    assert shown.count("SASRec |") == 4 + 4 and shown.count("Pop |") == 4  # and in the heads of two tables
    assert [name in shown for name in ("Hit@1 ", "Hit@3 ", "NDCG@12 ", "seconds")] == [True] * 4
    assert len(list((tmp_path / "saved").glob("*.pth"))) == 2


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--model=SASRek", "--dataset=shop"], ["unknown model 'SASRek'", "'SASRec'"]),
        (["--model=Pop", "--dataset=nowhere"], ["'nowhere' was not found", "ml-100k"]),
        (["--model=Pop", "--dataset=shop", "--topkk=[1]"], ["'topkk'", "'topk'"]),
        (["--model=Pop", "--dataset=shop", "--epochs=-1"], ["epochs = -1", "at least 0"]),
        (["--model=Pop", "--dataset=shop", "stray"], ["'stray'"]),
        (["--model=Pop", "--dataset=shop", "--config_files=no.yaml"], ["'no.yaml'", "No such file"]),
        (["--dataset=shop"], ["no model is given"]),
        (["--model=Pop"], ["no dataset is given"]),
    ],
)
def test_mistakes_are_one_line_and_code_2(argv, words, capsys):
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    assert all(word in err for word in words)


def test_debug_shows_the_traceback(capsys):
    assert main(["--model=Pop", "--dataset=nowhere", "--state=DEBUG"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_objective_function_has_the_shape_that_tuning_expects(shop):
    trial = objective_function({**shop, "model": "SASRec", "dataset": "shop", "learning_rate": "0.01"})
    assert set(trial) == {"model", "best_valid_score", "valid_score_bigger", "best_valid_result", "test_result"}
    assert trial["model"] == "SASRec" and math.isfinite(trial["best_valid_score"])
    with pytest.raises(ValueError, match="a trial takes exactly one model"):
        objective_function({**shop, "model": "SASRec,Pop", "dataset": "shop"})


def test_recboles_search_chooses_by_the_validation_score(shop):
    def objective(trial, files):
        return objective_function({**shop, "model": "SASRec", "dataset": "shop", "epochs": 3, **trial}, files)

    search = HyperTuning(objective, params_dict={"choice": {"learning_rate": [1e-6, 0.05], "n_layers": [1, 2]}})
    search.run()
    scores = {text: result["best_valid_score"] for text, result in search.params2result.items()}
    assert len(scores) == 4 and search.best_score == max(scores.values()) > min(scores.values())
    assert scores[search.params2str(search.best_params)] == search.best_score


def test_a_saved_baseline_is_loaded_with_the_same_results(shop):
    result = run_recbole_lcrec("SASRec", "shop", config_dict={**shop, "epochs": 3})
    config, model, dataset, train_data, valid_data, test_data = load_data_and_model(result["saved_model_file"])
    assert config["hidden_size"] == 8 and dataset.item_num == N_ITEMS + 1
    assert (len(train_data.dataset), len(valid_data.dataset), len(test_data.dataset)) == (N_USERS * 3, N_USERS, N_USERS)
    trainer = get_trainer(config["MODEL_TYPE"], config.model)(config, model)
    assert dict(trainer.evaluate(test_data, load_best_model=False)) == dict(result["test_result"])


def test_what_cannot_be_loaded_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere"):
        load_data_and_model(tmp_path / "nowhere")
    torch.save({"weights": 1}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other.pth is not a checkpoint"):
        load_data_and_model(tmp_path / "other.pth")
    (tmp_path / "torn.pth").write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"torn.pth cannot be read"):
        load_data_and_model(tmp_path / "torn.pth")
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, content in (
        ("config.yaml", "model: LCRec\ndataset: shop\n"),
        ("shop.index.json", "{}"),
        ("config.json", "{}"),
        ("tokenizer_config.json", "{}"),
        ("model.safetensors", None),
    ):
        with pytest.raises(ValueError, match=name):
            load_data_and_model(folder)
        if content:
            (folder / name).write_text(content)


def test_other_processes_leave_baselines_to_the_first(shop, monkeypatch, caplog, tmp_path):
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "1"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert run_recbole_lcrec(["Pop"], "shop", config_dict=shop) == {}
    assert not [record for record in caplog.records if record.levelno >= logging.INFO]
    monkeypatch.setenv("RANK", "0")
    assert list(run_models(build_configs("Pop", "shop", None, shop, None))) == ["Pop"]


def test_handlers_of_the_caller_stay(shop):
    root = logging.getLogger()
    handler = logging.StreamHandler(sys.stdout)
    root.addHandler(handler)
    before, level = list(root.handlers), root.level
    try:
        run_recbole_lcrec("Pop", "shop", config_dict=shop)
        assert root.handlers == before and root.level == level
    finally:
        root.removeHandler(handler)


def test_interactions_without_a_time_are_refused_before_any_work(shop, capsys):
    path = Path(shop["data_path"]) / "shop" / "shop.inter"
    path.write_text("user_id:token\titem_id:token\nu\ti\n", encoding="utf-8")
    assert main(["--model=SASRec,Pop", "--dataset=shop", *flags(shop)]) == 2
    assert "no column 'timestamp', required by TIME_FIELD" in capsys.readouterr().err


def test_a_validation_metric_needs_its_cutoff(shop, capsys):
    assert main(["--model=SASRec,Pop", "--dataset=shop", *flags({**shop, "valid_metric": "NDCG"})]) == 2
    assert "valid_metric = 'NDCG' needs a cut-off" in capsys.readouterr().err


def test_a_late_failure_keeps_the_table_of_the_finished_models(shop, caplog, monkeypatch):
    train_and_test = training.train_and_test

    def failing(config, saved):
        if config.model == "SASRec":
            raise ValueError("broke late")
        return train_and_test(config, saved)

    monkeypatch.setattr(training, "train_and_test", failing)
    with caplog.at_level(logging.INFO), pytest.raises(ValueError, match="broke late"):
        run_recbole_lcrec(["Pop", "SASRec"], "shop", config_dict=shop)
    (shown,) = (record.message for record in caplog.records if "Results on the test users" in record.message)
    assert shown.count("Pop |") == 4 and "SASRec" not in shown  # means, costs, Hit@12, NDCG@12


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EISDIR, errno.ENOTDIR])
def test_a_folder_that_cannot_be_written_to_is_one_line(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise OSError(number, "it cannot be", "/data/saved")

    assert run_command(lambda: work, []) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_other_system_errors_are_not_hidden() -> None:
    def work() -> None:
        raise OSError(errno.EIO, "the disk is broken")

    with pytest.raises(OSError, match="broken"):
        run_command(lambda: work, [])


def test_an_aborted_run_is_reported_in_one_line(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run_command(lambda: process_rank, []) == 2
    assert capsys.readouterr().err.startswith("error: WORLD_SIZE is 2 but RANK is not set; start the processes with")


def test_errors_of_others_keep_their_traceback():
    """Also for errors raised by PyTorch in a line of the package, such as wrong shapes."""
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
        run_command(lambda: lambda: squared_distances(torch.zeros(2, 3), torch.zeros(4, 5)), [])
    assert caught.traceback[-1].name == "squared_distances"


@pytest.mark.parametrize(("model", "hinted"), [("LCRec", True), ("SASRec", False)])
def test_an_interrupted_run_says_how_to_resume(shop, monkeypatch, caplog, model, hinted):
    def interrupted(config):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "build_run", interrupted)
    (Path("data") / "shop" / "shop.index.json").write_text(
        "{" + ", ".join(f'"i{item}": ["<a_{item}>"]' for item in range(N_ITEMS)) + "}", encoding="utf-8"
    )
    with pytest.raises(KeyboardInterrupt):
        run_recbole_lcrec(model, "shop", config_dict={**shop, "topk": [1, 3], "LCRec.tuning_tasks": ["seq"]})
    assert ("--resume=auto" in caplog.text) == hinted


def test_a_run_of_recboles_models_loads_no_language_models(shop):
    flags = [f"--{key}={value}" for key, value in shop.items() if not key.startswith("SASRec")]
    code = (
        "import sys; from recbole_lcrec.quick_start import main; "
        f"assert main(['--model=Pop', '--dataset=shop', *{flags!r}]) == 0; "
        "print('LOADED', sorted({'transformers', 'peft', 'faiss', 'deepspeed'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "LOADED []" in done.stdout
