"""The nine sequential baselines with their property files: trained, saved, loaded and ranked by one command."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from recbole_lcrec import load_data_and_model, run_recbole_lcrec
from tests.branded_shop import SHOP, tiny_baseline, write_branded_shop
from tests.conftest import shop_sequences, write_shop

MODELS = ["SASRec", "GRU4Rec", "BERT4Rec", "Caser", "HGN", "FDSA", "S3Rec", "GRU4RecF", "SASRecF"]


def own(parameters: dict[str, Any], shared: dict[str, Any], model: str) -> dict[str, Any]:
    return {f"{model}.{key}": value for key, value in parameters.items() if key not in shared}


def test_nine_models_in_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = write_branded_shop(tmp_path / "data")
    shared = tiny_baseline(data, "")
    shared.pop("hidden_size")
    given = dict(shared)
    for model in MODELS:
        given |= own(tiny_baseline(data, model), shared, model)
    results = run_recbole_lcrec(MODELS, SHOP, config_dict=given)
    assert list(results) == MODELS
    for name, result in results.items():
        metrics = result["test_result"]
        assert 0 <= metrics["ndcg@5"] <= metrics["hit@5"] <= 1, name
        assert Path(result["saved_model_file"]).is_file(), name

    from recbole.trainer import Trainer

    for name in ("FDSA", "GRU4RecF"):
        config, model, _, _, _, test = load_data_and_model(results[name]["saved_model_file"])
        again = Trainer(config, model).evaluate(test, load_best_model=False, show_progress=False)
        assert again == results[name]["test_result"]


@pytest.mark.parametrize("model", ["S3Rec", "GRU4RecF"])
def test_genres_of_ml_100k(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    monkeypatch.chdir(tmp_path)
    given = {**tiny_baseline(tmp_path / "data", model), "train_batch_size": 4096, "eval_batch_size": 1024}
    given.pop("data_path")
    narrow = {"user_inter_num_interval": "[400,inf)"}  # some of the users, so that it takes seconds
    result = run_recbole_lcrec(model, "ml-100k", config_dict={**given, **narrow})
    metrics = result["test_result"]
    assert 0 <= metrics["ndcg@5"] <= metrics["hit@5"] <= 1
    _, trained, dataset, *_ = load_data_and_model(result["saved_model_file"])
    assert dataset.num("class") == 20  # 19 genres and the padding
    embeddings = {"S3Rec": "feature_embedding.weight", "GRU4RecF": "feature_embed_layer.token_seq_embedding_table"}
    sizes = [len(value) for name, value in trained.state_dict().items() if name.startswith(embeddings[model])]
    assert sizes == [19 if model == "S3Rec" else 20]


@pytest.mark.parametrize("batch_size", [3, 2048])
def test_pop_counts_each_training_row_once(batch_size: int, tmp_path: Path) -> None:
    """RecBole's Pop counts an item once a batch, and the sampled negative items, too."""
    given = {"topk": [1, 5], "valid_metric": "NDCG@5", "use_gpu": False, "train_batch_size": batch_size}
    given |= {"data_path": str(write_shop(tmp_path / "data")), "checkpoint_dir": str(tmp_path / "saved")}
    result = run_recbole_lcrec("Pop", "shop", config_dict=given)
    _, model, dataset, _, _, _ = load_data_and_model(result["saved_model_file"])
    counts = Counter(item for items in shop_sequences().values() for item in items[:-2])
    expected = [counts[token] for token in dataset.field2id_token["item_id"]]
    assert model.item_cnt.flatten().tolist() == expected and max(expected) > 3
    assert model.max_cnt.tolist() == [max(expected)]
