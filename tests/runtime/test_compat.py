"""RecBole 1.2.1 works with the installed libraries, and other code sees no change in them."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.cuda.amp
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

ROOT = Path(__file__).resolve().parents[2]
USERS, ITEMS, EVENTS = 12, 9, 6
LEAVE_ONE_OUT = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write atomic files of 12 users with 6 events each; item i9 is not in the item file, i2 and i3 lack fields."""
    rows = [
        f"u{user}\ti{(user * 2 + event) % ITEMS + 1}\t{100 * user + event}"
        for user in range(USERS)
        for event in range(EVENTS)
    ]
    items = [f"i{item}\t{'a b' if item % 2 else 'b'}\t{1990 + item}\t{item}.5" for item in range(1, ITEMS)]
    items[1] = "i2\t\t1992\t2.5"
    items[2] = "i3\ta b\t\t"
    data = tmp_path / "tiny"
    data.mkdir()
    (data / "tiny.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n" + "\n".join(rows) + "\n")
    (data / "tiny.item").write_text(
        "item_id:token\tclass:token_seq\tyear:token\tprice:float\n" + "\n".join(items) + "\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pytest"])
    return tmp_path


def make_config(folder: Path, model: str, **changes: Any) -> Config:
    settings = {
        "data_path": str(folder),
        "checkpoint_dir": str(folder / "saved"),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": LEAVE_ONE_OUT,
        "epochs": 1,
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
        "topk": [3],
        "valid_metric": "NDCG@3",
        "embedding_size": 8,
        "hidden_size": 8,
        "inner_size": 8,
        "MAX_ITEM_LIST_LENGTH": 5,
        **changes,
    }
    return Config(model=model, dataset="tiny", config_dict=settings)


def with_item_fields(*fields: str) -> dict[str, list[str]]:
    return {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", *fields]}


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("SASRec", {"train_neg_sample_args": None}),
        ("GRU4Rec", {"train_neg_sample_args": None}),
        ("BERT4Rec", {"train_neg_sample_args": None}),
        ("Caser", {"train_neg_sample_args": None}),
        ("HGN", {"loss_type": "BPR"}),
        (
            "FDSA",
            {"train_neg_sample_args": None, "load_col": with_item_fields("class"), "selected_features": ["class"]},
        ),
        ("Pop", {}),
    ],
)
def test_a_model_trains_saves_loads_and_ranks(folder: Path, model: str, changes: dict[str, Any]) -> None:
    config = make_config(folder, model, **changes)
    init_seed(config["seed"], True)
    train, valid, test = data_preparation(config, create_dataset(config))
    network = get_model(model)(config, train._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, network)
    trainer.fit(train, valid, saved=True)
    best = torch.load(trainer.saved_model_file, weights_only=False)["state_dict"]

    first = trainer.evaluate(test, load_best_model=True)
    for name, value in network.state_dict().items():
        assert torch.equal(value, best[name]), name
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    trainer.resume_checkpoint(trainer.saved_model_file)
    assert trainer.evaluate(test, load_best_model=False) == first
    assert trainer.start_epoch == 1
    assert 0 <= first["hit@3"] <= 1


def test_a_model_reads_its_pretrained_part(folder: Path) -> None:
    fields = {"load_col": with_item_fields("class"), "item_attribute": "class", "train_neg_sample_args": None}
    config = make_config(folder, "S3Rec", train_stage="pretrain", save_step=1, pretrain_epochs=1, **fields)
    train, valid, _ = data_preparation(config, create_dataset(config))
    trainer = get_trainer(config["MODEL_TYPE"], "S3Rec")(config, get_model("S3Rec")(config, train._dataset))
    trainer.fit(train, valid)
    (path,) = (folder / "saved").glob("S3Rec*.pth")
    saved = torch.load(path, weights_only=False)["state_dict"]

    config = make_config(folder, "S3Rec", train_stage="finetune", pre_model_path=str(path), **fields)
    train, _, _ = data_preparation(config, create_dataset(config))
    network = get_model("S3Rec")(config, train._dataset)
    assert torch.equal(network.item_embedding.weight, saved["item_embedding.weight"])


@pytest.mark.parametrize("model", ["FDSA", "GRU4RecF", "SASRecF"])
def test_checkpoints_leave_the_data_set_out(folder: Path, model: str) -> None:
    changes = {"train_neg_sample_args": None, "load_col": with_item_fields("class"), "selected_features": ["class"]}
    config = make_config(folder, model, **changes)
    train, valid, test = data_preparation(config, create_dataset(config))
    network = get_model(model)(config, train._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, network)
    trainer.fit(train, valid, saved=True)
    held = torch.load(trainer.saved_model_file, weights_only=False)["other_parameter"]["feature_embed_layer"]
    assert "dataset" not in vars(held) and network.feature_embed_layer.dataset is train._dataset
    first = trainer.evaluate(test, load_best_model=True)
    assert network.feature_embed_layer.state_dict().keys() == held.state_dict().keys()
    assert trainer.evaluate(test, load_best_model=False) == first


def test_missing_values_become_padding_and_means(folder: Path) -> None:
    config = make_config(
        folder, "Pop", load_col=with_item_fields("class", "year", "price"), filter_inter_by_user_or_item=False
    )
    dataset = create_dataset(config)
    items = dataset.get_item_feature()
    row = {token: dataset.token2id("item_id", token) for token in ("i1", "i2", "i3", "i9")}
    letters = {token: dataset.token2id("class", token) for token in "ab"}

    assert items["class"][row["i1"]].tolist() == [letters["a"], letters["b"]]
    assert items["class"][row["i2"]].tolist() == []
    assert items["class"][row["i9"]].tolist() == []
    assert dataset.id2token("year", int(items["year"][row["i1"]])) == "1991"
    assert items["year"][row["i3"]] == 0
    assert items["year"][row["i9"]] == 0
    known = [1.5, 2.5, 4.5, 5.5, 6.5, 7.5, 8.5]
    assert items["price"][row["i3"]].item() == pytest.approx(sum(known) / len(known))


def test_sequences_of_numbers_are_scaled_item_by_item(folder: Path) -> None:
    lines = ["item_id:token\tsizes:float_seq", "i1\t2 4", *(f"i{item}\t{item}" for item in range(3, ITEMS)), "i2\t10"]
    (folder / "tiny" / "tiny.item").write_text("\n".join(lines) + "\n")
    changes = {"numerical_features": ["sizes"], "normalize_field": ["sizes"], "load_col": with_item_fields("sizes")}
    dataset = create_dataset(make_config(folder, "Pop", **changes, filter_inter_by_user_or_item=False))
    sizes = dataset.get_item_feature()["sizes"]
    values = {token: list(sizes[dataset.token2id("item_id", token)][0]) for token in ("i1", "i2")}
    assert values == {"i1": [0.0, 0.25], "i2": [1.0]}


def test_a_graph_model_builds_the_right_matrix(folder: Path) -> None:
    config = make_config(folder, "LightGCN")
    train, _, _ = data_preparation(config, create_dataset(config))
    network = get_model("LightGCN")(config, train._dataset)

    users, items = network.n_users, network.n_items
    adjacency = np.zeros((users + items, users + items))
    for user, item in zip(train._dataset.inter_feat["user_id"], train._dataset.inter_feat["item_id"], strict=True):
        adjacency[user, users + item] = adjacency[users + item, user] = 1
    root = np.diag(1 / np.sqrt(adjacency.sum(axis=1) + 1e-7))
    np.testing.assert_allclose(network.norm_adj_matrix.to_dense().numpy(), root @ adjacency @ root, atol=1e-6)


def test_other_code_sees_no_change(folder: Path) -> None:
    names = ("float", "int", "complex", "object", "str", "unicode")
    before = {name: name in vars(np) for name in names}
    make_config(folder, "Pop")
    import recbole.data.dataloader.user_dataloader as left_alone
    import recbole.model.sequential_recommender.s3rec as mended

    assert {name: name in vars(np) for name in names} == before
    assert left_alone.np is np
    assert mended.torch is not torch
    assert mended.torch.nn is torch.nn
    assert {torch.load.__module__, pd.read_csv.__module__.split(".")[0]} == {"torch.serialization", "pandas"}
    torch.save({"config": folder}, folder / "object.pt")
    with pytest.raises(Exception, match=r"[Ww]eights"):
        torch.load(folder / "object.pt")
    assert mended.torch.load(folder / "object.pt") == {"config": folder}
    with pytest.raises(Exception, match=r"[Ww]eights"):
        mended.torch.load(folder / "object.pt", weights_only=True)


def run_python(code: str, *paths: Path) -> str:
    path = [str(path) for path in (*paths, ROOT)]
    prologue = f"import sys; sys.path[:0] = {path!r}\n"
    return subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "-c", prologue + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_loaded_modules_are_patched_once() -> None:
    out = run_python(
        """
        import recbole.trainer
        import recbole.trainer.trainer as trainer, torch
        assert trainer.torch is torch
        from recbole_lcrec.runtime.compat import prepare_recbole
        first, finders = trainer.torch, len(sys.meta_path)
        prepare_recbole()
        trainer.amp.GradScaler(enabled=False)
        print(first is not torch, trainer.torch is first, len(sys.meta_path) == finders)
        """
    )
    assert out == "True True True"


def test_a_fixed_recbole_is_left_alone(tmp_path: Path) -> None:
    package = tmp_path / "recbole" / "config"
    package.mkdir(parents=True)
    (tmp_path / "recbole" / "__init__.py").write_text("")
    (package / "__init__.py").write_text("")
    (package / "configurator.py").write_text(
        "import numpy as np\n"
        "import torch\n"
        "class Config:\n"
        "    def compatibility_settings(self):\n"
        "        return np.float64, torch.nn\n"
    )
    out = run_python(
        """
        import recbole_lcrec
        import numpy, torch
        import recbole.config.configurator as mended
        print(mended.np is numpy, mended.torch is torch, mended.Config().compatibility_settings() is not None)
        """,
        tmp_path,
    )
    assert out == "True True True"
