"""Item features: which columns a model reads, what they become, and the errors if they are missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recbole_lcrec import Config, run_recbole_lcrec
from recbole_lcrec.bridge.loading import create_dataset
from recbole_lcrec.config.build_configs import build_configs
from recbole_lcrec.config.item_features import with_feature_columns
from tests.branded_shop import BRANDS, SHOP, brand_of, tiny_baseline, write_branded_shop
from tests.conftest import shop_sequences, shop_titles


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_branded_shop(tmp_path / "data")


def error_of(data: Path, model: str, **changes: Any) -> str:
    with pytest.raises(ValueError) as caught:
        run_recbole_lcrec(model, SHOP, config_dict={**tiny_baseline(data, model), **changes})
    return str(caught.value)


def test_columns_that_are_read() -> None:
    inter = ["user_id", "item_id"]
    assert with_feature_columns({"inter": inter}, "item_id", ["brand"]) == {
        "inter": inter,
        "item": ["item_id", "brand"],
    }
    assert with_feature_columns({"item": ["item_id", "brand"]}, "item_id", ["brand", "title"]) == {
        "item": ["item_id", "brand", "title"]
    }
    assert with_feature_columns({"item": None}, "item_id", ["brand"]) == {"item": None}
    assert with_feature_columns(None, "item_id", ["brand"]) is None


@pytest.mark.parametrize("fast", [True, False])
def test_a_brand_is_one_token_and_a_missing_one_is_padding(data: Path, fast: bool) -> None:
    dataset = create_dataset(Config("FDSA", SHOP, config_dict={**tiny_baseline(data, "FDSA"), "fast_loading": fast}))
    column = dataset.get_item_feature()["brand"]
    for number, item in enumerate(shop_titles()):
        token = dataset.id2token("brand", int(column[dataset.token2id("item_id", item)]))
        assert token == (brand_of(number) if brand_of(number) not in ("", "NA") else "[PAD]")
    assert set(dataset.field2id_token["brand"]) == {"[PAD]", *BRANDS} - {"", "NA"}
    assert int(column[0]) == 0


def test_both_ways_of_loading_number_the_brands_equally(data: Path) -> None:
    columns = []
    for fast in (True, False):
        config = Config("FDSA", SHOP, config_dict={**tiny_baseline(data, "FDSA"), "fast_loading": fast})
        dataset = create_dataset(config)
        columns.append((dataset.get_item_feature()["brand"].tolist(), list(dataset.field2id_token["brand"])))
    assert columns[0] == columns[1]


@pytest.mark.parametrize(("model", "key"), [("FDSA", "selected_features"), ("S3Rec", "item_attribute")])
def test_a_missing_feature(data: Path, model: str, key: str) -> None:
    def named(column: str) -> dict[str, Any]:
        return {key: column if model == "S3Rec" else ["brand", column]}

    message = error_of(data, model, **named("bramd"))
    assert key in message and "did you mean 'brand'" in message and "title, brand, nothing" in message
    message = error_of(data, model, **named("price"))
    assert "'price' is of type float" in message and key in message
    assert "'nothing' is empty for every item" in error_of(data, model, **named("nothing"))
    assert "saved" not in {path.name for path in data.parent.iterdir()}  # nothing was begun
    (data / SHOP / f"{SHOP}.item").unlink()
    message = error_of(data, model)
    assert "no item file" in message and key in message


def test_a_missing_feature_is_reported_before_any_training(data: Path) -> None:
    given = {**tiny_baseline(data, "SASRec"), "S3Rec.item_attribute": "bramd"}
    with pytest.raises(ValueError, match="did you mean 'brand'"):
        run_recbole_lcrec(["SASRec", "S3Rec"], SHOP, config_dict=given)
    assert not list(data.parent.glob("saved/*.pth"))


def test_the_published_form_is_converted_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data" / SHOP
    folder.mkdir(parents=True)
    (folder / f"{SHOP}.inter.json").write_text(json.dumps(shop_sequences()), encoding="utf-8")
    message = error_of(tmp_path / "data", "FDSA")
    assert "'brand' is empty for every item" in message and "selected_features" in message
    texts = {item: {"title": title, "brand": brand_of(n)} for n, (item, title) in enumerate(shop_titles().items())}
    (folder / f"{SHOP}.item.json").write_text(json.dumps(texts), encoding="utf-8")
    result = run_recbole_lcrec("FDSA", SHOP, config_dict=tiny_baseline(tmp_path / "data", "FDSA"))
    assert 0 <= result["test_result"]["ndcg@5"] <= 1


def test_models_with_and_without_features_share_a_catalogue() -> None:
    configs = build_configs("SASRec,FDSA,S3Rec", SHOP, None, None, None)
    assert [config["load_col"]["item"] for config in configs] == [
        ["item_id"],
        ["item_id", "brand"],
        ["item_id", "brand"],
    ]
    columns = {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
    with pytest.raises(ValueError, match="load_col of SASRec reads no item file"):
        build_configs("SASRec,FDSA", SHOP, None, columns, None)
