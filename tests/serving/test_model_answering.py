"""RecBole's models answer from their checkpoints: the same scores as their own full ranking."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recbole_lcrec import Recommender, load_data_and_model, run_recbole_lcrec
from recbole_lcrec.cli.recommend import main
from tests.conftest import SHOP, write_shop

SMALL: dict[str, Any] = {"hidden_size": 8, "n_layers": 1, "n_heads": 1, "inner_size": 16, "embedding_size": 8}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("models")
    write_shop(root / "data")
    values = {"data_path": str(root / "data"), "checkpoint_dir": str(root / "saved"), "epochs": 1, "use_gpu": False}
    values |= {"topk": [1, 5], "valid_metric": "NDCG@5", "show_progress": False, "MAX_ITEM_LIST_LENGTH": 6, **SMALL}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        results = run_recbole_lcrec("SASRec,GRU4Rec,Pop,BPR,Caser", SHOP, config_dict=values)
    return {name: result["saved_model_file"] for name, result in results.items()}


@pytest.mark.parametrize("name", ["SASRec", "GRU4Rec"])
def test_answers_are_the_models_own_ranking(checkpoints: dict[str, str], name: str) -> None:
    recommender = Recommender.load(checkpoints[name], device="cpu")
    _, model, dataset, _, _, test_data = load_data_and_model(checkpoints[name])
    batch = next(iter(test_data))[0]
    scores = model.full_sort_predict(batch).detach().numpy()[:, 1:]
    histories = [
        [str(dataset.id2token("item_id", item)) for item in row[:length].tolist()]
        for row, length in zip(batch["item_id_list"], batch["item_length"].tolist(), strict=True)
    ]
    for row, answer in zip(scores, recommender.recommend(histories, k=4), strict=True):
        np.testing.assert_allclose([one.score for one in answer], np.sort(row)[::-1][:4], rtol=1e-5)
        assert [row[recommender.item_ids.index(one.item)] for one in answer] == pytest.approx(
            [one.score for one in answer]
        )
        assert all(one.log_prob is None and one.certified for one in answer)


def test_items_can_be_allowed_and_histories_excluded(checkpoints: dict[str, str]) -> None:
    recommender = Recommender.load(checkpoints["SASRec"])
    (answer,) = recommender.recommend([["i1", "i2"]], k=2, allowed_items=["i1", "i2", "i3", "i4"], exclude_history=True)
    assert {one.item for one in answer} == {"i3", "i4"}
    with pytest.raises(ValueError, match="1 are left for user number 0"):
        recommender.recommend([["i1"]], k=2, allowed_items=["i1", "i2"], exclude_history=True)


def test_pop_answers_and_a_model_of_users_does_not(checkpoints: dict[str, str]) -> None:
    first, second = Recommender.load(checkpoints["Pop"]).recommend([["i1"], ["i7", "i8"]], k=3)
    assert [one.item for one in first] == [one.item for one in second]
    with pytest.raises(ValueError, match="Caser also reads the column 'user_id', so it cannot answer"):
        Recommender.load(checkpoints["Caser"])
    with pytest.raises(ValueError, match="BPR ranks only for the users of its training data"):
        Recommender.load(checkpoints["BPR"])


@pytest.mark.parametrize(
    ("load", "ask", "message"),
    [
        ({"base_model": "x"}, {}, "base_model = 'x': .* contains a full model"),
        ({"decoding_beam_size": 5}, {}, "decoding_beam_size is not a decoding setting; this run has none"),
        ({"device": "tpu"}, {}, "device = 'tpu'"),
        ({}, {"k": 31}, "k = 31 items are requested, but the catalogue has 30"),
        ({}, {"intention": "a lamp"}, "SASRec reads only histories and takes no intention"),
    ],
)
def test_requests_that_cannot_be_met(checkpoints: dict[str, str], load: Any, ask: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recommender.load(checkpoints["SASRec"], **load).recommend([["i1"]], **{"k": 2, **ask})


def test_the_command_answers_one_and_many(checkpoints: dict[str, str], tmp_path: Path, capsys: Any) -> None:
    run = f"--run={checkpoints['SASRec']}"
    assert main([run, "--history=i3,i4", "--k=2"]) == 0
    table = capsys.readouterr().out
    assert "score" in table and "log-prob" not in table and len(table.splitlines()) == 4
    (tmp_path / "users.jsonl").write_text('{"user": "a", "history": ["i3", "i4"]}\n', encoding="utf-8")
    assert main([run, f"--input={tmp_path / 'users.jsonl'}", f"--output={tmp_path / 'items.jsonl'}", "--k=2"]) == 0
    (line,) = (tmp_path / "items.jsonl").read_text(encoding="utf-8").splitlines()
    answer = json.loads(line)
    assert answer["user"] == "a" and len(answer["items"]) == 2 and answer["items"][0]["log_prob"] is None
    assert [f"{item['score']:.4f}" in table for item in answer["items"]] == [True, True]
