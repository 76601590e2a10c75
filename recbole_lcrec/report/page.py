"""From a template and plain values to one HTML text, with figures that plotly.js draws.

Knows Jinja, plotly and how both are put together so that no text of a user's data is ever read as HTML or script.
Refuses to know what a page says and where it is written.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

__all__ = ["Figure", "plotly_json", "render_page"]


@dataclass(frozen=True)
class Figure:
    """A figure as plotly's JSON, with a sentence on how to read it."""

    title: str
    caption: str
    plot: dict[str, Any]


def render_page(template: Path, **values: Any) -> str:
    """Fills a template, which extends the frame of all pages; figures are drawn by plotly.js, which the page holds.

    The same values give the same text.

    Args:
        template: its file.
        values: what it names, plain texts throughout.

    Raises:
        jinja2.UndefinedError: the template names what is not among the values.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = Markup(get_plotlyjs().replace("</script", "<\\/script"))
    return environment.get_template(template.name).render(**values, plotly=script)


def plotly_json(figure: go.Figure, x_title: str, y_title: str, height: int) -> dict[str, Any]:
    """A figure as plotly's JSON, in the looks of all pages.

    Args:
        figure: its traces.
        x_title: of the horizontal axis.
        y_title: of the vertical one.
        height: in pixels.
    """
    for update, title in ((figure.update_xaxes, x_title), (figure.update_yaxes, y_title)):
        update(title={"text": title, "font": {"size": 13}}, automargin=True, zeroline=False)
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        barmode="group",
        font={"size": 12},
    )
    plot: dict[str, Any] = json.loads(figure.to_json())
    return plot
