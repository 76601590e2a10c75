"""Tables of a comparison: means and costs of each model, and for each metric the difference to the reference."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from recbole_lcrec.analysis.comparison import Comparison, MetricRow, ModelRow
from recbole_lcrec.analysis.paired import Estimate

__all__ = ["TABLE_FORMATS", "cost_table", "difference_table", "mean_table", "report"]

TABLE_FORMATS = {"markdown": "github", "latex": "latex_booktabs", "plain": "simple"}
"""Value of ``table_format`` -> tabulate's name."""


def report(comparison: Comparison, table_format: str = "markdown", columns: Sequence[str] | None = None) -> str:
    """Return all tables of a comparison, each under a line that says what it shows.

    Args:
        comparison: the models.
        table_format: one of :data:`TABLE_FORMATS`.
        columns: metrics whose differences are shown; None: those with the largest cut-off.
    """
    seeds = ", ".join(map(str, comparison.seeds))
    several = len(comparison.seeds) > 1
    of_seeds = f"seeds {seeds}" if several else f"seed {seeds}"
    parts = [
        f"Means, {of_seeds}" if comparison.users is None else f"Means over {comparison.users:,} test users, {of_seeds}",
        mean_table(comparison, table_format),
        "Costs, medians over seeds" if several else f"Costs, {of_seeds}",
        cost_table(comparison, table_format),
    ]
    measured = [
        column
        for column in (_with_largest_cutoff(comparison.columns) if columns is None else columns)
        if any(column in model.metrics and model.metrics[column].interval for model in comparison.models)
    ]
    for column in measured:
        against = f", and the paired difference to {comparison.reference}" if comparison.reference else ""
        parts += [
            f"{column} with 95% bootstrap intervals over users{against}",
            difference_table(comparison, column, table_format),
        ]
    if table_format == "latex":
        parts[::2] = [f"% {caption}" for caption in parts[::2]]
    return "\n\n".join(parts)


def mean_table(comparison: Comparison, table_format: str = "markdown") -> str:
    """Return a row per model, a column per metric and cut-off, and the validation score; a lacking value is a dash."""
    rows = [
        [
            model.label,
            *(_shown(model.metrics[c].mean) if c in model.metrics else "-" for c in comparison.columns),
            _shown(model.valid_score),
        ]
        for model in comparison.models
    ]
    return _table(["model", *comparison.columns, f"valid {comparison.valid_metric}"], rows, table_format)


def cost_table(comparison: Comparison, table_format: str = "markdown") -> str:
    """Return a row per model: seconds, training seconds, test users a second, parameters, peak memory."""

    def row(model: ModelRow) -> list[str]:
        training, speed, parameters, memory = model.costs.values()
        return [
            model.label,
            f"{model.seconds:.1f}",
            _shown(training, ".1f"),
            _shown(speed, ",.0f"),
            _shown(parameters, ",.0f"),
            "-" if memory is None else f"{memory / 2**30:.2f} GiB",
        ]

    header = ["model", "seconds", "of training", "test users a second", "parameters", "peak memory"]
    return _table(header, [row(model) for model in comparison.models], table_format)


def difference_table(comparison: Comparison, column: str, table_format: str = "markdown") -> str:
    """Return a row per model that has a metric: mean, interval, difference to the reference, verdict, each seed.

    Args:
        comparison: the models.
        column: the metric, such as ``NDCG@10``.
        table_format: one of :data:`TABLE_FORMATS`.
    """
    models = [model for model in comparison.models if column in model.metrics]
    header, several = ["model", column, "95% interval"], len(comparison.seeds) > 1
    if comparison.reference:
        header += [f"minus {comparison.reference}", "95% interval", f"against {comparison.reference}"]
    if several:
        header.append("by seed")

    def row(model: ModelRow) -> list[str]:
        metric: MetricRow = model.metrics[column]
        cells = [model.label, _shown(metric.mean), _interval(metric.interval)]
        if comparison.reference:
            difference = metric.difference
            cells += [_shown(None if difference is None else difference.mean, "+.4f"), _interval(difference, "+.4f")]
            cells.append(metric.verdict or "-")
        return [*cells, ", ".join(map(_shown, metric.by_seed.values()))] if several else cells

    return _table(header, [row(model) for model in models], table_format)


def _with_largest_cutoff(columns: Sequence[str]) -> list[str]:
    cutoffs = [int(k) for c in columns for _, _, k in [c.partition("@")] if k]
    return [column for column in columns if cutoffs and column.endswith(f"@{max(cutoffs)}")]


def _interval(estimate: Estimate | None, form: str = ".4f") -> str:
    return "-" if estimate is None else f"[{estimate.low:{form}}, {estimate.high:{form}}]"


def _shown(value: float | None, form: str = ".4f") -> str:
    return "-" if value is None else f"{value:{form}}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], table_format: str) -> str:
    name = TABLE_FORMATS[table_format]
    return tabulate(rows, header, tablefmt=name, disable_numparse=True, stralign="right")
