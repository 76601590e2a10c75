"""The page of the index report: sections of plain values in, one HTML text out.

Knows the template, what a section may hold and how to put both together so that no text of an item is ever read as
HTML or script. Refuses to know what the sections say and where the page is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

__all__ = ["Card", "Figure", "Row", "Section", "Table", "render"]

_TEMPLATE = "page.html.jinja"


@dataclass(frozen=True)
class Figure:
    """A figure as plotly's JSON, with a sentence on how to read it."""

    title: str
    caption: str
    plot: dict[str, Any]


@dataclass(frozen=True)
class Table:
    """Rows of finished texts under their column names."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Row:
    """An item on the page: its index tokens, parted into those it shares with the card's item and the rest."""

    title: str
    item_id: str
    shared: tuple[str, ...]
    rest: tuple[str, ...]
    cosine: str


@dataclass(frozen=True)
class Card:
    """One item and its neighbours by prefix."""

    item: Row
    neighbours: tuple[Row, ...]


@dataclass(frozen=True)
class Section:
    """A part of the page; ``missing`` says why there is nothing to show."""

    key: str
    title: str
    lead: str
    missing: str = ""
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    cards: tuple[Card, ...] = ()


def render(title: str, sections: Sequence[Section]) -> str:
    """Makes the page, self-contained: figures are drawn by plotly.js, which is part of it.

    The same sections give the same text.

    Args:
        title: of the page, plain text like all texts of the sections.
        sections: in the order of the page.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = Markup(get_plotlyjs().replace("</script", "<\\/script"))
    return environment.get_template(_TEMPLATE).render(title=title, sections=sections, plotly=script)
