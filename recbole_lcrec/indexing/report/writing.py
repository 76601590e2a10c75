"""Content of the index report, its summary, and writing it to one HTML file.

A section whose data are missing says so in a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recbole_lcrec.indexing.item_index import ItemIndex, index_token
from recbole_lcrec.indexing.purity import PrefixPurity
from recbole_lcrec.indexing.report.meaning import map_section, neighbours_section, purity_section
from recbole_lcrec.indexing.report.page import Section, Table, render
from recbole_lcrec.indexing.report.shape import codes_section, training_section, tree_section
from recbole_lcrec.runtime.artifacts import replace_text

__all__ = ["IndexReport", "write_report"]

_EXPLAINED = {
    "conflict_rate_before": (
        "conflict rate before resolution",
        "(items - distinct indices) / items with every item at its nearest codes",
    ),
    "conflict_rate_after": (
        "conflict rate after resolution",
        "the same for the finished index; 0 means that all indices are distinct",
    ),
    "moved_items": ("items moved", "items that got other codes so that all indices are distinct"),
    "moved_out_of_prefix": ("moved out of their prefix", "moved items whose prefix had more items than codes"),
    "items_indexed_later": ("items indexed later", "items that were added after training"),
    "moved_added_distance": (
        "added distance of moved items",
        "mean increase of the squared distance between latent vector and codes, the cost of distinct indices",
    ),
    "reconstruction_error": (
        "reconstruction error",
        "mean squared error of the embeddings decoded from the codes, per element",
    ),
    "variance_lost": (
        "variance lost",
        "the error as a share of the embeddings' variance; 0% is lossless",
    ),
    "training_seconds": ("training time in seconds", "wall clock"),
    "resolution_seconds": ("conflict resolution time in seconds", "wall clock"),
}
_SHARES = {"conflict_rate_before", "conflict_rate_after", "variance_lost"}
_SHOWN_ELSEWHERE = {"method", "items", "levels", "codebook_sizes", "codes_used", "perplexity"}


@dataclass(frozen=True, eq=False)
class IndexReport:
    """Content of the report.

    Attributes:
        dataset: name of the data set.
        method: index method, such as ``rqvae``.
        item_ids: N original item ids, in row order.
        index: the finished index of the N items.
        titles: N titles, or None where the data set has none.
        numbers: name -> number, text, None or list of these; known names are explained, others shown as they are.
        curve: one mapping per epoch, in order, with ``epoch``, ``reconstruction_loss``, ``quantization_loss``,
            ``codes_used`` and ``perplexity`` (per trained level), ``conflict_rate`` and ``marginal_error`` (None where
            not measured); empty for a method without epochs.
        embeddings: ``[N, D]``, finite, or None.
        purity: label field -> records of ``prefix_purity`` for this index; empty where no label field is set.
        random_purity: label field -> the same for a random index; fields may be missing.
        seed: seed of the sampled examples and of the map's items.

    Raises:
        ValueError: the numbers of rows differ, or ``numbers`` is nested.
    """

    dataset: str
    method: str
    item_ids: Sequence[str]
    index: ItemIndex
    titles: Sequence[str] | None = None
    numbers: Mapping[str, Any] = field(default_factory=dict)
    curve: Sequence[Mapping[str, Any]] = ()
    embeddings: np.ndarray | None = None
    purity: Mapping[str, Sequence[PrefixPurity]] = field(default_factory=dict)
    random_purity: Mapping[str, Sequence[PrefixPurity]] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.index.n_items:
            raise ValueError("the index has no items: there is nothing to report")
        for name, rows in (("item_ids", self.item_ids), ("titles", self.titles), ("embeddings", self.embeddings)):
            if rows is not None and len(rows) != self.index.n_items:
                raise ValueError(f"{name} has {len(rows)} rows for {self.index.n_items} items; give one per item")
        if self.embeddings is not None and (self.embeddings.ndim != 2 or not self.embeddings.shape[1]):
            raise ValueError(f"embeddings must be [N, D], got shape {list(self.embeddings.shape)}")
        nested = [name for name, value in self.numbers.items() if not _flat(value)]
        if nested:
            raise ValueError(f"numbers must be flat, but {nested} hold mappings or lists of lists; remove them")


def write_report(path: Path, data: IndexReport) -> None:
    """Write one self-contained HTML file, atomically; the same content gives the same bytes.

    Args:
        path: the file, in an existing folder; an existing file is replaced.
        data: content of the report.

    Raises:
        OSError: the file cannot be written; no partial file is left.
    """
    codes, sizes = data.index.codes, data.index.codebook_sizes
    names = data.titles if data.titles is not None else data.item_ids
    sections = (
        _summary(data),
        training_section(data.curve, sizes),
        codes_section(codes, sizes),
        tree_section(codes, sizes),
        map_section(codes, data.embeddings, names, data.seed),
        neighbours_section(codes, data.embeddings, data.item_ids, data.titles, data.seed),
        purity_section(data.purity, data.random_purity),
    )
    text = render(f"Item index of {data.dataset} ({data.method})", sections)
    replace_text(path, text)


def _summary(data: IndexReport) -> Section:
    index = data.index
    sizes = index.codebook_sizes
    codes = f"{sizes[0]:,}" if len(set(sizes)) == 1 else ", ".join(f"{size:,}" for size in sizes)
    example = "".join(index_token(level, int(code)) for level, code in enumerate(index.codes[0]))
    rows = [
        ("method", data.method, "how the index was made (index_method)"),
        ("items", f"{index.n_items:,}", "number of items"),
        ("levels", str(index.levels), "codes per index"),
        ("codes per level", codes, "size of each level's codebook"),
        (
            "distinct indices",
            f"{index.n_items - index.n_conflicts():,}",
            "equals the number of items if there are no conflicts",
        ),
        *(_number(name, value) for name, value in data.numbers.items() if name not in _SHOWN_ELSEWHERE),
    ]
    lead = (
        f"An item index identifies an item by a short sequence of codes, one per level, such as {example}. In a good "
        "index all sequences are distinct, codes are used evenly, and items with similar content share their first "
        "codes (a prefix). This page shows to what extent that holds."
    )
    return Section("summary", "Summary", lead, tables=(Table(("", "value", "meaning"), tuple(rows)),))


def _number(name: str, value: Any) -> tuple[str, str, str]:
    label, meaning = _EXPLAINED.get(name, (name.replace("_", " "), ""))
    if name in _SHARES and value is not None:
        return label, f"{value:.2%}", meaning
    return label, _formatted(value), meaning


def _formatted(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_formatted, value))
    if value is None:
        return "-"
    if isinstance(value, (bool, str)):
        return str(value)
    return f"{value:,}" if isinstance(value, (int, np.integer)) else f"{value:,.4g}"


def _flat(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return not any(isinstance(part, (list, tuple, Mapping)) for part in value)
    return not isinstance(value, (Mapping, np.ndarray))
