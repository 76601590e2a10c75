"""The report read back: tables, figures and cards agree with plain computations, and texts are escaped."""

import base64
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser

import numpy as np
import pytest

from recbole_lcrec.indexing.item_index import ItemIndex
from recbole_lcrec.indexing.purity import PrefixPurity, prefix_purity
from recbole_lcrec.indexing.report import IndexReport, write_report

SECTIONS = ["summary", "training", "codes", "tree", "map", "neighbours", "purity"]


@dataclass
class Part:
    """What a reader finds in one section."""

    text: str = ""
    missing: str = ""
    rows: list = field(default_factory=list)
    figures: list = field(default_factory=list)
    cards: list = field(default_factory=list)
    marks: list = field(default_factory=list)


class Page(HTMLParser):
    """Sections of the page; scripts and links are counted wherever they are."""

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.text = path.read_text(encoding="utf-8")
        self.parts, self.tags, self.open, self.links, self.title = {}, Counter(), [], [], ""
        self.part = None
        self.feed(self.text)
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags[tag] += 1
        self.links += [attributes[name] for name in ("src", "href") if name in attributes]
        if tag not in ("meta", "link", "img", "br"):
            self.open.append((tag, attributes))
        if tag == "section":
            self.part = self.parts.setdefault(attributes["id"], Part())
        if self.part is None:
            return
        if tag == "tr":
            self.part.rows.append([])
        if tag in ("td", "th"):
            self.part.rows[-1].append("")
        if tag == "article":
            self.part.cards.append("")
        if tag == "mark":
            self.part.marks.append("")

    def handle_endtag(self, tag):
        opened, _ = self.open.pop()
        assert opened == tag, f"<{opened}> closed by </{tag}>"
        if tag == "section":
            self.part = None

    def handle_data(self, data):
        tags = [tag for tag, _ in self.open]
        if not tags:
            return
        if tags[-1] == "title":
            self.title += data
        if self.part is None:
            return
        if tags[-1] == "script":
            assert self.open[-1][1] == {"type": "application/json"}
            self.part.figures.append(json.loads(data))
            return
        self.part.text += data
        if tags[-1] in ("td", "th"):
            self.part.rows[-1][-1] += data
        if self.open[-1][1].get("class") == "missing" and "article" not in tags:
            self.part.missing += data
        if "article" in tags:
            self.part.cards[-1] += data
        if tags[-1] == "mark":
            self.part.marks[-1] += data


def numbers(values):
    """A figure's values; plotly packs arrays."""
    if isinstance(values, dict):
        return np.frombuffer(base64.b64decode(values["bdata"]), dtype=values["dtype"])
    return np.array(values, dtype=object)


def traces(figure):
    return {trace["name"]: trace for trace in figure["data"]}


def written(tmp_path, report):
    path = tmp_path / "index_report.html"
    write_report(path, report)
    page = Page(path)
    assert list(page.parts) == SECTIONS and not page.open
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    return page


def small(n=40, **changes):
    rng = np.random.default_rng(0)
    codes = np.unique(rng.integers(0, 4, (3 * n, 3)), axis=0)[:n]
    codes = codes[rng.permutation(len(codes))]
    fields = {
        "dataset": "shop",
        "method": "rqvae",
        "item_ids": [f"i{row}" for row in range(len(codes))],
        "index": ItemIndex(codes, (4, 4, 4)),
        "titles": [f"Title {row}" for row in range(len(codes))],
        "embeddings": rng.normal(size=(len(codes), 6)),
        "seed": 7,
    }
    return IndexReport(**{**fields, **changes})


def epochs(n, **changes):
    return [
        {
            "epoch": epoch,
            "reconstruction_loss": 1 / epoch,
            "quantization_loss": 0.5 / epoch,
            "conflict_rate": 0.1 if epoch % 2 else None,
            "codes_used": [4, 3, epoch % 4 + 1],
            "perplexity": [3.5, 2.5, 1.0 + epoch / n],
            "marginal_error": None,
            **changes,
        }
        for epoch in range(1, n + 1)
    ]


def test_summary_explains_the_numbers(tmp_path):
    given = {"conflict_rate_before": 0.0469, "moved_items": 1234, "moved_added_distance": 0.01234567, "items": 99}
    page = written(tmp_path, small(numbers={**given, "brand_new": [1, 2.5, None]}))
    found = {row[0]: row[1:] for row in page.parts["summary"].rows}
    assert page.title == "Item index of shop (rqvae)"
    assert found["items"][0] == "40" and found["levels"][0] == "3" and found["codes per level"][0] == "4"
    assert found["conflict rate before resolution"][0] == "4.69%"
    assert found["items moved"][0] == "1,234"
    assert found["added distance of moved items"][0] == "0.01235"
    assert found["brand new"] == ["1, 2.5, -", ""]
    assert all(row[2] for row in page.parts["summary"].rows[1:-1])


def test_training_curves(tmp_path):
    figures = written(tmp_path, small(curve=epochs(20))).parts["training"].figures
    assert len(figures) == 4, "no figure for a number that was never measured"
    losses, conflicts, used, perplexity = map(traces, figures)
    np.testing.assert_allclose(numbers(losses["reconstruction"]["y"]).astype(float), 1 / np.arange(1, 21))
    assert numbers(conflicts["conflict rate"]["x"]).tolist() == list(range(1, 21, 2))
    assert numbers(used["level c"]["y"]).tolist() == [(epoch % 4 + 1) / 4 for epoch in range(1, 21)]
    assert numbers(perplexity["level b"]["y"]).tolist() == [2.5] * 20
    measured = written(tmp_path, small(curve=epochs(3, marginal_error=0.01))).parts["training"].figures
    assert numbers(measured[4]["data"][0]["y"]).tolist() == [0.01] * 3


def test_a_long_curve_is_thinned_to_its_ends(tmp_path):
    figures = written(tmp_path, small(curve=epochs(5000))).parts["training"].figures
    drawn = numbers(traces(figures[0])["quantization"]["x"]).tolist()
    assert len(drawn) <= 400 and (drawn[0], drawn[-1]) == (1, 5000)


def test_use_of_codes(tmp_path):
    codes = np.array([[0, 0], [0, 1], [0, 2], [1, 0]])
    part = written(tmp_path, small(index=ItemIndex(codes, (3, 8)), **rows_of(4))).parts["codes"]
    found = {row[0]: row[1:4] + row[5:] for row in part.rows[1:]}
    assert found == {"level a": ["3", "2", "66.7%", "3", "1.3"], "level b": ["8", "3", "37.5%", "2", "0.5"]}
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert part.rows[1][4] == f"{np.exp(entropy):.1f}"
    drawn = traces(part.figures[0])
    assert numbers(drawn["level a"]["y"]).tolist() == [3, 1, 0]
    assert numbers(drawn["level b"]["y"]).tolist() == [2, 1, 1, 0, 0, 0, 0, 0]


def rows_of(n, **others):
    rng = np.random.default_rng(n)
    return {
        "item_ids": [f"i{row}" for row in range(n)],
        "titles": None,
        "embeddings": rng.normal(size=(n, 5)),
        **others,
    }


def test_tree(tmp_path):
    report = small()
    part = written(tmp_path, report).parts["tree"]
    rows = [tuple(row) for row in report.index.codes.tolist()]
    for depth in range(4):
        prefixes = {row[:depth] for row in rows}
        found = part.rows[1 + depth]
        assert found[1] == str(len(prefixes)) and found[2] == str(min(40, 4**depth))
        assert found[3] == f"{40 / len(prefixes):.2f}"
        if depth < 3:
            children = [len({row[depth] for row in rows if row[:depth] == prefix}) for prefix in prefixes]
            assert found[5:7] == [f"{np.mean(children):.2f}", str(max(children))]
            assert found[7] == f"{children.count(1) / len(children):.1%}"
    distinct, branches = map(traces, part.figures)
    assert numbers(distinct["distinct"]["y"]).tolist() == [len({row[:depth] for row in rows}) for depth in (1, 2, 3)]
    assert [sum(numbers(trace["y"])) for trace in branches.values()] == pytest.approx([1, 1])


def test_branching_bins(tmp_path):
    codes = np.array([[0, 0], [1, 0], [1, 1], [2, 0], [2, 1], [2, 2], [3, 0], [3, 1], [3, 2], [3, 3]])
    part = written(tmp_path, small(index=ItemIndex(codes, (4, 4)), **rows_of(10))).parts["tree"]
    (trace,) = part.figures[1]["data"]
    assert trace["x"] == ["1", "2-3", "4-7"] and numbers(trace["y"]).tolist() == [0.25, 0.5, 0.25]


def test_map_keeps_planar_distances_and_groups(tmp_path):
    """Points in a plane keep their distances, and groups of equal points explain all variance."""
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.normal(size=(6, 2)))[0].T
    codes = np.array([[row % 4, row // 4] for row in range(40)])
    flat = rng.normal(size=(4, 2))[codes[:, 0]]
    part = written(
        tmp_path, small(index=ItemIndex(codes, (4, 10)), embeddings=flat @ basis + 3, item_ids=list(range(40)))
    ).parts["map"]
    highlighted, coloured = part.figures
    (trace,) = coloured["data"]
    drawn = np.column_stack([numbers(trace["x"]), numbers(trace["y"])]).astype(float)
    distances = np.linalg.norm(drawn[:, None] - drawn[None], axis=-1)
    np.testing.assert_allclose(distances, np.linalg.norm(flat[:, None] - flat[None], axis=-1), atol=1e-5)
    assert "explains 100.0% of these items' variance" in part.text and "random codes would explain 7.7%" in part.text
    assert len(set(trace["marker"]["color"])) == 4
    assert [trace["name"] for trace in highlighted["data"]] == [f"&lt;a_{code}&gt;" for code in range(4)]
    assert trace["hovertext"][5] == "Title 5  &lt;a_1&gt;&lt;b_1&gt;"


def test_explained_variance_by_loops(tmp_path):
    report = small()
    part = written(tmp_path, report).parts["map"]
    codes, points = report.index.codes[:, 0], report.embeddings
    within = sum(((points[codes == code] - points[codes == code].mean(axis=0)) ** 2).sum() for code in range(4))
    explained = 1 - within / ((points - points.mean(axis=0)) ** 2).sum()
    assert f"explains {explained:.1%} of" in part.text


def test_map_samples_a_large_catalogue(tmp_path):
    n = 9000
    codes = np.stack([np.arange(n) % 90, np.arange(n) // 90], axis=1)
    report = small(index=ItemIndex(codes, (90, 100)), **rows_of(n))
    page = written(tmp_path, report)
    highlighted, coloured = page.parts["map"].figures
    assert [len(numbers(trace["x"])) for trace in coloured["data"]] == [4000]
    assert sum(len(numbers(trace["x"])) for trace in highlighted["data"]) == 4000
    assert len(highlighted["data"]) == 13 and highlighted["data"][0]["name"] == "other codes"
    assert "Shown: 4,000 of 9,000 items" in page.parts["map"].text
    assert len(page.text) < 7_000_000


def test_neighbours_by_exhaustive_comparison(tmp_path):
    report = small()
    part = written(tmp_path, report).parts["neighbours"]
    codes, points = report.index.codes.tolist(), report.embeddings
    assert len(part.cards) == 12
    marks = iter(part.marks)
    for card in part.cards:
        rows = [int(row) for row in re.findall(r"item i(\d+)", card)]
        item, found = rows[0], rows[1:]

        def shared(other, item=item):
            return next((h for h in range(3) if codes[other][h] != codes[item][h]), 3)

        def cosine(other, item=item):
            return points[other] @ points[item] / np.linalg.norm(points[other]) / np.linalg.norm(points[item])

        others = [other for other in range(40) if other != item and shared(other)]
        assert found == sorted(others, key=lambda other: (-shared(other), -cosine(other)))[:5]
        for other in found:
            assert f"Title {other}\n" in card and f"cosine {cosine(other):.2f}" in card
            tokens = [f"<{'abc'[h]}_{code}>" for h, code in enumerate(codes[other])]
            assert next(marks) == "".join(tokens[: shared(other)])
    assert next(marks, None) is None


def test_purity_table_and_bars(tmp_path):
    ours = [PrefixPurity(1, 5, 90, 100, 0.5, 0.125), PrefixPurity(2, 0, 0, 100, None, None)]
    random = [PrefixPurity(1, 5, 95, 100, 0.2, 0.19), PrefixPurity(2, 1, 2, 100, 0.5, 0.6)]
    part = written(tmp_path, small(purity={"brand": ours}, random_purity={"brand": random})).parts["purity"]
    assert part.rows[1:] == [
        ["this index", "1", "50.0%", "12.5%", "+37.5 points", "90", "100", "5"],
        ["this index", "2", "-", "-", "-", "0", "100", "0"],
        ["random index", "1", "20.0%", "19.0%", "+1.0 points", "95", "100", "5"],
        ["random index", "2", "50.0%", "60.0%", "-10.0 points", "2", "100", "1"],
    ]
    bars = {name: numbers(trace["y"]).tolist() for name, trace in traces(part.figures[0]).items()}
    assert bars == {"purity": [0.5, None], "chance": [0.125, None], "random index": [0.2, 0.5]}


def test_missing_data_are_reported(tmp_path):
    page = written(tmp_path, small(titles=None, embeddings=None))
    missing = {key: part.missing for key, part in page.parts.items() if part.missing}
    assert set(missing) == {"training", "map", "purity"}
    assert "not trained in epochs" in missing["training"]
    assert "no embeddings" in missing["map"] and "index_label_field" in missing["purity"]
    assert "no titles, so item ids are shown" in page.parts["neighbours"].text
    assert not page.parts["map"].figures and "cosine" not in "".join(page.parts["neighbours"].cards)


def test_vanilla(tmp_path):
    codes = np.arange(50)[:, None]
    labels = [frozenset("x")] * 50
    purity = {"genre": prefix_purity(codes, labels)}
    page = written(tmp_path, small(method="vanilla", index=ItemIndex(codes, (50,)), **rows_of(50, purity=purity)))
    assert page.parts["codes"].rows[1][:5] == ["level a", "50", "50", "100.0%", "50.0"]
    assert "none of the items drawn shares its first code" in page.parts["neighbours"].missing
    assert page.parts["purity"].rows[1] == ["this index", "1", "-", "-", "-", "0", "50", "0"]
    assert not page.parts["purity"].figures and len(page.parts["map"].figures) == 1
    assert "colours show no groups" in page.parts["map"].text


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("dimensions", [1, 5])
def test_very_small_catalogues(tmp_path, n, dimensions):
    codes = np.array([[0, 0], [0, 1]])[:n]
    page = written(tmp_path, small(index=ItemIndex(codes, (2, 2)), **rows_of(n, embeddings=np.ones((n, dimensions)))))
    assert "at least three items" in page.parts["map"].missing
    assert page.parts["tree"].rows[-1][:2] == ["2", str(n)]
    assert len(page.parts["neighbours"].cards) == (2 if n == 2 else 0)


@pytest.mark.parametrize("embeddings", [np.full((40, 3), 0.1), np.zeros((40, 3))], ids=["constant", "zero"])
def test_equal_embeddings_have_no_map(tmp_path, embeddings):
    assert written(tmp_path, small(embeddings=embeddings)).parts["map"].missing


def test_embeddings_of_one_dimension_lie_on_a_line(tmp_path):
    line = np.arange(40.0)[:, None]
    (trace,) = written(tmp_path, small(embeddings=line)).parts["map"].figures[1]["data"]
    assert set(numbers(trace["y"]).tolist()) == {0.0}
    assert np.ptp(numbers(trace["x"])) == pytest.approx(39)


HOSTILE = '</script><script>alert("x")</script><img src=x onerror=alert(1)> <b>$a$</b> %{x} {{ 7 * 7 }} \u2028'


def test_hostile_texts_are_escaped(tmp_path):
    hostile = {"titles": [HOSTILE] * 40, "item_ids": [HOSTILE + str(row) for row in range(40)]}
    labels = {HOSTILE: [PrefixPurity(1, 5, 90, 100, 0.5, 0.125)]}
    page = written(
        tmp_path, small(**hostile, dataset=HOSTILE, method=HOSTILE, numbers={HOSTILE: HOSTILE}, purity=labels)
    )
    clean = written(tmp_path, small(purity={"brand": labels[HOSTILE]}, numbers={"x": "y"}))
    assert page.tags == clean.tags, "no element came from a text"
    assert page.parts["neighbours"].cards[0].count(HOSTILE) == 12
    hover = page.parts["map"].figures[1]["data"][0]["hovertext"][0]
    assert "<" not in hover and hover.startswith('&lt;/script&gt;&lt;script&gt;alert("x")&lt;/script&gt;')


def test_the_page_is_self_contained_and_reproducible(tmp_path):
    page = written(tmp_path, small(curve=epochs(3)))
    assert page.links and all(link.startswith("#") for link in page.links)
    assert page.tags["script"] == 2 + sum(len(part.figures) for part in page.parts.values())
    assert written(tmp_path, small(curve=epochs(3))).text == page.text
    assert written(tmp_path, small(curve=epochs(3), seed=8)).text != page.text


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "index_report.html"
    path.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(path, small())
    assert [file.name for file in tmp_path.iterdir()] == [path.name] and path.read_text() == "old"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"titles": ["one"]}, "titles has 1 rows for 40 items"),
        ({"item_ids": []}, "item_ids has 0 rows"),
        ({"embeddings": np.zeros((3, 4))}, "embeddings has 3 rows"),
        ({"embeddings": np.zeros(40)}, r"embeddings must be \[N, D\]"),
        ({"numbers": {"curve": [{"epoch": 1}]}}, r"numbers must be flat, but \['curve'\]"),
        ({"index": ItemIndex(np.zeros((0, 1), int), (2,))}, "no items"),
    ],
)
def test_bad_input(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)
