"""New items in a saved run: they get indices, and the run can recommend them at once.

Knows a saved run's folder and the data set it was trained on, grown by items since. Refuses to know how codes are
found (``indexing/new_items.py``). The language model is not touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_lcrec.config import Config
from recbole_lcrec.data.catalogue import ItemCatalogue
from recbole_lcrec.data.locate import artifact_store, require_dataset
from recbole_lcrec.dataset import LCRecDataset
from recbole_lcrec.indexing.embeddings import item_embeddings
from recbole_lcrec.indexing.item_index import indexed_items, load_index, save_index
from recbole_lcrec.indexing.new_items import extend_index
from recbole_lcrec.indexing.saved import add_to_report, load_method
from recbole_lcrec.processes import process_rank
from recbole_lcrec.quick_start import run_log
from recbole_lcrec.restore import load_config
from recbole_lcrec.settings import IndexSettings, TextSettings

__all__ = ["index_new_items"]


def index_new_items(run: str | Path, values: Mapping[str, Any] | None = None) -> list[str]:
    """Gives every item of the data set that a saved run does not know an index in that run.

    The data set is the one that the run's ``config.yaml`` names, with rows added to its item file (or interactions)
    since. The new texts are encoded as those of training, the trained codebooks are used as they are, and no existing
    index changes. The run's ``<dataset>.index.json`` is replaced at once when all is done, then its report.

    Args:
        run: folder of a saved run, or of ``python -m recbole_lcrec.indexing``.
        values: parameters that differ from the run's, such as ``data_path`` or ``index_embedding_file``.

    Returns:
        The ids of the items that are new, in the catalogue's order; empty when there are none.

    Raises:
        ValueError: the folder is no such run, its index was given and not learned, its method cannot take new items
            (``vanilla``), the new items have no texts or embeddings, or a parameter would change the index.
    """
    folder = Path(run)
    _require_same_index(values or {})
    config, index_file = load_config(folder, values)
    require_dataset(config)
    with run_log(config):
        return _extend(folder, config, index_file)


def _extend(folder: Path, config: Config, index_file: Path) -> list[str]:
    saved = load_method(folder, torch.device("cpu"))
    catalogue = ItemCatalogue(config)
    old = indexed_items(index_file)
    known = set(old)
    rows = [row for row, item in enumerate(catalogue.item_ids) if item not in known]
    new = [catalogue.item_ids[row] for row in rows]
    if not new:
        getLogger().info(f"{folder}: all {len(old):,} items have indices already")
        return []
    settings, embeddings = IndexSettings.from_config(config), None
    if saved.method.needs_embeddings:
        _require_source(saved.text, settings, folder)
        embeddings = item_embeddings(
            lambda: catalogue.item_texts.rows(rows),
            new,
            saved.text or TextSettings.from_config(config),
            settings,
            artifact_store(config),
            config["device"],
            bool(config["show_progress"]),
        ).vectors
    index = extend_index(saved, load_index(index_file, old, saved.codebook_sizes), embeddings, len(new))
    _warn_of_unlearned_codes(index.codes[: len(old)], index.codes[len(old) :])
    if process_rank() == 0:
        save_index(index, [*old, *new], index_file)
        add_to_report(folder, {"items": index.n_items, "items_indexed_later": len(new)})
        LCRecDataset(config).save_index(folder)
    getLogger().info(
        f"{index_file}: {len(new):,} new items indexed beside {len(old):,}, {index.sizes_in_words()}, all distinct"
    )
    return new


def _warn_of_unlearned_codes(old: np.ndarray, new: np.ndarray) -> None:
    """A code that no item of the training has is a token that the language model never learned."""
    unlearned = np.zeros(len(new), dtype=bool)
    for before, after in zip(old.T, new.T, strict=True):
        unlearned |= ~np.isin(after, before)
    if unlearned.any():
        getLogger().warning(
            f"{int(unlearned.sum()):,} of {len(new):,} new items have a code that no trained item has: the language "
            "model has not learned its token and will hardly name them; tune again, or learn an index with fewer codes "
            "(index_codebook_size)"
        )


def _require_same_index(values: Mapping[str, Any]) -> None:
    own = ("index_embedding_file", "index_embedding_ids", "index_report")
    bad = sorted(key for key in values if key.startswith(("index_", "text_")) and key not in own)
    if bad:
        raise ValueError(
            f"{', '.join(bad)}: new items are indexed as the run's own were; leave the key out, or learn a new index "
            "with --dataset"
        )


def _require_source(text: TextSettings | None, settings: IndexSettings, folder: Path) -> None:
    if text is None and settings.embedding_file is None:
        raise ValueError(
            f"{folder}: the index was learned from embeddings of a file; give those of the new items by "
            "index_embedding_file"
        )
    if text is not None and settings.embedding_file is not None:
        raise ValueError(
            f"{folder}: the index was learned from texts by {text.encoder!r}, so index_embedding_file = "
            f"{settings.embedding_file!r} is of another kind; leave the key out"
        )
