"""Rendering of the index report: sections of plain values to one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recbole_lcrec.report import Figure, render_page

__all__ = ["Card", "Row", "Section", "Table", "render"]

_TEMPLATE = Path(__file__).parent / "page.html.jinja"


@dataclass(frozen=True)
class Table:
    """A table of formatted texts with column names."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Row:
    """An item on the page; its index tokens are split into those shared with the card's item and the rest."""

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
    """A section of the page; ``missing`` says why there is nothing to show."""

    key: str
    title: str
    lead: str
    missing: str = ""
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    cards: tuple[Card, ...] = ()


def render(title: str, sections: Sequence[Section]) -> str:
    """Render a self-contained page; figures are drawn by plotly.js, which is embedded.

    The same sections give the same text.

    Args:
        title: title of the page, plain text like all texts of the sections.
        sections: sections in the order of the page.
    """
    return render_page(_TEMPLATE, title=title, sections=sections)
