"""Figures of the index report, as Plotly JSON.

Every figure has a bounded number of points, whatever the size of the catalogue. The page sets the colours of text and
grid, to suit light and dark themes. Hover texts are escaped here, because Plotly interprets some HTML in them.
"""

from __future__ import annotations

import html
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from recbole_lcrec.report import plotly_json

__all__ = ["bars", "branching", "code_usage", "curves", "item_map", "level_name"]

_COLOURS = ("#3f7fbf", "#e08214", "#3a9d5d", "#9467bd", "#d1495b", "#8c6d46", "#d774b0", "#17a2a8")
_GREY = "#9aa3ad"
_POINTS = 400
_HIGHLIGHTED = 12
_HEIGHT = 320


def level_name(level: int) -> str:
    """Return a level's name by the letter of its index tokens; the first is ``level a``."""
    return f"level {chr(ord('a') + level)}"


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    y_title: str,
    log: bool = False,
    percent: bool = False,
) -> dict[str, Any]:
    """Draw lines over training epochs.

    Args:
        series: name -> (epochs, values), of equal length.
        y_title: title of the vertical axis.
        log: whether the axis is logarithmic.
        percent: whether values are shares, shown in per cent.
    """
    figure = _empty()
    for number, (name, (epochs, values)) in enumerate(series.items()):
        kept = _thinned(len(epochs))
        figure.add_scatter(
            x=[epochs[i] for i in kept],
            y=[values[i] for i in kept],
            name=name,
            mode="lines+markers" if len(kept) <= 60 else "lines",
            line={"color": _COLOURS[number % len(_COLOURS)], "width": 2},
        )
    if log:
        _log_axis(figure, [value for _, values in series.values() for value in values if value > 0])
    else:
        figure.update_yaxes(rangemode="tozero", tickformat=".2~%" if percent else None)
    return plotly_json(figure, "epoch", y_title, _HEIGHT)


def code_usage(counts: Sequence[np.ndarray]) -> dict[str, Any]:
    """Draw the items per code of each level, most used code first.

    Args:
        counts: per level, int64 ``[K of that level]``.
    """
    figure = _empty()
    for level, of_codes in enumerate(counts):
        kept = _thinned(len(of_codes))
        figure.add_scatter(
            x=kept + 1,
            y=np.sort(of_codes)[::-1][kept],
            name=level_name(level),
            mode="lines" if len(kept) > 1 else "markers",
            line={"color": _COLOURS[level % len(_COLOURS)], "width": 2},
        )
    figure.update_yaxes(rangemode="tozero")
    return plotly_json(figure, "codes of the level, most used first", "items with the code", _HEIGHT)


def bars(
    labels: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    y_title: str,
    x_title: str = "prefix depth",
    log: bool = False,
    percent: bool = False,
    grey: Collection[str] = (),
) -> dict[str, Any]:
    """Draw groups of bars.

    Args:
        labels: one per group.
        series: name -> one value per group, None where there is none.
        y_title: title of the vertical axis.
        x_title: title of the horizontal axis.
        log: whether the vertical axis is logarithmic.
        percent: whether values are shares, shown in per cent.
        grey: names of the reference series, drawn in grey.
    """
    figure = _empty()
    for number, (name, values) in enumerate(series.items()):
        colour = _GREY if name in grey else _COLOURS[number % len(_COLOURS)]
        figure.add_bar(x=list(labels), y=list(values), name=name, marker_color=colour)
    figure.update_xaxes(type="category")
    figure.update_layout(bargap=max(0.25, 1 - 0.15 * len(labels)))
    if log:
        present = [value for values in series.values() for value in values if value]
        _log_axis(figure, [1.0, *present])
        figure.update_yaxes(range=[math.log10(0.5), math.log10(1.5 * max([1.0, *present]))])
    if percent:
        figure.update_yaxes(tickformat=".0%", range=[0, 1])
    return plotly_json(figure, x_title, y_title, _HEIGHT)


def branching(children: Sequence[np.ndarray]) -> dict[str, Any]:
    """Draw the distribution of the number of children per prefix, binned by powers of two.

    Args:
        children: per depth 1, 2, ..., the number of distinct next codes of each prefix of that depth.
    """
    top = max(int(of_depth.max()) for of_depth in children).bit_length()
    names = [f"{1 << b}" if b == 0 else f"{1 << b}-{(2 << b) - 1}" for b in range(top)]
    series: dict[str, list[float | None]] = {}
    for depth, of_depth in enumerate(children, start=1):
        binned = np.bincount(np.floor(np.log2(of_depth)).astype(np.int64), minlength=top)
        series[f"after {depth} code{'s' * (depth > 1)}"] = (binned / len(of_depth)).tolist()
    return bars(names, series, "share of the prefixes", "distinct next codes", percent=True)


def item_map(
    points: np.ndarray, first_codes: np.ndarray, texts: Sequence[str], shares: tuple[float, float], highlight: bool
) -> dict[str, Any]:
    """Draw items as points in the plane, coloured by the first code of their index.

    Args:
        points: float ``[n, 2]``.
        first_codes: int64 ``[n]``.
        texts: n hover texts, plain; they are escaped here.
        shares: shares of the variance that the two axes explain.
        highlight: whether the most common codes get a colour and a legend entry each and the others are grey; otherwise
            every code has its own colour, without a legend.
    """
    figure = _empty()
    codes, counts = np.unique(first_codes, return_counts=True)
    common = codes[np.argsort(-counts, kind="stable")][:_HIGHLIGHTED] if highlight else codes[:0]
    others = np.flatnonzero(~np.isin(first_codes, common))
    if len(others):
        colour = _GREY if highlight else [_hue(int(code)) for code in first_codes[others]]
        name = "other codes" if highlight else "all codes"
        _add_points(figure, points, others, texts, name, colour, 0.35 if highlight else 0.8)
    for number, code in enumerate(common):
        rows = np.flatnonzero(first_codes == code)
        _add_points(figure, points, rows, texts, f"&lt;a_{code}&gt;", _hue(number), 0.95)
    figure.update_layout(showlegend=highlight, hovermode="closest")
    figure.update_layout(legend={"orientation": "v", "x": 1.02, "y": 0.94, "yanchor": "top"})
    titles = [f"component {axis + 1} ({share:.1%} of the variance)" for axis, share in enumerate(shares)]
    return plotly_json(figure, titles[0], titles[1], height=460)


def _add_points(
    figure: go.Figure,
    points: np.ndarray,
    rows: np.ndarray,
    texts: Sequence[str],
    name: str,
    colour: str | list[str],
    opacity: float,
) -> None:
    figure.add_scatter(
        x=points[rows, 0].astype(np.float32),
        y=points[rows, 1].astype(np.float32),
        hovertext=[html.escape(texts[row], quote=False) for row in rows],
        hoverinfo="text",
        name=name,
        mode="markers",
        marker={"color": colour, "size": 5, "opacity": opacity},
    )


def _hue(number: int) -> str:
    """Return distinct colours for consecutive numbers: steps of the golden angle, alternating in lightness."""
    return f"hsl({number * 137.508 % 360:.0f}, 65%, {42 + 14 * (number % 2)}%)"


def _thinned(n: int) -> np.ndarray:
    """Return at most ``_POINTS`` of the positions 0 to n - 1, evenly spaced, including the first and the last."""
    return np.unique(np.linspace(0, n - 1, min(n, _POINTS)).round().astype(np.int64))


def _empty() -> go.Figure:
    return go.Figure(layout={"legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}})


def _log_axis(figure: go.Figure, values: Sequence[float]) -> None:
    """Set a log axis with plain tick labels: all digits within one decade, 1-2-5 within two, else powers of ten."""
    decades = math.log10(max(values) / min(values)) if values else 0.0
    ticks = "D1" if decades <= 1 else "D2" if decades <= 2 else math.ceil(decades / 6)
    figure.update_yaxes(type="log", dtick=ticks, tickformat=",~g")
