"""Ranks of users: metrics from them against RecBole's averages and by hand, saving, and which user a row belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_lcrec import Config
from recbole_lcrec.bridge.building import build_run, build_trainer
from recbole_lcrec.runs.ranks import UserRanks, recorded_ranks
from tests.conftest import SHOP, shop_sequences, write_shop

METRICS = ["Hit", "NDCG", "MRR", "MAP", "Recall", "Precision"]
MODES: dict[str, dict[str, Any]] = {
    "leave-one-out": {"split": {"LS": "valid_and_test"}},
    "ratios": {"split": {"RS": [0.6, 0.2, 0.2]}},
    "sampled": {"split": {"LS": "valid_and_test"}, "mode": "uni20"},
    "sampled ratios": {"split": {"RS": [0.6, 0.2, 0.2]}, "mode": "uni20"},
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("model", ["SASRec", "Pop", "CoVisit", "BPR"])
def test_means_over_rows_are_recboles(tmp_path: Path, model: str, mode: str) -> None:
    write_shop(tmp_path / "data")
    given = {"data_path": str(tmp_path / "data"), "checkpoint_dir": str(tmp_path / "saved"), "show_progress": False}
    given |= {"metrics": METRICS, "topk": [1, 5], "valid_metric": "NDCG@5", "epochs": 1, "eval_args": MODES[mode]}
    config = Config(model, SHOP, config_dict={**given, "metric_decimal_place": 8, "use_gpu": False})
    run = build_run(config)
    trainer = build_trainer(config, run.model)
    trainer.fit(run.train_data, saved=False)
    with recorded_ranks(trainer, run.test_data) as recorded:
        result = trainer.evaluate(run.test_data, load_best_model=False)
    (ranks,) = recorded
    rows = UserRanks(np.arange(len(ranks.users)).astype(str), ranks.hits, ranks.targets)  # each row a user
    for name, value in result.items():
        assert rows.per_user(name)[1].mean() == pytest.approx(value, abs=1e-6), name
    assert set(ranks.users) <= set(run.dataset.field2id_token["user_id"])
    assert "evaluate" not in vars(trainer.evaluator)


def test_rows_belong_to_their_users(tmp_path: Path) -> None:
    write_shop(tmp_path / "data")
    given = {"data_path": str(tmp_path / "data"), "topk": [3], "valid_metric": "NDCG@3", "use_gpu": False}
    config = Config("SASRec", SHOP, config_dict={**given, "checkpoint_dir": str(tmp_path / "saved")})
    run = build_run(config)
    trainer = build_trainer(config, run.model)
    trainer.eval_collector.data_collect(run.train_data)
    with recorded_ranks(trainer, run.test_data) as recorded:
        trainer.evaluate(run.test_data, load_best_model=False)
    users, values = recorded[0].per_user("Hit@3")
    by_user = dict(zip(users.tolist(), values.tolist(), strict=True))
    model, tokens = run.model.eval(), run.dataset.field2token_id["item_id"]
    for user, items in shop_sequences().items():
        ids = [tokens[item] for item in items]
        history = {"item_id_list": torch.zeros((1, 20), dtype=torch.int64), "item_length": torch.tensor([len(ids) - 1])}
        history["item_id_list"][0, : len(ids) - 1] = torch.tensor(ids[:-1])
        scores = model.full_sort_predict(history)[0].detach()
        scores[0] = -np.inf
        assert by_user[user] == float(ids[-1] in scores.topk(3).indices.tolist())


def test_users_with_several_rows_and_rankings_are_averaged(tmp_path: Path) -> None:
    hits = np.zeros((2, 3, 4), dtype=bool)
    hits[0, 0, 0] = hits[1, 0, 1] = hits[0, 2, 3] = True
    ranks = UserRanks(np.array(["b", "a", "b"]), hits, np.ones(3, dtype=np.int64))
    users, values = ranks.per_user("hit@1")
    assert users.tolist() == ["a", "b"] and values.tolist() == [0.0, 0.25]  # 1 of 2 rankings of 1 of 2 rows
    assert ranks.per_user("Hit@4")[1].tolist() == [0.0, (1 + 0.5) / 2]
    ranks.save(tmp_path / "ranks.npz")
    again = UserRanks.load(tmp_path / "ranks.npz")
    assert again.users.tolist() == ["b", "a", "b"] and (again.hits == hits).all()
    with pytest.raises(ValueError, match=r"none.npz cannot be read as the ranks of a run"):
        UserRanks.load(tmp_path / "none.npz")
    assert ranks.rows_per_user() == 1.5
    (tmp_path / "torn.npz").write_bytes((tmp_path / "ranks.npz").read_bytes()[:40])
    with pytest.raises(ValueError, match=r"torn.npz cannot be read as the ranks of a run"):
        UserRanks.load(tmp_path / "torn.npz")


@pytest.mark.parametrize("metric", ["AUC", "Hit", "hit@9", "hit@0", "hits@2", "ItemCoverage@2"])
def test_what_ranks_do_not_give(metric: str) -> None:
    ranks = UserRanks(np.array(["a"]), np.ones((1, 1, 4), dtype=bool), np.ones(1, dtype=np.int64))
    assert not ranks.has(metric)
    with pytest.raises(ValueError, match=f"{metric}: expected a top-k metric of RecBole with a cut-off of at most 4"):
        ranks.per_user(metric)
