"""The index stage: item indices from a file, or learned from texts or embeddings.

It takes plain values (ids, texts, settings, paths), so that any model that generates item indices can use it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from recbole_lcrec.config.settings import IndexSettings, TextSettings
from recbole_lcrec.data.item_text import ItemTexts
from recbole_lcrec.indexing.conflicts import resolve_without_embeddings
from recbole_lcrec.indexing.embeddings import item_embeddings
from recbole_lcrec.indexing.item_index import ItemIndex, indexed_items, load_index
from recbole_lcrec.indexing.learn import learn_item_index, require_room
from recbole_lcrec.indexing.methods import index_method
from recbole_lcrec.indexing.saved import saved_codebook_sizes
from recbole_lcrec.indexing.sizes import sized
from recbole_lcrec.preparation.forms.convert import numbers_first
from recbole_lcrec.runtime.artifacts import ArtifactStore

__all__ = ["IndexStage", "IndexedItems", "index_items"]


@dataclass(frozen=True)
class IndexStage:
    """Inputs of the index stage.

    Attributes:
        item_ids: N distinct original item ids; they give the row order of the index.
        item_texts: reads the N items' texts in the order of ``item_ids``; called only when texts must be encoded.
        settings: the index method and its sizes.
        text: the text encoder and its options.
        given_index: an index in the published form, used when ``settings.method`` is ``auto``; None where there is
            none.
        store: holds the artifacts.
        seed: of training and of random codes.
        device: where the encoder runs and the index is trained.
        show_progress: whether to draw progress bars.
    """

    item_ids: tuple[str, ...]
    item_texts: Callable[[], ItemTexts]
    settings: IndexSettings
    text: TextSettings
    given_index: Path | None
    store: ArtifactStore
    seed: int
    device: torch.device
    show_progress: bool = True


@dataclass(frozen=True, eq=False)
class IndexedItems:
    """The item index of a catalogue and where it came from.

    Attributes:
        index: one row per item; no two rows are equal.
        folder: holds the index and the method that made it (see ``indexing/saved.py``): an artifact or a saved run;
            None where the index is a file of its own.
        embeddings: float32 ``[N, D]``, for the report; None where none were used or no report is requested.
    """

    index: ItemIndex
    folder: Path | None
    embeddings: np.ndarray | None = None


def index_items(stage: IndexStage) -> IndexedItems:
    """Load the given index, or learn one; an index learned before from the same inputs is reused.

    Raises:
        ValueError: the given index does not fit the items, or no index can be learned; the message says why.
    """
    if stage.settings.method == "auto" and stage.given_index is not None:
        return _given(stage.given_index, stage.item_ids)
    return _learned(stage)


def _given(path: Path, item_ids: tuple[str, ...]) -> IndexedItems:
    sizes = saved_codebook_sizes(path.parent)
    if sizes is not None:
        known = set(indexed_items(path))
        new = [item for item in item_ids if item not in known]
        if new and len(new) < len(item_ids):
            raise ValueError(
                f"{path}: {len(new)} of {len(item_ids)} items of the catalogue are newer than the index, "
                f"first {new[:5]}; give them indices with: python -m recbole_lcrec.indexing --extend={path.parent}"
            )
    index = load_index(path, item_ids, sizes)
    conflicts, moved = index.n_conflicts(), 0
    if conflicts:
        order = np.array(sorted(range(len(item_ids)), key=lambda row: numbers_first(item_ids[row])))
        codes, moved = resolve_without_embeddings(index.codes[order], index.codebook_sizes)
        index = ItemIndex(codes[np.argsort(order)], index.codebook_sizes)
    index.require_unique()
    getLogger().info(
        f"Item index: given in {path}, {index.n_items:,} items, {index.sizes_in_words()}; "
        f"{index.n_items - conflicts:,} distinct rows, {moved} items moved to free codes"
    )
    return IndexedItems(index, path.parent if sizes is not None else None)


def _learned(stage: IndexStage) -> IndexedItems:
    started, settings, text = perf_counter(), stage.settings.resolved(), stage.text
    settings = sized(settings, len(stage.item_ids))
    n_items, device, shown = len(stage.item_ids), stage.device, stage.show_progress
    require_room(n_items, settings)
    embedded = None
    if index_method(settings.method).needs_embeddings:
        embedded = item_embeddings(stage.item_texts, stage.item_ids, text, settings, stage.store, device, shown)
    learned = learn_item_index(
        n_items,
        embedded.vectors if embedded else None,
        settings,
        text if embedded and settings.embedding_file is None else None,
        stage.store,
        stage.seed,
        device,
        shown,
    )
    index, verbs = learned.index, {True: "reused", False: "made"}
    embeddings = f"embeddings {verbs[embedded.reused]} ({embedded.folder}), " if embedded else ""
    if embedded and embedded.folder is None:
        embeddings = f"embeddings from {settings.embedding_file}, "
    getLogger().info(
        f"Item index: {index.n_items:,} items, {index.sizes_in_words()}, all distinct; {embeddings}"
        f"index {verbs[learned.reused]} ({learned.folder}), {perf_counter() - started:.1f} s"
    )
    return IndexedItems(index, learned.folder, embedded.vectors if embedded and settings.report else None)
