"""Content of an index report from an item index and its folder.

It also uses the items' titles and labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recbole_lcrec.config.settings import IndexSettings, TextSettings
from recbole_lcrec.indexing.item_index import ItemIndex
from recbole_lcrec.indexing.methods.random import random_codes
from recbole_lcrec.indexing.purity import prefix_purity
from recbole_lcrec.indexing.report.writing import IndexReport
from recbole_lcrec.indexing.saved import read_report

__all__ = ["make_report"]


def make_report(
    dataset: str,
    item_ids: Sequence[str],
    index: ItemIndex,
    folder: Path | None,
    titles: Sequence[str] | None,
    embeddings: np.ndarray | None,
    labels: Sequence[frozenset[str]] | None,
    settings: IndexSettings,
    text: TextSettings,
    seed: int,
) -> IndexReport:
    """Gather the report's numbers, and measure prefix purity where labels are given.

    Args:
        dataset: name of the data set.
        item_ids: N original item ids, in row order.
        index: the index of the N items.
        folder: holds the numbers of the index's training; None where the index was given.
        titles: N titles, or None.
        embeddings: ``[N, D]``, or None.
        labels: N sets of labels of ``settings.label_field``, or None.
        settings: names the label field.
        text: shows whether the label field is part of the encoded texts.
        seed: of the random index that purity is compared with, and of drawn examples.
    """
    numbers = read_report(folder) if folder else {}
    purity, random_purity = {}, {}
    if settings.label_field and labels is not None:
        encoded = settings.label_field in (*text.title_fields, *text.description_fields)
        name = f"{settings.label_field}{', a part of the encoded texts' if encoded and 'method' in numbers else ''}"
        purity[name] = prefix_purity(index.codes, labels, seed)
        random_purity[name] = prefix_purity(random_codes(index.n_items, index.codebook_sizes, seed), labels, seed)
    return IndexReport(
        dataset=dataset,
        method=numbers.pop("method", "given"),
        item_ids=item_ids,
        index=index,
        titles=titles,
        curve=numbers.pop("curve", ()),
        numbers=numbers,
        embeddings=embeddings,
        purity=purity,
        random_purity=random_purity,
        seed=seed,
    )
