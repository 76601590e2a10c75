"""Checks of metrics and evaluation modes: which figures a model can give, before any data are read.

RecBole offers every metric in every mode. Some of its figures would end in an error after training, and some would be
numbers without a meaning; both are refused here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from recbole_lcrec.config.value_checks import integer
from recbole_lcrec.config.values import did_you_mean

__all__ = ["ability_problems", "as_list", "cutoffs", "evaluation_modes", "metric_problems", "search_problems"]

_MODE = re.compile(r"full|(?:uni|pop)[1-9][0-9]*")
_MODES = (
    "'full' (every item is ranked), 'uniN' or 'popN' (N sampled items, such as 'uni100', uniformly or by popularity)"
)
_ERRORS = frozenset({"mae", "rmse", "logloss"})
"""Errors of predicted ratings or probabilities."""
_OF_LISTS = frozenset({"itemcoverage", "averagepopularity", "shannonentropy", "giniindex", "tailpercentage"})
"""Metrics that describe the recommended lists and do not look at the targets."""
_WITHOUT_CUTOFF = frozenset({"auc", "gauc"})


def evaluation_modes(value: Any) -> str:
    """Return what ``eval_args`` should be; empty if its ``mode`` is valid."""
    if not isinstance(value, Mapping):
        return "a mapping such as {'mode': 'full'}"
    modes = value.get("mode", "full")
    each = modes if isinstance(modes, Mapping) else {"test": modes}
    if "labeled" in each.values():
        return (
            f"one of the modes {_MODES}; RecBole's 'labeled' compares predicted with given ratings, and no model here "
            "predicts ratings"
        )
    good = each and set(each) <= {"valid", "test"} and all(_MODE.fullmatch(str(mode)) for mode in each.values())
    return "" if good else f"one of the modes {_MODES}, or {{'valid': ..., 'test': ...}} with two of these"


def cutoffs(value: Any) -> str:
    """Return what ``topk`` should be; empty if it is valid."""
    values = value if isinstance(value, (list, tuple)) and value else [value]
    wrong = any(integer(1)(k) for k in values) or len(set(values)) < len(values)
    return "one or more different positive integers, such as [1, 5, 10]" if wrong else ""


def as_list(topk: Any) -> list[int]:
    """Return ``topk``, one integer or several, as a list."""
    return list(topk) if isinstance(topk, (list, tuple)) else [topk]


def metric_problems(values: Mapping[str, Any], metric_names: Collection[str]) -> list[str]:
    """Return the first problem of ``metrics`` and ``valid_metric``; empty if there is none.

    Args:
        values: the merged parameters.
        metric_names: RecBole's metrics, in lower case.
    """
    metrics = values["metrics"]
    metrics = [metrics] if isinstance(metrics, str) else metrics
    if not isinstance(metrics, (list, tuple)) or not metrics or not all(isinstance(m, str) for m in metrics):
        return [f"metrics = {metrics!r}: expected one or more names of metrics, such as [Hit, NDCG]"]
    if unknown := [metric for metric in metrics if metric.lower() not in metric_names]:
        return [f"metrics: RecBole has no {metric!r}{did_you_mean(metric, metric_names)}" for metric in unknown]
    return _problems_of_mode(values, list(metrics)) or _problems_of_valid_metric(values, list(metrics))


def _problems_of_mode(values: Mapping[str, Any], metrics: list[str]) -> list[str]:
    modes = _modes_in(values["eval_args"])
    if errors := [metric for metric in metrics if metric.lower() in _ERRORS]:
        return [
            f"metrics: {', '.join(errors)} measure errors of predicted ratings or probabilities, and scores of the "
            "models here are neither: use ranking metrics, such as Hit and NDCG, or AUC"
        ]
    aucs = [metric for metric in metrics if metric.lower() == "auc"]
    if aucs and len(aucs) < len(metrics):
        return [
            f"metrics = {metrics} mixes AUC, which compares all scores, with ranking metrics: use GAUC, or AUC alone"
        ]
    if aucs and "full" in modes:
        return ["metrics = ['AUC'] needs sampled items: set eval_args mode to 'uniN' or 'popN', or use GAUC"]
    of_lists = [metric for metric in metrics if metric.lower() in _OF_LISTS]
    if of_lists and modes != {"full"}:
        return [
            f"metrics: {', '.join(of_lists)} describe recommended lists, which sampled items are not: set eval_args "
            "mode to 'full'"
        ]
    return []


def _problems_of_valid_metric(values: Mapping[str, Any], metrics: list[str]) -> list[str]:
    valid, ks = values["valid_metric"], as_list(values["topk"])
    if not isinstance(valid, str):
        return [f"valid_metric = {valid!r}: expected a metric and a cut-off, such as NDCG@10"]
    name, at, cutoff = valid.partition("@")
    if at and name.lower() in _WITHOUT_CUTOFF:
        return [f"valid_metric = {valid!r}: {name} has no cut-off; write {name}"]
    if not at and name.lower() not in _WITHOUT_CUTOFF:
        return [f"valid_metric = {valid!r} needs a cut-off out of topk: write {valid}@{max(ks)}"]
    if name.lower() not in {metric.lower() for metric in metrics}:
        return [f"valid_metric = {valid!r} is not in metrics = {metrics}: choose one of them, or add it"]
    if name.lower() in _OF_LISTS:
        return [
            f"valid_metric = {valid!r} describes the recommended lists, whatever the targets are, so no epoch can be "
            "chosen by it: choose a ranking metric, such as NDCG"
        ]
    if at and cutoff not in {str(k) for k in ks}:
        remedy = f"set valid_metric={name}@{max(ks)}, or extend topk"
        return [f"valid_metric = {valid!r} has a cut-off that is not in topk = {ks}: {remedy}"]
    return []


def ability_problems(label: str, eval_args: Any, full_ranking: bool, candidate_scores: bool) -> list[str]:
    """Return the problem of an evaluation that a model cannot do; empty if it can.

    Args:
        label: the model.
        eval_args: RecBole's mapping; its ``mode`` is ``full``, ``uniN`` or ``popN``, or one for each split.
        full_ranking: whether the model can rank the whole catalogue.
        candidate_scores: whether it can score given candidates.
    """
    modes = _modes_in(eval_args)
    shown = eval_args.get("mode", "full") if isinstance(eval_args, Mapping) else "full"
    if "full" in modes and not full_ranking:
        return [
            f"eval_args mode = {shown!r} ranks every item, but {label} only scores given candidates: sample them with "
            "--eval_args=\"{'mode': 'uni100'}\", for every model of the table"
        ]
    if modes != {"full"} and not candidate_scores:
        return [
            f"eval_args mode = {shown!r} samples candidates, but {label} only ranks the whole catalogue: use it "
            "with --eval_args=\"{'mode': 'full'}\", for every model of the table"
        ]
    return []


def search_problems(label: str, values: Mapping[str, Any], searches: bool) -> list[str]:
    """Return the problem of an area under the curve over items that have no score; empty if all have one.

    Args:
        label: the model.
        values: the merged parameters.
        searches: whether the model finds the best items by a search and scores no others.
    """
    metrics = values["metrics"]
    names = {str(metric).lower() for metric in ([metrics] if isinstance(metrics, str) else metrics or ())}
    areas = names & _WITHOUT_CUTOFF
    if not areas:
        return []
    if searches and "full" in _modes_in(values["eval_args"]):
        return [
            f"GAUC compares the target with every item, but {label} scores only the best decoding_beam_size ones: "
            "leave it out, or sample items with --eval_args=\"{'mode': 'uni100'}\", for every model of the table"
        ]
    if values.get("decoding_allowed_items"):
        return [
            f"{', '.join(sorted(areas)).upper()} compares the target with items that decoding_allowed_items leaves "
            "without a score: leave one of the two out"
        ]
    if (values.get("mask_history") or values.get("decoding_exclude_history")) and values["repeated_targets"] == "mask":
        return [
            "GAUC compares the target with other items, but mask_history leaves targets that repeat the history "
            "without a score: set repeated_targets to drop, or mask_history to False"
        ]
    return []


def _modes_in(eval_args: Any) -> set[str]:
    mode = eval_args.get("mode", "full") if isinstance(eval_args, Mapping) else "full"
    return {str(each) for each in mode.values()} if isinstance(mode, Mapping) else {str(mode)}
