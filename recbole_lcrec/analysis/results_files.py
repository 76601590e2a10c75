"""Files of a comparison: its tables, and the same numbers as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from recbole_lcrec.analysis.comparison import Comparison, MetricRow
from recbole_lcrec.analysis.paired import LEVEL, Estimate
from recbole_lcrec.analysis.results import report

__all__ = ["as_csv", "as_json", "write_comparison"]

_SUFFIXES = {"markdown": ".md", "latex": ".tex", "plain": ".txt"}


def write_comparison(comparison: Comparison, folder: Path, table_format: str) -> None:
    """Write ``results.json``, ``results.csv`` and ``table.md`` (``.tex``, ``.txt``) into a folder.

    Args:
        comparison: the models.
        folder: an existing folder.
        table_format: one of :data:`recbole_lcrec.analysis.results.TABLE_FORMATS`.
    """
    (folder / "results.json").write_text(json.dumps(as_json(comparison), indent=2) + "\n", encoding="utf-8")
    (folder / "results.csv").write_text(as_csv(comparison), encoding="utf-8")
    table = report(comparison, table_format, comparison.columns)
    (folder / "table").with_suffix(_SUFFIXES[table_format]).write_text(table + "\n", encoding="utf-8")


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as values that JSON can represent; what was not measured is null."""
    return {
        "dataset": comparison.dataset,
        "seeds": list(comparison.seeds),
        "test_users": comparison.users,
        "reference": comparison.reference or None,
        "valid_metric": comparison.valid_metric,
        "interval_level": LEVEL,
        "models": {
            model.label: {
                "valid_score": model.valid_score,
                "seconds": model.seconds,
                **model.costs,
                "saved": {str(run.seed): run.result["saved_model_file"] for run in model.runs},
                "metrics": {column: _metric(metric) for column, metric in model.metrics.items()},
            }
            for model in comparison.models
        },
    }


def _metric(metric: MetricRow) -> dict[str, Any]:
    def bounds(estimate: Estimate | None) -> list[float] | None:
        return None if estimate is None else [estimate.low, estimate.high]

    return {
        "mean": metric.mean,
        "interval": bounds(metric.interval),
        "by_seed": {str(seed): value for seed, value in metric.by_seed.items()},
        "difference": None if metric.difference is None else metric.difference.mean,
        "difference_interval": bounds(metric.difference),
        "verdict": metric.verdict or None,
    }


def as_csv(comparison: Comparison) -> str:
    """Return a comparison as CSV: one line for each model and metric; what was not measured is empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    header = ["model", "metric", "mean", "low", "high", "reference"]
    writer.writerow([*header, "difference", "difference_low", "difference_high", "verdict"])
    for model in comparison.models:
        for column, metric in model.metrics.items():
            interval, difference = metric.interval, metric.difference
            ends = [None, None] if interval is None else [interval.low, interval.high]
            against = [None] * 3 if difference is None else [difference.mean, difference.low, difference.high]
            reference = comparison.reference if difference is not None else None
            writer.writerow([model.label, column, metric.mean, *ends, reference, *against, metric.verdict or None])
    return stream.getvalue()
