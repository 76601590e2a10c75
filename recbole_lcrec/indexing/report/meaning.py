"""Sections on the meaning of an index: do items with a common prefix have like texts, titles and labels?

Knows codes beside embeddings, titles and measured purity, and the words that explain them. Refuses to know how codes
were learned, HTML and files: texts stay plain, whoever makes a page escapes them.
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
    """Embeddings in the plane of their two principal components, coloured by first code; a seeded sample of items."""
    title = "Map of the items"
    lead = "Each dot is an item, placed by its text embedding: items of like texts lie near one another."
    if embeddings is None:
        return Section("map", title, lead, "No map: there are no embeddings of the items.")
    rows = _drawn(len(codes), _DRAWN, seed)
    points = np.asarray(embeddings[rows], dtype=np.float64)
    total = float(((points - points.mean(axis=0)) ** 2).sum())
    if len(rows) < 3 or total <= 1e-12 * float((points**2).sum()):
        return Section("map", title, lead, "No map: it takes at least three items whose embeddings differ.")
    plane, shares = _plane(points)
    first = codes[rows, 0]
    texts = [f"{_short(names[row])}  {_quoted(codes[row])}" for row in rows]
    lead += f" Drawn: {len(rows):,} of {len(codes):,} items, in the plane of the two principal components."
    coloured = Figure(
        "All first codes",
        "Every first code has a colour; with many codes colours repeat nearly, so look for patches.",
        figures.item_map(plane, first, texts, shares, highlight=False),
    )
    n_groups = len(np.unique(first))
    if n_groups == len(rows):
        lead += " Each has a first code of its own, so the colours show no groups."
        return Section("map", title, lead, figures=(coloured,))
    lead += (
        " If the first code means something, dots of one colour lie together. Knowing the first code explains "
        f"{_explained(points, first):.1%} of these items' variance in all dimensions; codes dealt at random would "
        f"explain {(n_groups - 1) / (len(rows) - 1):.1%}."
    )
    highlighted = Figure(
        "The commonest first codes",
        "The twelve first codes with the most items have a colour each; the items of all others are grey.",
        figures.item_map(plane, first, texts, shares, highlight=True),
    )
    return Section("map", title, lead, figures=(highlighted, coloured))


def _plane(points: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Two principal components ``[n, 2]`` and their shares of the variance; one dimension lies on the first axis."""
    pca = PCA(min(2, points.shape[1]), svd_solver="full").fit(points)
    missing = 2 - pca.n_components_
    plane = np.pad(pca.transform(points), ((0, 0), (0, missing)))
    first, second = np.pad(pca.explained_variance_ratio_, (0, missing)).tolist()
    return plane, (first, second)


def _explained(points: np.ndarray, codes: np.ndarray) -> float:
    """Share of the points' variance that lies between the groups of equal code, not within them."""
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
    """Random items, seeded, and the items that share the longest prefix with each."""
    title = "Does the prefix mean something?"
    order = "the most similar embedding first" if embeddings is not None else "in the catalogue's order"
    lead = (
        f"Items drawn at random, each with the items that share the longest prefix of its index; those that share "
        f"equally much stand {order}. Shared codes are marked. Where the index means something, neighbours are alike, "
        "and the more so the more codes they share."
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
    """Purity of labels per prefix depth, beside chance and beside the ``random`` method where it was measured."""
    title = "Purity of prefixes"
    lead = (
        "Labels are an outside witness where they are no part of the encoded texts. Purity is the share of items that "
        "carry the commonest label among the items of their prefix; prefixes that only one labelled item has are not "
        "counted. Chance is the same in the same tree with the labels dealt at random: small groups look pure by "
        "chance, so compare purity with chance at the same depth, not one depth with another."
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
            "No bar: no two labelled items share a prefix of that depth. A bar that rests on few items says little; "
            "the table has their number."
        )
        if field in random_purity:
            by_depth = {record.depth: record.purity for record in random_purity[field]}
            series["random index"] = [by_depth.get(record.depth) for record in records]
            rows += [("random index", record) for record in random_purity[field]]
            caption += " The random index has a tree of its own; its chance is in the table."
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
    """Rows of a seeded sample without replacement; all rows where there are no more."""
    return np.sort(np.random.default_rng(seed).choice(n, min(n, count), replace=False))


def _short(text: str) -> str:
    return text if len(text) <= _TITLE else f"{text[: _TITLE - 1].rstrip()}…"


def _quoted(codes: np.ndarray) -> str:
    return "".join(index_token(level, int(code)) for level, code in enumerate(codes))
