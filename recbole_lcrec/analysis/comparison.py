"""Comparison of models over the same users: means over seeds, intervals over users, differences to a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger
from typing import Any

import numpy as np

from recbole_lcrec.analysis.paired import Estimate, estimates, verdict
from recbole_lcrec.runs.finished import FinishedRun

__all__ = ["COSTS", "Comparison", "MetricRow", "ModelRow", "compare"]

COSTS = ("training_seconds", "users_per_second", "parameters", "peak_memory")
"""Keys of a run's costs: seconds, test users a second, numbers in the model, bytes."""


@dataclass(frozen=True)
class MetricRow:
    """One metric of one model.

    Attributes:
        mean: over users and seeds. Where a user has several test rows, RecBole's result is a mean over rows instead.
        interval: of the mean, over users; None without ranks of users.
        by_seed: seed -> mean over users.
        difference: the model minus the reference, paired user by user; None for the reference itself, and without
            ranks.
        verdict: ``ahead``, ``behind`` or ``not told apart``; empty without a difference.
    """

    mean: float
    interval: Estimate | None
    by_seed: dict[int, float]
    difference: Estimate | None
    verdict: str


@dataclass(frozen=True)
class ModelRow:
    """One model.

    Attributes:
        label: label of the model.
        runs: its finished runs, one a seed.
        metrics: column, such as ``NDCG@10`` -> its values.
        valid_score: best validation score, mean over seeds; None without validation.
        costs: each of :data:`COSTS`, median over seeds; None where it was not measured.
        seconds: of data, training and test, median over seeds.
    """

    label: str
    runs: tuple[FinishedRun, ...]
    metrics: dict[str, MetricRow]
    valid_score: float | None
    costs: dict[str, float | None]
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """Models compared.

    Attributes:
        dataset: name of the data set.
        reference: label of the model that the others are compared with; empty if there is one model.
        columns: metrics, with cut-offs where they have them, as the user wrote them.
        valid_metric: metric of the validation score.
        users: number of test users that every model ranked; None without ranks.
        seeds: seeds of the runs.
        models: in the order of the run.
    """

    dataset: str
    reference: str
    columns: tuple[str, ...]
    valid_metric: str
    users: int | None
    seeds: tuple[int, ...]
    models: tuple[ModelRow, ...]


def compare(runs: Sequence[FinishedRun], config: Any, reference: str | None = None) -> Comparison:
    """Compare finished runs.

    Args:
        runs: one or more seeds of one or more models, all with the settings of evaluation in ``config``.
        config: configuration of any of them.
        reference: label of the model to compare with; None, or one that has not run: the first.
    """
    by_label = _with_common_seeds(runs)
    labels, runs = list(by_label), [run for own in by_label.values() for run in own]
    if reference is not None and reference not in labels:
        getLogger().warning(f"{reference} has not finished, so the models are compared with {labels[0]}")
    columns = _columns(runs, config["metrics"], config["topk"])
    first = reference if reference in labels else labels[0]
    users, intervals, differences = _over_users(by_label, columns, first)

    def row(label: str, column: str) -> MetricRow:
        by_seed = {run.seed: _mean_of_users(run, column) for run in by_label[label]}
        interval, difference = intervals.get((label, column)), differences.get((label, column))
        mean = interval.mean if interval else float(np.mean(list(by_seed.values())))
        return MetricRow(mean, interval, by_seed, difference, verdict(difference) if difference else "")

    models = [
        ModelRow(
            label,
            own,
            {column: row(label, column) for column in columns if column.lower() in own[0].result["test_result"]},
            _mean([run.result["best_valid_score"] for run in own if run.result["best_valid_result"]]),
            {cost: _median([run.result[cost] for run in own]) for cost in COSTS},
            float(np.median([run.result["seconds"] for run in own])),
        )
        for label, own in by_label.items()
    ]
    seeds = tuple(dict.fromkeys(run.seed for run in runs))
    named = first if len(labels) > 1 else ""
    return Comparison(config["dataset"], named, columns, config["valid_metric"], users, seeds, tuple(models))


def _with_common_seeds(runs: Sequence[FinishedRun]) -> dict[str, tuple[FinishedRun, ...]]:
    """Return the runs of each model, without seeds that another model has not finished: means must be over the same."""
    seeds: dict[str, set[int]] = {}
    for run in runs:
        seeds.setdefault(run.label, set()).add(run.seed)
    common = set.intersection(*seeds.values()) or next(iter(seeds.values()))
    if left_out := sorted(set.union(*seeds.values()) - common):
        getLogger().warning(f"Seeds {', '.join(map(str, left_out))} are left out: not every model has finished them")
    labels = [label for label, finished in seeds.items() if common <= finished]
    return {label: tuple(run for run in runs if run.label == label and run.seed in common) for label in labels}


def _mean_of_users(run: FinishedRun, column: str) -> float:
    if run.ranks is not None and run.ranks.has(column):
        return float(run.ranks.per_user(column)[1].mean())
    return float(run.result["test_result"][column.lower()])


def _columns(runs: Sequence[FinishedRun], metrics: Sequence[str], topk: Sequence[int]) -> tuple[str, ...]:
    """Return the metrics that a run has, in the order of the settings."""
    candidates = [column for metric in metrics for column in (metric, *(f"{metric}@{k}" for k in topk))]
    return tuple(c for c in candidates if any(c.lower() in run.result["test_result"] for run in runs))


Table = dict[tuple[str, str], Estimate]


def _over_users(
    by_label: Mapping[str, Sequence[FinishedRun]], columns: Sequence[str], reference: str
) -> tuple[int | None, Table, Table]:
    """Return the number of users, and the intervals and paired differences of each (label, column)."""
    values: dict[tuple[str, str], np.ndarray] = {}
    common: np.ndarray | None = None
    found: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = {}
    for label, runs in by_label.items():
        for column in columns:
            ranks = [run.ranks for run in runs]
            if all(rank is not None and rank.has(column) for rank in ranks):
                found[label, column] = [rank.per_user(column) for rank in ranks if rank is not None]
                for users, _ in found[label, column]:
                    common = users if common is None else np.intersect1d(common, users, assume_unique=True)
    if common is None:
        return None, {}, {}
    most = max(len(users) for pairs in found.values() for users, _ in pairs)
    if len(common) < most:
        getLogger().warning(
            f"Only {len(common):,} of {most:,} test users were ranked by every model: the table is over those"
        )
    rows = {label: run.ranks.rows_per_user() for label, (run, *_) in by_label.items() if run.ranks is not None}
    if len(set(rows.values())) > 1:
        getLogger().warning(
            "Some models rank each target of a user alone and others all at once: their metrics do not mean the same, "
            "so no differences are shown"
        )
        reference = ""
    for key, pairs in found.items():
        kept = [value[np.isin(users, common, assume_unique=True)] for users, value in pairs]
        values[key] = np.mean(kept, axis=0)
    paired = [key for key in values if key[0] != reference and (reference, key[1]) in values]
    columns_of_values = [*values.values(), *(values[key] - values[reference, key[1]] for key in paired)]
    made = estimates(np.column_stack(columns_of_values))
    intervals = dict(zip(values, made, strict=False))
    return len(common), intervals, dict(zip(paired, made[len(values) :], strict=True))


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None
