"""Results by SEQ template, with mean, minimum and maximum (paper IV-D)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tabulate import tabulate

__all__ = ["TemplateReport", "over_templates"]


@dataclass(frozen=True)
class TemplateReport:
    """The results of T templates and their summary.

    Attributes:
        mean, minimum, maximum: metric -> its value over the templates.
        per_template: the T results.
    """

    mean: dict[str, float]
    minimum: dict[str, float]
    maximum: dict[str, float]
    per_template: tuple[dict[str, float], ...]

    def values(self) -> dict[str, Any]:
        """Return the report as plain values for JSON."""
        return {
            "mean": self.mean,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "per_template": list(self.per_template),
        }

    def table(self) -> str:
        """Return a text table with a row for each template, then mean, minimum and maximum."""
        named = [(str(number), result) for number, result in enumerate(self.per_template)]
        named += [("mean", self.mean), ("minimum", self.minimum), ("maximum", self.maximum)]
        rows = [[name, *(f"{result[metric]:.4f}" for metric in self.mean)] for name, result in named]
        headers = ["template", *self.mean]
        return tabulate(rows, headers, tablefmt="github", disable_numparse=True, stralign="right")


def over_templates(results: Sequence[Mapping[str, Any]], decimals: int) -> TemplateReport:
    """Summarise the results of several templates.

    Args:
        results: metrics of each template, all with the same names.
        decimals: decimal places of the means.

    Raises:
        ValueError: there is no result, or the metric names differ.
    """
    if not results or any(list(result) != list(results[0]) for result in results):
        raise ValueError(f"results of {len(results)} templates cannot be summarised: they need the same metrics")
    table = np.array([[float(value) for value in result.values()] for result in results])
    metrics = list(results[0])
    mean, low, high = (
        dict(zip(metrics, map(float, values), strict=True))
        for values in (table.mean(0).round(decimals), table.min(0), table.max(0))
    )
    return TemplateReport(mean, low, high, tuple(dict(zip(metrics, map(float, row), strict=True)) for row in table))
