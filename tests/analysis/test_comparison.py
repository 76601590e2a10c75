"""Comparison of runs that are written by hand: means, differences, tables, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recbole_lcrec.analysis.comparison import Comparison, compare
from recbole_lcrec.analysis.results import cost_table, difference_table, mean_table, report
from recbole_lcrec.analysis.results_files import as_csv, as_json, write_comparison
from recbole_lcrec.runs.finished import FinishedRun
from recbole_lcrec.runs.ranks import UserRanks

CONFIG = {"metrics": ["Hit", "NDCG", "AUC"], "topk": [1, 2], "dataset": "shop", "valid_metric": "NDCG@2"}
COSTS = {"training_seconds": 60.0, "users_per_second": 1234.5, "parameters": 1_000_000, "peak_memory": 2**30}


def ranks(places: list[int], users: list[str] | None = None) -> UserRanks:
    """Ranks of one target a user; place 0: not among the first two."""
    hits = np.array([[[place == 1, place == 2] for place in places]])
    names = users or [f"u{number}" for number in range(len(places))]
    return UserRanks(np.array(names), hits, np.ones(len(places), dtype=np.int64))


def run(label: str, places: list[int], seed: int = 1, **changes: Any) -> FinishedRun:
    hit = [np.mean([0 < place <= k for place in places]) for k in (1, 2)]
    ndcg = [np.mean([1 / math.log2(place + 1) if 0 < place <= k else 0 for place in places]) for k in (1, 2)]
    test = {"hit@1": hit[0], "hit@2": hit[1], "ndcg@1": ndcg[0], "ndcg@2": ndcg[1], **changes.pop("test", {})}
    valid = {"best_valid_score": 0.5, "best_valid_result": {"ndcg@2": 0.5}, "saved_model_file": f"saved/{label}.pth"}
    result = {"test_result": test, "seconds": 90.04, **valid, **COSTS, **changes}
    return FinishedRun(label, seed, result, ranks(places))


@pytest.fixture
def compared() -> Comparison:
    one = run("A", [1, 2, 0, 1], test={"auc": 0.75})
    return compare([one, run("B", [2, 2, 0, 2])], CONFIG)


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_tables_by_hand(compared: Comparison) -> None:
    header, _, first, second = cells(mean_table(compared))
    assert header == ["model", "Hit@1", "Hit@2", "NDCG@1", "NDCG@2", "AUC", "valid NDCG@2"]
    middle = 1 / math.log2(3)
    assert first == ["A", "0.5000", "0.7500", "0.5000", f"{(2 + middle) / 4:.4f}", "0.7500", "0.5000"]
    assert second == ["B", "0.0000", "0.7500", "0.0000", f"{3 * middle / 4:.4f}", "-", "0.5000"]
    assert cells(cost_table(compared))[2] == ["A", "90.0", "60.0", "1,234", "1,000,000", "1.00 GiB"]
    header, _, first, second = cells(difference_table(compared, "Hit@2"))
    assert header == ["model", "Hit@2", "95% interval", "minus A", "95% interval", "against A"]
    assert first[3:] == ["-", "-", "-"] and second[3:] == ["+0.0000", "[+0.0000, +0.0000]", "not told apart"]


def test_differences_are_paired_user_by_user() -> None:
    places = np.random.default_rng(0).integers(0, 3, size=500).tolist()
    better = [1 if place == 2 and number % 10 == 0 else place for number, place in enumerate(places)]
    made = compare([run("A", places), run("B", better), run("C", places)], CONFIG)
    of_a, of_b, of_c = (model.metrics["Hit@1"] for model in made.models)
    assert of_a.interval and of_b.interval and of_b.difference and of_c.difference
    assert of_a.interval.high > of_b.interval.low and of_b.verdict == "ahead"
    gained = np.mean([one == 1 and other != 1 for one, other in zip(better, places, strict=True)])
    assert of_b.difference.mean == pytest.approx(gained)
    assert (of_c.difference.low, of_c.difference.high, of_c.verdict) == (0, 0, "not told apart")
    other = compare([run("A", places), run("B", better)], CONFIG, reference="B")
    assert other.models[0].metrics["Hit@1"].verdict == "behind" and other.models[1].metrics["Hit@1"].verdict == ""


def test_seeds_are_averaged_before_users_are_drawn() -> None:
    runs = [run("A", [1, 0, 0, 1], seed=1), run("A", [0, 1, 0, 1], seed=2), run("B", [1, 1, 1, 1], seed=1)]
    runs += [run("B", [1, 1, 1, 1], seed=2, seconds=110.0, peak_memory=None)]
    made = compare(runs, CONFIG)
    assert made.seeds == (1, 2) and made.users == 4
    of_a, of_b = (model.metrics["Hit@1"] for model in made.models)
    assert of_a.mean == 0.5 and of_a.by_seed == {1: 0.5, 2: 0.5} and of_a.interval and of_b.difference
    assert (of_a.interval.low, of_a.interval.high) == (0.125, 0.875)  # of 0.5, 0.5, 0, 1
    assert of_b.difference.mean == 0.5 and of_b.verdict == "ahead"
    assert made.models[1].seconds == pytest.approx(100.02) and made.models[1].costs["peak_memory"] == 2**30
    assert cells(difference_table(made, "Hit@1"))[2][-1] == "0.5000, 0.5000"
    assert "seeds 1, 2" in report(made) and "medians over seeds" in report(made)


def test_users_that_not_every_model_ranked_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    lacking = run("B", [1, 1])
    lacking = FinishedRun("B", 1, lacking.result, ranks([2, 1], users=["u3", "u1"]))
    made = compare([run("A", [1, 0, 0, 1]), lacking], CONFIG)
    assert made.users == 2 and "Only 2 of 4 test users" in caplog.text
    assert [model.metrics["Hit@1"].mean for model in made.models] == [0.5, 0.5]
    assert made.models[1].metrics["Hit@1"].difference.mean == 0.0  # u1: 0 against 1, u3: 1 against 0


def test_metrics_without_ranks_have_no_interval() -> None:
    alone = FinishedRun("A", 1, run("A", [1], test={"auc": 0.75}).result, None)
    made = compare([alone], {**CONFIG, "metrics": ["AUC"]})
    assert made.users is None and made.reference == "" and made.columns == ("AUC",)
    assert made.models[0].metrics["AUC"].mean == 0.75 and made.models[0].metrics["AUC"].interval is None
    assert "bootstrap" not in report(made) and "| " in report(made)


def test_models_with_other_rows_are_not_compared(caplog: pytest.LogCaptureFixture) -> None:
    several = FinishedRun("B", 1, run("B", [1, 1]).result, ranks([1, 0, 1, 1], users=["u0", "u0", "u1", "u2"]))
    made = compare([run("A", [1, 0, 0]), several], CONFIG)
    assert made.models[1].metrics["Hit@1"].difference is None and "so no differences are shown" in caplog.text
    assert made.models[1].metrics["Hit@1"].by_seed[1] == pytest.approx(2.5 / 3)


def test_seeds_that_not_every_model_has_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    runs = [run("A", [1, 0], seed=1), run("A", [1, 1], seed=2), run("B", [0, 1], seed=1)]
    made = compare(runs, CONFIG, reference="C")
    assert made.seeds == (1,) and made.models[0].metrics["Hit@1"].mean == 0.5 and made.reference == "A"
    assert "Seeds 2 are left out" in caplog.text and "C has not finished" in caplog.text
    alone = compare([runs[1], runs[2]], CONFIG)
    assert [model.label for model in alone.models] == ["A"] and alone.seeds == (2,)


def test_files_hold_the_same_numbers(compared: Comparison, tmp_path: Path) -> None:
    for table_format, name in (("markdown", "table.md"), ("latex", "table.tex"), ("plain", "table.txt")):
        write_comparison(compared, tmp_path, table_format)
        text = (tmp_path / name).read_text()
        assert all(column in text for column in ("Hit@1", "NDCG@1", "Hit@2", "NDCG@2"))
    latex = (tmp_path / "table.tex").read_text()
    assert r"\toprule" in latex and latex.count("\n% ") + latex.startswith("% ") == 2 + 4
    values = json.loads((tmp_path / "results.json").read_text())
    assert values == json.loads(json.dumps(as_json(compared)))
    of_b = values["models"]["B"]
    assert values["test_users"] == 4 and values["reference"] == "A" and of_b["saved"] == {"1": "saved/B.pth"}
    rows = list(csv.DictReader(io.StringIO(as_csv(compared))))
    assert len(rows) == 5 + 4
    for row in (row for row in rows if row["model"] == "B"):
        metric = of_b["metrics"][row["metric"]]
        assert float(row["mean"]) == metric["mean"] and [float(row["low"]), float(row["high"])] == metric["interval"]
        assert float(row["difference"]) == metric["difference"] and row["verdict"] == metric["verdict"]
    (auc,) = (row for row in rows if row["metric"] == "AUC")
    assert auc["low"] == auc["difference"] == auc["verdict"] == "" and float(auc["mean"]) == 0.75
