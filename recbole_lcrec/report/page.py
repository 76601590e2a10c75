"""Render HTML pages from templates and plain values, with figures drawn by plotly.js.

All values are escaped, so that user data is never interpreted as HTML or script.
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
    """A figure as Plotly JSON, with a title and a sentence on how to read it."""

    title: str
    caption: str
    plot: dict[str, Any]


def render_page(template: Path, **values: Any) -> str:
    """Render a template that extends the shared frame; plotly.js is embedded in the page.

    The same values give the same text.

    Args:
        template: path of the template.
        values: plain values for the template's variables.

    Raises:
        jinja2.UndefinedError: the template uses a variable that is not given.
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
    """Return a figure as Plotly JSON, in the style shared by all pages.

    Args:
        figure: the figure with its traces.
        x_title: title of the horizontal axis.
        y_title: title of the vertical axis.
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
