"""Counting models beside RecBole's: run, saved, restored, recommending, and on real data."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recbole_lcrec import Config, Recommender, load_data_and_model, run_recbole_lcrec
from recbole_lcrec.bridge.building import build_run, build_trainer, require_inputs
from tests.conftest import N_ITEMS, SHOP, shop_sequences, write_shop

MODELS = ("CoVisit", "TextKNN", "CoVisitText")
SHARED = Path(__file__).resolve().parents[3] / "../shared/data"


def values(root: Path, **changes: Any) -> dict[str, Any]:
    if not (root / "data").exists():
        write_shop(root / "data")
    small = {"topk": [1, 5], "valid_metric": "NDCG@5", "use_gpu": False, "show_progress": False}
    return {**small, "data_path": str(root / "data"), "checkpoint_dir": str(root / "saved"), **changes}


def test_they_stand_in_one_table_and_are_restored(tmp_path: Path) -> None:
    results = run_recbole_lcrec([*MODELS, "Pop"], SHOP, config_dict=values(tmp_path))
    assert results["CoVisit"]["test_result"]["hit@5"] > 0.9  # the next item of the shop is the catalogue's next
    for name in MODELS:
        config, model, _, _, _, test_data = load_data_and_model(results[name]["saved_model_file"])
        result = build_trainer(config, model).evaluate(test_data, load_best_model=False)
        assert result == results[name]["test_result"]


def test_recommendations_are_the_best_by_hand(tmp_path: Path) -> None:
    given = values(tmp_path, counting_decays=[0.5], covisit_window=1, covisit_backward=0.0)
    path = run_recbole_lcrec("CoVisit", SHOP, config_dict=given)["saved_model_file"]
    counted, popular = np.zeros((N_ITEMS, N_ITEMS)), np.zeros(N_ITEMS)
    for items in shop_sequences().values():
        rows = [int(item[1:]) for item in items[:-2]]
        for before, after in itertools.pairwise(rows):
            counted[before, after] += 1
        popular += np.bincount(rows, minlength=N_ITEMS) if len(rows) > 1 else 0
    totals = counted.sum(axis=1)
    counted /= np.sqrt(np.outer(1 + totals, 1 + totals))
    expected = counted[7] + 0.5 * counted[3] + 1e-7 * popular
    (answer,) = Recommender.load(path).recommend([["i3", "i7"]], k=6)
    np.testing.assert_allclose([one.score for one in answer], np.sort(expected)[::-1][:6], atol=1e-9)
    assert answer[0].item == f"i{int(expected.argmax())}"


def test_the_best_numbers_are_those_of_validation(tmp_path: Path, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    config = Config("CoVisitText", SHOP, config_dict=values(tmp_path))
    require_inputs(config)
    run = build_run(config)
    trainer, seen = build_trainer(config, run.model), []
    score, _ = trainer.fit(run.train_data, run.valid_data, callback_fn=lambda number, score: seen.append(score))
    assert len(seen) == 15 and score == max(seen)
    decay, weight = run.model.chosen.tolist()
    place = seen.index(max(seen))
    assert (decay, weight) == (config["counting_decays"][place // 5], config["textknn_weights"][place % 5])
    assert f"decay {decay}, weight of texts {weight}" in caplog.text


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        ("CoVisit", {"covisit_window": 0}, "covisit_window = 0: expected an integer of at least 1"),
        ("CoVisit", {"counting_decays": [1.5]}, r"counting_decays = .*above 0.0 and at most 1.0"),
        ("CoVisit", {"CoVisit.covisit_windw": 2}, "did you mean 'covisit_window'"),
        ("TextKNN", {"text_title_fields": ["nome"]}, "no column 'nome'"),
    ],
)
def test_values_that_cannot_be_used(tmp_path: Path, model: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run_recbole_lcrec(model, SHOP, config_dict=values(tmp_path, **changes))


def test_texts_are_needed_to_compare_them(tmp_path: Path) -> None:
    given = values(tmp_path)
    (tmp_path / "data" / SHOP / f"{SHOP}.item").unlink()
    with pytest.raises(ValueError, match=r"CoVisitText compares item texts, but .*shop.item does not exist"):
        run_recbole_lcrec("CoVisitText", SHOP, config_dict={**given, "load_col": {"inter": "*"}})


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data sets are not there")
@pytest.mark.parametrize(("model", "ndcg"), [("CoVisit", 0.0734), ("CoVisitText", 0.1028)])
def test_real_data_reach_the_known_figures(tmp_path: Path, model: str, ndcg: float) -> None:
    given = {"data_path": str(SHARED), "checkpoint_dir": str(tmp_path), "use_gpu": False, "show_progress": False}
    result = run_recbole_lcrec(model, "Industrial_and_Scientific", config_dict=given)
    assert result["test_result"]["ndcg@10"] == pytest.approx(ndcg, rel=0.02)
