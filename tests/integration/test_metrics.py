"""Every metric of RecBole in every mode: a figure that an independent computation gives, or a refusal beforehand."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from recbole.evaluator.register import metrics_dict
from recbole.utils import init_seed

from recbole_lcrec import Config, load_data_and_model, run_recbole_lcrec
from recbole_lcrec.config.registry import get_trainer
from tests.conftest import TINY, write_index, write_shop

MODELS = ("LCRec", "SASRec", "Pop", "CoVisitText")
MODES = ("full", "uni10", "pop10")
KS = (1, 5)
ERRORS = {"mae", "rmse", "logloss"}
OF_LISTS = {"itemcoverage", "averagepopularity", "shannonentropy", "giniindex", "tailpercentage"}
TOP = {
    "hit": lambda rank, k: rank <= k,
    "recall": lambda rank, k: rank <= k,
    "precision": lambda rank, k: (rank <= k) / k,
    "mrr": lambda rank, k: (rank <= k) / rank,
    "map": lambda rank, k: (rank <= k) / rank,
    "ndcg": lambda rank, k: (rank <= k) / math.log2(rank + 1),
}
"""The target is the only relevant item of a user."""


def refused(model, metric, mode):
    """Return words of the refusal; None if the figure can be given."""
    if metric in ERRORS:
        return "measure errors of predicted ratings"
    if metric == "auc" and mode == "full":
        return "needs sampled items"
    if metric in OF_LISTS and mode != "full":
        return "describe recommended lists, which sampled items are not"
    if metric == "gauc" and mode == "full" and model == "LCRec":
        return "scores only the best decoding_beam_size ones"
    return None


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return write_index(write_shop(tmp_path_factory.mktemp("metrics")))


def values(shop, tmp_path, metrics, mode):
    first = metrics[0]
    valid = first if first in ("auc", "gauc") else "ndcg@5" if "ndcg" in metrics else f"{first}@5"
    small = {f"SASRec.{key}": value for key, value in {"hidden_size": 8, "inner_size": 8, "n_heads": 1}.items()}
    lcrec = {f"LCRec.{key}": value for key, value in TINY.items() if key.startswith(("scratch_", "tuning_", "index_"))}
    places = {"data_path": str(shop), "checkpoint_dir": str(tmp_path / "saved"), "use_gpu": False, "epochs": 1}
    given = {"metrics": metrics, "valid_metric": valid, "topk": list(KS), "eval_args": {"mode": mode}, "state": "INFO"}
    return {**small, **lcrec, **places, **given, "metric_decimal_place": 8, "show_progress": False, "tail_ratio": 0.3}


def of_model(label, given):
    """The keys of one model, as its own."""
    return {
        key.removeprefix(f"{label}."): value for key, value in given.items() if "." not in key or key.startswith(label)
    }


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("metric", sorted(metrics_dict))
def test_a_metric_is_computed_or_refused_beforehand(metric, model, mode, shop, tmp_path):
    given = of_model(model, values(shop, tmp_path, ["ndcg", metric] if metric in OF_LISTS else [metric], mode))
    reason = refused(model, metric, mode)
    if reason is None:
        assert metric in Config(model, "shop", config_dict=given)["metrics"]
        return
    with pytest.raises(ValueError, match=reason):
        Config(model, "shop", config_dict=given)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("metric", sorted(metrics_dict))
def test_no_metric_takes_labels(metric, model, shop, tmp_path):
    given = of_model(model, values(shop, tmp_path, [metric], "labeled"))
    with pytest.raises(ValueError, match="no model here predicts ratings"):
        Config(model, "shop", config_dict=given)


@pytest.mark.parametrize("metric", sorted(OF_LISTS))
def test_no_epoch_is_chosen_by_what_lists_hold(metric, shop, tmp_path):
    with pytest.raises(ValueError, match="no epoch can be chosen by it: choose a ranking metric"):
        Config("Pop", "shop", config_dict=of_model("Pop", values(shop, tmp_path, [metric], "full")))


@pytest.mark.parametrize("metric", ["auc", "gauc"])
def test_areas_need_a_score_of_every_item(metric, shop, tmp_path):
    given = of_model("LCRec", values(shop, tmp_path, [metric], "uni10"))
    with pytest.raises(ValueError, match="items that decoding_allowed_items leaves without a score"):
        Config("LCRec", "shop", config_dict={**given, "decoding_allowed_items": "allowed.txt"})
    given = of_model("SASRec", values(shop, tmp_path, ["gauc"], "full"))
    with pytest.raises(ValueError, match="set repeated_targets to drop"):
        Config("SASRec", "shop", config_dict={**given, "mask_history": True})
    assert Config("SASRec", "shop", config_dict={**given, "mask_history": True, "repeated_targets": "drop"})


def scored(model, loader):
    """Return for each row its candidates with their scores, some of them sampled twice, and the target."""
    found = []
    for interaction, rows, positive_u, positive_i in loader:
        targets = positive_i.tolist()
        assert positive_u.tolist() == list(range(len(targets)))
        if loader.__class__.__name__ == "NegSampleEvalDataLoader":
            scores = model.predict(interaction).tolist()
            for row, target in enumerate(targets):
                places = [place for place, owner in enumerate(rows.tolist()) if owner == row]
                items = interaction[loader.iid_field][places].tolist()
                found.append((list(zip(items, [scores[place] for place in places], strict=True)), target))
            continue
        scores = model.full_sort_predict(interaction).reshape(len(targets), -1)
        found += [
            ([(item, score) for item, score in enumerate(row.tolist()) if item], target)
            for row, target in zip(scores, targets, strict=True)
        ]
    return found


def area(positive, negative):
    wins = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    return sum(wins) / len(wins)


def top_figures(rows, metrics):
    """Figures of each metric and cut-off, and the most that ties could change any of them."""
    figures = {}
    for metric in metrics:
        for k in KS:
            bounds = []
            for scores, target in rows:
                better = sum(score > scores[target] for item, score in scores.items())
                tied = sum(score == scores[target] for item, score in scores.items())
                bounds.append((TOP[metric](better + 1, k), TOP[metric](better + tied, k)))
            figures[f"{metric}@{k}"] = tuple(np.mean(bounds, axis=0))
    return figures


def list_figures(lists, counts, n_items):
    figures = {}
    tail = [item for item, _ in sorted(counts.items(), key=lambda pair: (pair[1], pair[0]))]
    tail = set(tail[: max(int(len(tail) * 0.3), 1)])
    for k in KS:
        shown = [items[:k] for items in lists]
        times = Counter(item for items in shown for item in items)
        total = sum(times.values())
        shares = [count / total for count in times.values()]
        # RecBole counts the padding item among the items, and divides the entropy by the number of items shown
        gaps = [abs(a - b) for a in _padded(times, n_items) for b in _padded(times, n_items)]
        figures[f"itemcoverage@{k}"] = len(times) / n_items
        figures[f"averagepopularity@{k}"] = np.mean([counts.get(item, 0) for items in shown for item in items])
        figures[f"tailpercentage@{k}"] = np.mean([item in tail for items in shown for item in items])
        figures[f"shannonentropy@{k}"] = -sum(p * math.log(p) for p in shares) / len(shares)
        figures[f"giniindex@{k}"] = sum(gaps) / (2 * n_items * total)
    return figures


def _padded(times, n_items):
    return list(times.values()) + [0] * (n_items - len(times))


def reloaded(model, shop, tmp_path, metrics, mode):
    """Train as users do; return the test result, and that of the loaded model with its scores of the same rows."""
    result = run_recbole_lcrec(model, "shop", config_dict=of_model(model, values(shop, tmp_path, metrics, mode)))
    config, loaded, _, train, _, test = load_data_and_model(result["saved_model_file"])
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, loaded)
    trainer.eval_collector.data_collect(train)
    init_seed(3, True)
    again = trainer.evaluate(test, load_best_model=False)
    init_seed(3, True)
    with torch.no_grad():
        return result["test_result"], again, scored(loaded, test), train._dataset


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("model", MODELS)
def test_figures_equal_an_independent_computation(model, mode, shop, tmp_path):
    names = [name for name in metrics_dict if name != "auc" and not refused(model, name, mode)]
    first, again, rows, train = reloaded(model, shop, tmp_path, sorted(names, key="ndcg".__ne__), mode)
    assert len(rows) == 24 and set(first) == set(again)
    rows = [(dict(pairs), target) for pairs, target in rows]  # a ranking has an item once
    if mode == "full":
        assert first == again
    for name, (best, worst) in top_figures(rows, [name for name in names if name in TOP]).items():
        assert min(best, worst) - 1e-6 <= again[name] <= max(best, worst) + 1e-6, name
    if "gauc" in names:
        areas = [area([s[target]], [score for item, score in s.items() if item != target]) for s, target in rows]
        assert again["gauc"] == pytest.approx(np.mean(areas), abs=1e-6)
    if mode == "full":
        n_items = train.item_num
        matrix = torch.tensor([[-math.inf] + [scores[item] for item in range(1, n_items)] for scores, _ in rows])
        lists = matrix.topk(max(KS), dim=-1).indices.tolist()
        counts = Counter(train.inter_feat[train.iid_field].tolist())
        for name, figure in list_figures(lists, counts, n_items).items():
            assert again[name] == pytest.approx(figure, abs=1e-6), name


@pytest.mark.parametrize("mode", ["uni10", "pop10"])
@pytest.mark.parametrize("model", MODELS)
def test_auc_equals_a_count_of_pairs(model, mode, shop, tmp_path):
    _, again, rows, _ = reloaded(model, shop, tmp_path, ["auc"], mode)
    positive = [dict(pairs)[target] for pairs, target in rows]
    negative = [score for pairs, target in rows for item, score in pairs if item != target]
    assert again["auc"] == pytest.approx(area(positive, negative), abs=1e-6)
