"""HTML page of an import report: tables and figures, in one file that needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import plotly.graph_objects as go
from markupsafe import Markup

from recbole_lcrec.preparation.tables.report import QUANTILES, ImportReport, TextCoverage
from recbole_lcrec.report import Figure, plotly_json, render_page

__all__ = ["render_import"]

_TEMPLATE = Path(__file__).parent / "page.html.jinja"
_COLOUR = "#3f7fbf"
_HEIGHT = 300
_SINGLE = 10


def render_import(report: ImportReport) -> str:
    """Render the HTML page of an import.

    Args:
        report: the report to show.
    """
    numbers = report.numbers
    summary = [
        ("users", f"{numbers.users:,}"),
        ("items in the catalogue", f"{numbers.items:,}"),
        ("items with an interaction", f"{numbers.bought:,}"),
        ("interactions", f"{numbers.interactions:,}"),
        ("interactions per user", f"{numbers.interactions / numbers.users:.2f}"),
        ("interactions per item in the catalogue", f"{numbers.interactions / numbers.items:.2f}"),
        ("density", f"{numbers.density:.4%} of all user-item pairs"),
        ("sparsity", f"{1 - numbers.density:.4%}"),
        ("first interaction", numbers.first_time),
        ("last interaction", numbers.last_time),
        *((f"table of {table}", source) for table, source in report.sources.items()),
    ]
    return render_page(
        _TEMPLATE,
        report=report,
        summary=summary,
        columns=[
            (_code(field), table, _code(column))
            for table, found in report.columns.items()
            for field, column in found.items()
        ],
        steps=[(step.step, *_counts(step.users, step.items, step.interactions)) for step in report.steps],
        quantiles=[f"{share:.0%}" if share < 1 else "longest" for share in QUANTILES],
        lengths=_length_figure(numbers.lengths),
        lengths_at=("interactions per user, at most", *_counts(*numbers.length_quantiles)),
        times=_time_figure(numbers.time_bins),
        popularity=_popularity_figure(numbers.popularity, numbers.top_share),
        coverage=[_coverage_row(text) for text in report.texts],
        split=[(part, *_counts(*sizes)) for part, sizes in numbers.split.items()],
    )


def _code(text: str) -> Markup:
    return Markup("<code>{}</code>").format(text)


def _counts(*numbers: float) -> list[str]:
    return [f"{number:,.0f}" for number in numbers]


def _coverage_row(text: TextCoverage) -> list[str]:
    share = f"{text.filled / text.rows:.1%}" if text.rows else "-"
    words = _counts(*text.words) or ["-"] * len(QUANTILES)
    return [f"{text.name} ({text.table})", f"{text.filled:,}", share, f"{text.distinct:,}", *words]


def binned(lengths: Mapping[int, int]) -> tuple[list[str], list[int]]:
    """Count users by number of interactions: single bins up to 10, then bins that end at 20, 50, 100, 200, 500, ..."""
    ends, decade = list(range(1, _SINGLE + 1)), _SINGLE
    while ends[-1] < max(lengths):
        ends += [2 * decade, 5 * decade, 10 * decade]
        decade *= 10
    starts = [1, *(end + 1 for end in ends[:-1])]
    last = next(place for place, end in enumerate(ends) if end >= max(lengths))
    bins = list(zip(starts, ends, strict=True))[: last + 1]
    labels = [f"{start}" if start == end else f"{start}-{end}" for start, end in bins]
    return labels, [sum(n for length, n in lengths.items() if start <= length <= end) for start, end in bins]


def _length_figure(lengths: Mapping[int, int]) -> Figure:
    labels, users = binned(lengths)
    figure = go.Figure()
    figure.add_bar(x=labels, y=users, marker_color=_COLOUR)
    figure.update_xaxes(type="category")
    return Figure(
        "Sequence lengths",
        "Number of users by number of interactions. Users with one or two are not tested; of long sequences, a run "
        "uses the 20 most recent items (MAX_ITEM_LIST_LENGTH).",
        plotly_json(figure, "interactions per user", "users", _HEIGHT),
    )


def _time_figure(bins: Sequence[tuple[str, int]]) -> Figure:
    figure = go.Figure()
    figure.add_bar(x=[start for start, _ in bins], y=[count for _, count in bins], marker_color=_COLOUR)
    figure.update_layout(bargap=0.05)
    if len(bins) == 1:
        figure.update_xaxes(type="category")
    return Figure(
        "Interactions over time",
        "In up to 60 periods of equal length. An isolated bar often means a wrong unit or a missing date.",
        plotly_json(figure, "start of the period, UTC", "interactions", _HEIGHT),
    )


def _popularity_figure(popularity: Sequence[tuple[int, int]], top_share: float) -> Figure:
    figure = go.Figure()
    ranks, counts = zip(*popularity, strict=True)
    figure.add_scatter(x=ranks, y=counts, mode="lines+markers" if len(ranks) < 60 else "lines", line={"color": _COLOUR})
    figure.update_xaxes(type="log", dtick=1)
    figure.update_yaxes(type="log", dtick=1)
    return Figure(
        "Item popularity",
        f"Most popular item first, both axes logarithmic. The most popular tenth of the catalogue has "
        f"{top_share:.1%} of the interactions.",
        plotly_json(figure, "item rank", "interactions", _HEIGHT),
    )
