"""Report sections on the meaning of an index.

They show whether items with a common prefix have similar texts, titles and labels.

Texts stay plain; the page escapes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.decomposition import PCA

from recbole_lcrec.indexing.item_index import index_token
from recbole_lcrec.indexing.prefix_tree import prefix_neighbours
from recbole_lcrec.indexing.purity import PrefixPurity
from recbole_lcrec.indexing.report import figures
from recbole_lcrec.indexing.report.page import Card, Row, Section, Table
from recbole_lcrec.report import Figure

__all__ = ["map_section", "neighbours_section", "purity_section"]

_DRAWN = 4000
_EXAMPLES = 12
_NEIGHBOURS = 5
_TITLE = 120
_COUNTED = ("items counted", "of labelled", "prefixes counted")


def map_section(
    codes: np.ndarray,
    embeddings: np.ndarray | None,
    names: Sequence[str],
    seed: int,
) -> Section:
    """Embeddings of a seeded sample of items in the plane of their first two principal components, by first code."""
    title = "Map of the items"
    lead = "Each dot is an item, placed by its text embedding: items with similar texts are close together."
    if embeddings is None:
        return Section("map", title, lead, "No map: there are no embeddings of the items.")
    rows = _drawn(len(codes), _DRAWN, seed)
    points = np.asarray(embeddings[rows], dtype=np.float64)
    total = float(((points - points.mean(axis=0)) ** 2).sum())
    if len(rows) < 3 or total <= 1e-12 * float((points**2).sum()):
        return Section("map", title, lead, "No map: it needs at least three items with different embeddings.")
    plane, shares = _plane(points)
    first = codes[rows, 0]
    texts = [f"{_short(names[row])}  {_token_text(codes[row])}" for row in rows]
    lead += f" Shown: {len(rows):,} of {len(codes):,} items, in the plane of the first two principal components."
    coloured = Figure(
        "All first codes",
        "Every first code has a colour; with many codes some colours are nearly equal, so look for clusters.",
        figures.item_map(plane, first, texts, shares, highlight=False),
    )
    n_groups = len(np.unique(first))
    if n_groups == len(rows):
        lead += " All of them have different first codes, so the colours show no groups."
        return Section("map", title, lead, figures=(coloured,))
    lead += (
        " If the first code is meaningful, dots of one colour cluster. The first code explains "
        f"{_explained(points, first):.1%} of these items' variance over all dimensions; random codes would explain "
        f"{(n_groups - 1) / (len(rows) - 1):.1%}."
    )
    highlighted = Figure(
        "The most common first codes",
        "The twelve first codes with the most items have a colour each; all other items are grey.",
        figures.item_map(plane, first, texts, shares, highlight=True),
    )
    return Section("map", title, lead, figures=(highlighted, coloured))


def _plane(points: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """First two principal components ``[n, 2]`` and their shares of the variance; zeros where there is only one."""
    pca = PCA(min(2, points.shape[1]), svd_solver="full").fit(points)
    missing = 2 - pca.n_components_
    plane = np.pad(pca.transform(points), ((0, 0), (0, missing)))
    first, second = np.pad(pca.explained_variance_ratio_, (0, missing)).tolist()
    return plane, (first, second)


def _explained(points: np.ndarray, codes: np.ndarray) -> float:
    """Share of the points' variance that lies between groups of equal codes, not within them."""
    centred = points - points.mean(axis=0)
    _, groups, sizes = np.unique(codes, return_inverse=True, return_counts=True)
    sums = np.zeros((len(sizes), points.shape[1]))
    np.add.at(sums, groups.reshape(-1), centred)
    return float(((sums**2).sum(axis=1) / sizes).sum() / (centred**2).sum())


def neighbours_section(
    codes: np.ndarray,
    embeddings: np.ndarray | None,
    item_ids: Sequence[str],
    titles: Sequence[str] | None,
    seed: int,
) -> Section:
    """A seeded random sample of items, each with the items that share its longest prefixes."""
    title = "Are prefixes meaningful?"
    order = "most similar embedding first" if embeddings is not None else "in the order of the catalogue"
    lead = (
        f"Randomly sampled items, each with the items that share the longest prefix with it; ties are shown {order}. "
        "Shared codes are highlighted. In a meaningful index these items are similar, and the more so the more codes "
        "they share."
    )
    if titles is None:
        lead += " The data set has no titles, so item ids are shown."

    def row(item: int, shared: int, cosine: float | None) -> Row:
        tokens = tuple(index_token(level, int(code)) for level, code in enumerate(codes[item]))
        name = "" if titles is None else _short(titles[item]) or "(no title)"
        number = "" if cosine is None else f"{cosine:.2f}"
        return Row(name, str(item_ids[item]), tokens[:shared], tokens[shared:], number)

    cards = []
    for item in _drawn(len(codes), _EXAMPLES, seed).tolist():
        near = prefix_neighbours(codes, item, _NEIGHBOURS, embeddings)
        cards.append(Card(row(item, 0, None), tuple(row(other.row, other.shared, other.cosine) for other in near)))
    if not any(card.neighbours for card in cards):
        missing = "No neighbours: none of the items drawn shares its first code with another item."
        return Section("neighbours", title, lead, missing)
    return Section("neighbours", title, lead, cards=tuple(cards))


def purity_section(
    purity: Mapping[str, Sequence[PrefixPurity]], random_purity: Mapping[str, Sequence[PrefixPurity]]
) -> Section:
    """Purity of labels per prefix depth, compared with chance and, where measured, with a random index."""
    title = "Purity of prefixes"
    lead = (
        "Labels that are not part of the encoded texts are an independent test. Purity is the share of items that have "
        "the most common label of their prefix; prefixes with only one labelled item are not counted. Chance is the "
        "purity in the same tree with randomly permuted labels. Small groups look pure by chance, so compare purity "
        "with chance at the same depth, not between depths."
    )
    if not purity:
        return Section("purity", title, lead, "Not measured: no label field is set (index_label_field).")
    drawn, tables = [], []
    for field, records in purity.items():
        depths = [str(record.depth) for record in records]
        series: dict[str, list[float | None]] = {
            "purity": [record.purity for record in records],
            "chance": [record.chance for record in records],
        }
        rows = [("this index", record) for record in records]
        caption = (
            "No bar: no two labelled items share a prefix of that depth. Bars based on few items say little; the table "
            "gives their number."
        )
        if field in random_purity:
            by_depth = {record.depth: record.purity for record in random_purity[field]}
            series["random index"] = [by_depth.get(record.depth) for record in records]
            rows += [("random index", record) for record in random_purity[field]]
            caption += " The random index has a different tree; its chance level is in the table."
        if any(value is not None for values in series.values() for value in values):
            plot = figures.bars(depths, series, "purity", percent=True, grey=("chance",))
            drawn.append(Figure(f"Purity of {field}", caption, plot))
        columns = (field, "depth", "purity", "chance", "above chance", *_COUNTED)
        tables.append(Table(columns, tuple(_purity_row(name, record) for name, record in rows)))
    return Section("purity", title, lead, figures=tuple(drawn), tables=tuple(tables))


def _purity_row(name: str, record: PrefixPurity) -> tuple[str, ...]:
    numbers = ("-", "-", "-")
    if record.purity is not None and record.chance is not None:
        above = 100 * (record.purity - record.chance)
        numbers = (f"{record.purity:.1%}", f"{record.chance:.1%}", f"{above:+.1f} points")
    counted = (f"{record.items:,}", f"{record.labelled:,}", f"{record.prefixes:,}")
    return (name, str(record.depth), *numbers, *counted)


def _drawn(n: int, count: int, seed: int) -> np.ndarray:
    """Draw rows without replacement, seeded; all rows where there are no more than ``count``."""
    return np.sort(np.random.default_rng(seed).choice(n, min(n, count), replace=False))


def _short(text: str) -> str:
    return text if len(text) <= _TITLE else f"{text[: _TITLE - 1].rstrip()}…"


def _token_text(codes: np.ndarray) -> str:
    return "".join(index_token(level, int(code)) for level, code in enumerate(codes))
