"""User data is never interpreted as HTML or script, and every page has the shared frame."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import plotly.graph_objects as go
import pytest
from jinja2 import UndefinedError

from recbole_lcrec.report import Figure, plotly_json, render_page

HOSTILE = "</script><script>alert('&')</script>\"<b>"
TEMPLATE = """{% extends "frame.html.jinja" %}
{% from "macros.html.jinja" import drawn, table %}
{% block title %}{{ text }}{% endblock %}
{% block nav %}<a href="#one">One</a>{% endblock %}
{% block main %}
{{ drawn(figure) }}
{{ table(["column", text], [[text, text]]) }}
{{ table([], [["row"]], numbers=false) }}
{% endblock %}
"""


class Reader(HTMLParser):
    """Collects the tags of a page in order, and the text within each kind of tag."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: dict[str, list[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.tags[-1] if self.tags else "", []).append(data)


@pytest.fixture
def template(tmp_path: Path) -> Path:
    (tmp_path / "some.html.jinja").write_text(TEMPLATE)
    return tmp_path / "some.html.jinja"


def figure() -> Figure:
    made = go.Figure()
    made.add_bar(x=[HOSTILE], y=[1], name=HOSTILE)
    return Figure(HOSTILE, HOSTILE, plotly_json(made, HOSTILE, "users", 300))


def test_hostile_texts_are_escaped(template: Path) -> None:
    page = render_page(template, text=HOSTILE, figure=figure())
    reader = Reader()
    reader.feed(page)
    assert (
        reader.tags.count("script") == 3 and "b" not in reader.tags
    )  # the figure's numbers, plotly.js, the frame's script
    for tag in ("title", "h1", "h3", "figcaption", "td"):
        assert "".join(reader.texts[tag]).strip() == HOSTILE, tag
    drawn = json.loads(reader.texts["script"][0])
    assert drawn["data"][0]["x"] == [HOSTILE] and drawn["layout"]["xaxis"]["title"]["text"] == HOSTILE


def test_a_page_is_self_contained_and_reproducible(template: Path) -> None:
    pages = {render_page(template, text="plain", figure=figure()) for _ in range(2)}
    assert len(pages) == 1
    page = pages.pop()
    assert page.startswith("<!DOCTYPE html>") and page.rstrip().endswith("</html>")
    assert 'src="' not in page.split("<script>")[0] and '<a href="#one">One</a>' in page
    assert page.count('<table class="numbers">') == 1 and page.count("<table>") == 1


def test_missing_template_values_are_an_error(template: Path) -> None:
    with pytest.raises(UndefinedError, match="text"):
        render_page(template, figure=figure())
