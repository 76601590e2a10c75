"""The table in which models' results stand side by side.

Knows RecBole's result mappings (``{"hit@10": 0.1, ...}``) and how they are laid out as text. Refuses to know how they
were measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

__all__ = ["result_table"]


def result_table(results: Mapping[str, Mapping[str, Any]], metrics: Sequence[str], topk: Sequence[int]) -> str:
    """Lays out test results: one row a model, one column a metric and cut-off, and the seconds it took.

    Args:
        results: model name -> its result, with ``test_result`` (metric in lower case -> value) and ``seconds``.
        metrics: names as the user wrote them, in the order of columns.
        topk: cut-offs of each metric, in the order of columns.

    Returns:
        The table as text; a metric that no model has is left out, one that some model lacks is a dash there.
    """
    wanted = [column for metric in metrics for column in (metric, *(f"{metric}@{k}" for k in topk))]
    columns = [c for c in wanted if any(c.lower() in result["test_result"] for result in results.values())]
    rows = [
        [model, *(_shown(result["test_result"].get(c.lower())) for c in columns), f"{result['seconds']:.1f}"]
        for model, result in results.items()
    ]
    return tabulate(rows, ["model", *columns, "seconds"], tablefmt="github", disable_numparse=True, stralign="right")


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
