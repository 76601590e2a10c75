"""Table of the test results of several models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

__all__ = ["result_table"]


def result_table(results: Mapping[str, Mapping[str, Any]], metrics: Sequence[str], topk: Sequence[int]) -> str:
    """Return a text table of test results: a row per model, a column per metric and cut-off, and the seconds.

    Args:
        results: model label -> its result, with ``test_result`` (metric in lower case -> value) and ``seconds``.
        metrics: metric names as the user wrote them, in the order of the columns.
        topk: cut-offs of each metric, in the order of the columns.

    Returns:
        The table; metrics that no model has are omitted, and a value that a model lacks is a dash.
    """
    candidates = [column for metric in metrics for column in (metric, *(f"{metric}@{k}" for k in topk))]
    columns = [c for c in candidates if any(c.lower() in result["test_result"] for result in results.values())]
    rows = [
        [model, *(_shown(result["test_result"].get(c.lower())) for c in columns), f"{result['seconds']:.1f}"]
        for model, result in results.items()
    ]
    return tabulate(rows, ["model", *columns, "seconds"], tablefmt="github", disable_numparse=True, stralign="right")


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
