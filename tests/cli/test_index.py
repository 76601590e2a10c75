"""The command that learns an index, and new items in the runs that it and the main command have saved."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_lcrec import (
    LCRecDataset,
    LCRecTrainer,
    index_new_items,
    load_data_and_model,
    make_index,
    run_recbole_lcrec,
)
from recbole_lcrec.cli.index import main
from recbole_lcrec.config.configurator import Config
from recbole_lcrec.indexing.methods import METHODS
from recbole_lcrec.runtime.artifacts import DiskFullError
from tests.conftest import N_ITEMS, SHOP, shop_index

Parameters = Callable[..., dict[str, Any]]


def flags_of(parameters: dict[str, Any]) -> list[str]:
    return [f"--{key}={value}" for key, value in parameters.items()]


def add_items(shop: Path, n: int) -> list[str]:
    """Append items with texts but without interactions to the shop's item file."""
    names = [f"new{item}" for item in range(n)]
    with (shop / SHOP / f"{SHOP}.item").open("a", encoding="utf-8") as lines:
        for item, name in enumerate(names):
            lines.write(f"{name}\tlamp number {item % 7}\tA fine new lamp {item}\n")
    return names


def index_of(folder: Path) -> dict[str, list[str]]:
    return dict(json.loads((folder / f"{SHOP}.index.json").read_text(encoding="utf-8")))


def test_the_index_command_and_the_main_command_agree(shop: Path, tiny: Parameters, caplog: Any) -> None:
    parameters = tiny(shop, index_report=True, index_label_field="title")
    caplog.set_level(logging.INFO)
    assert main([f"--dataset={SHOP}", *flags_of(parameters)]) == 0
    (folder,) = Path(parameters["checkpoint_dir"]).glob(f"index-{SHOP}-*")
    written = index_of(folder)
    assert len(written) == N_ITEMS == len({tuple(tokens) for tokens in written.values()})
    page = (folder / "index_report.html").read_text(encoding="utf-8")
    assert "bolt number 0" in page and str(folder) in caplog.text
    report = json.loads((folder / "index_report.json").read_text())
    assert [epoch["epoch"] for epoch in report["curve"]] == list(range(1, parameters["index_epochs"] + 1))
    assert all(len(epoch["perplexity"]) == len(epoch["codes_used"]) == 3 for epoch in report["curve"])
    caplog.clear()
    dataset = LCRecDataset(Config("LCRec", SHOP, config_dict=parameters))
    assert "index reused" in caplog.text
    assert dict(zip(dataset.item_ids, map(list, dataset.item_index.item_tokens()), strict=True)) == written


def test_a_published_index_is_read_and_written(shop: Path, tiny: Parameters, tmp_path: Path) -> None:
    given = tmp_path / "their.index.json"
    given.write_text(json.dumps(shop_index()), encoding="utf-8")
    folder = make_index(SHOP, None, tiny(shop, index_file=str(given)))
    assert folder is not None and index_of(folder) == shop_index()
    again = make_index(SHOP, None, tiny(shop, index_file=str(folder / f"{SHOP}.index.json")))
    assert again is not None and index_of(again) == shop_index()


@pytest.mark.parametrize("method", ["rqvae", "rqkmeans", "random", "supplement"])
def test_new_items_get_indices_in_a_saved_index(shop: Path, tiny: Parameters, method: str) -> None:
    folder = make_index(SHOP, None, tiny(shop, index_method=method))
    assert folder is not None
    before = index_of(folder)
    assert index_new_items(folder) == []
    names = add_items(shop, 20)
    assert main([f"--extend={folder}"]) == 0
    after = index_of(folder)
    assert {item: after[item] for item in before} == before
    assert list(after)[N_ITEMS:] == names
    assert len({tuple(tokens) for tokens in after.values()}) == N_ITEMS + 20
    report = json.loads((folder / "index_report.json").read_text())
    assert (report["items"], report["items_indexed_later"]) == (N_ITEMS + 20, 20)
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("method", METHODS)
def test_the_main_command_accepts_every_index_method(shop: Path, tiny: Parameters, method: str) -> None:
    parameters = tiny(shop, index_method=method, index_report=True, epochs=2, decoding_beam_size=N_ITEMS)
    result = run_recbole_lcrec("LCRec", SHOP, config_dict=parameters)
    run = Path(result["saved_model_file"])
    assert f"Item index of {SHOP} ({method})" in (run / "index_report.html").read_text(encoding="utf-8")
    config, model, dataset, _, _, test_data = load_data_and_model(run)
    assert LCRecTrainer(config, model).evaluate(test_data, load_best_model=False) == result["test_result"]
    levels = {"vanilla": 1, "supplement": 4}.get(method, 3)
    assert dataset.item_index.codes.shape == (N_ITEMS, levels)
    assert {path.name for path in run.parent.iterdir()} == {run.name, "artifacts"}


def test_a_full_disk_leaves_the_folder_unchanged(shop: Path, tiny: Parameters, monkeypatch: Any, capsys: Any) -> None:
    parameters = tiny(shop)

    def full(*arguments: Any, **named: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Config, "save", full)
    assert main([f"--dataset={SHOP}", *flags_of(parameters)]) == 2
    assert "no space left for" in capsys.readouterr().err
    with pytest.raises(DiskFullError, match="checkpoint_dir"):
        run_recbole_lcrec("LCRec", SHOP, config_dict=parameters)
    assert [path.name for path in Path(parameters["checkpoint_dir"]).iterdir()] == ["artifacts"]


def test_missing_labels_are_an_error_before_training(indexed_shop: Path, tiny: Parameters) -> None:
    (indexed_shop / SHOP / f"{SHOP}.item").unlink()
    parameters = tiny(indexed_shop, index_label_field="kind", load_col={"inter": ["user_id", "item_id", "timestamp"]})
    with pytest.raises(ValueError, match="index_label_field = 'kind'"):
        run_recbole_lcrec("LCRec", SHOP, config_dict=parameters)
    assert not Path(parameters["checkpoint_dir"]).exists()


def test_a_hundred_new_items_are_ranked_by_a_trained_run(shop: Path, tiny: Parameters) -> None:
    """The trie is rebuilt, the model is unchanged, and a beam as wide as the catalogue finds all old and new items."""
    parameters = tiny(shop, decoding_beam_size=N_ITEMS + 100, epochs=1)
    run = Path(run_recbole_lcrec("LCRec", SHOP, config_dict=parameters)["saved_model_file"])
    weights = (run / "model.safetensors").read_bytes()
    names = add_items(shop, 100)
    with pytest.raises(ValueError, match=r"100 of 130 items .* --extend="):
        load_data_and_model(run)
    assert index_new_items(run) == names
    _, model, dataset, _, _, test_data = load_data_and_model(run)
    assert (run / "model.safetensors").read_bytes() == weights
    interaction = next(iter(test_data))[0]
    model.eval()
    scores = model.full_sort_predict(interaction)
    assert scores.shape == (len(interaction), N_ITEMS + 101)
    assert torch.isfinite(scores[:, 1:]).all()
    new = dataset.token2id(dataset.iid_field, names)
    log_probs = scores[:, new].numpy()
    assert np.unique(log_probs, axis=1).shape[1] > 50 and (log_probs < 0).all()


def test_indices_that_cannot_take_new_items(shop: Path, tiny: Parameters, tmp_path: Path, capsys: Any) -> None:
    vanilla = make_index(SHOP, None, tiny(shop, index_method="vanilla", checkpoint_dir=str(tmp_path / "v")))
    (shop / SHOP / f"{SHOP}.index.json").write_text(json.dumps(shop_index()), encoding="utf-8")
    given = make_index(SHOP, None, tiny(shop, checkpoint_dir=str(tmp_path / "g")))
    add_items(shop, 3)
    for folder, message in ((vanilla, "'vanilla' cannot take new items"), (given, "given, not learned")):
        assert folder is not None
        before = index_of(folder)
        with pytest.raises(ValueError, match=message):
            index_new_items(folder)
        assert index_of(folder) == before
        assert main([f"--extend={folder}"]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--dataset=NAME"),
        (["--dataset=shop", "--extend=x"], "either"),
        (["--dataset=shop", "--index_methd=random"], "index_method"),
        (["--dataset=shop", "--index_method=rq"], "rqvae"),
        (["--dataset=nowhere"], "nowhere"),
        (["--extend=nowhere"], "no such folder"),
        (["--dataset=shop", "--index_embedding_file=none.npy"], "none.npy"),
        (["--dataset=shop", "--index_levels=1", "--index_codebook_size=5"], "30 items"),
        (["--dataset=shop", "--index_label_field=brand"], "brand"),
        (["--dataset=shop", "--index_method=random", "--index_embedding_file=x.npy"], "would not be used"),
        (["--dataset=shop", "--index_method=random", "--index_file=setup.cfg"], "index_file"),
        (["--extend=x", "--config_files=y.yaml"], "--config_files"),
        (["--extend=x", "--index_levels=7"], "index_levels"),
    ],
)
def test_mistakes_are_reported_in_one_line(
    shop: Path, tiny: Parameters, capsys: Any, flags: list[str], message: str
) -> None:
    given = {flag.partition("=")[0] for flag in flags}
    rest = [] if "--extend" in given else [f for f in flags_of(tiny(shop)) if f.partition("=")[0] not in given]
    assert main([*flags, *(rest if "--dataset" in given else [])]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1
    assert not list((shop.parent / "saved").glob("*index*"))
