"""New items in a saved run.

They get indices, and the run can recommend them without further tuning.

``indexing/new_items.py`` computes the indices. The language model is not changed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer

from recbole_lcrec.bridge.catalogue import ItemCatalogue
from recbole_lcrec.bridge.run_log import run_log
from recbole_lcrec.config.configurator import Config
from recbole_lcrec.config.settings import IndexSettings, TextSettings, TuningSettings, WordingSettings
from recbole_lcrec.decoding import Trie
from recbole_lcrec.indexing.embeddings import item_embeddings
from recbole_lcrec.indexing.item_index import ItemIndex, indexed_items, load_index, save_index
from recbole_lcrec.indexing.new_items import extend_index
from recbole_lcrec.indexing.saved import add_to_report, load_method, saved_codebook_sizes
from recbole_lcrec.instructions.template_file import load_templates
from recbole_lcrec.llm.tokens import item_token_ids
from recbole_lcrec.models.indexed_dataset import IndexedDataset
from recbole_lcrec.models.lcrec.inputs import checked_templates
from recbole_lcrec.preparation.locate import artifact_store, require_dataset
from recbole_lcrec.runs.saved import (
    TEMPLATE_FILE,
    SavedCatalogue,
    lacks_files,
    load_titles,
    save_for_recommending,
    titles_name,
)
from recbole_lcrec.runs.saved_config import load_config
from recbole_lcrec.runtime.processes import process_rank

__all__ = ["index_new_items"]


def index_new_items(run: str | Path, values: Mapping[str, Any] | None = None) -> list[str]:
    """Add indices to a saved run for the items of its data set that the run does not know.

    The data set is that of the run's ``config.yaml``, with rows added to its item file or interactions since. The new
    texts are encoded as in the training, the trained codebooks are used unchanged, and no existing index changes. When
    everything is computed and written to temporary files, the run's trie, titles and ``<dataset>.index.json`` are
    replaced, then its report. A tuned run that lacks trie, titles or templates gets them even without new items.

    Args:
        run: folder of a saved run, or of ``python -m recbole_lcrec.indexing``.
        values: parameters that differ from the run's, such as ``data_path`` or ``index_embedding_file``.

    Returns:
        The ids of the new items in the catalogue's order; empty if there are none.

    Raises:
        ValueError: the folder is not such a run, its index was not learned, its method cannot index new items
            (``vanilla``), the new items have no texts or embeddings, or a parameter would change the index.
    """
    folder = Path(run)
    _require_same_index(values or {})
    config, index_file = load_config(folder, values)
    require_dataset(config)
    with run_log(config):
        return _extend(folder, config, index_file)


def _extend(folder: Path, config: Config, index_file: Path) -> list[str]:
    catalogue = ItemCatalogue(config)
    old = indexed_items(index_file)
    known = set(old)
    rows = [row for row, item in enumerate(catalogue.item_ids) if item not in known]
    new = [catalogue.item_ids[row] for row in rows]
    if not new:
        getLogger().info(f"{folder}: all {len(old):,} items have indices already")
        if _is_tuned(folder) and lacks_files(folder, config["dataset"]) and process_rank() == 0:
            _replace(folder, config, catalogue, old, load_index(index_file, old, saved_codebook_sizes(folder)))
            getLogger().info(f"{folder}: trie, titles and templates written; the run can recommend without data set")
        return []
    _require_old(catalogue, old, index_file)
    saved = load_method(folder, torch.device("cpu"))
    settings, embeddings = config.stage(IndexSettings), None
    if saved.method.needs_embeddings:
        _require_source(saved.text, settings, folder)
        embeddings = item_embeddings(
            lambda: catalogue.item_texts.rows(rows),
            new,
            saved.text or config.stage(TextSettings),
            settings,
            artifact_store(config),
            config["device"],
            bool(config["show_progress"]),
        ).vectors
    index = extend_index(saved, load_index(index_file, old, saved.codebook_sizes), embeddings, len(new))
    _warn_of_unlearned_codes(index.codes[: len(old)], index.codes[len(old) :])
    allowed = config["decoding_allowed_items"]
    if allowed is not None:
        getLogger().warning(f"New items will be recommended only if their ids are added to {allowed}, one per line")
    if process_rank() == 0:
        place = {item: number for number, item in enumerate([*old, *new])}
        order = [place[item] for item in catalogue.item_ids]
        ordered = ItemIndex(index.codes[order], index.codebook_sizes)
        _replace(folder, config, catalogue, catalogue.item_ids, ordered)
        add_to_report(folder, {"items": index.n_items, "items_indexed_later": len(new)})
        IndexedDataset(config).save_index(folder)
    getLogger().info(
        f"{index_file}: {len(new):,} new items indexed beside {len(old):,}, {index.sizes_in_words()}, all distinct"
    )
    return new


def _replace(folder: Path, config: Config, catalogue: ItemCatalogue, item_ids: Sequence[str], index: ItemIndex) -> None:
    """Replace a run's index and, in a tuned run, the files for recommending, after all of them are written.

    The index is replaced last: if the process is killed before, the next call finds the same new items and repeats all.
    """
    dataset, partial = config["dataset"], folder / ".extending"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        save_index(index, item_ids, partial / f"{dataset}.index.json")
        if _is_tuned(folder):
            tokenizer: Any = AutoTokenizer.from_pretrained(folder)
            trie = Trie.from_token_ids(item_token_ids(tokenizer, index.item_tokens()))
            titles, vocabulary = _titles(folder, dataset, catalogue, item_ids), tokenizer.get_vocab()
            if (folder / TEMPLATE_FILE).is_file():
                templates = load_templates(folder / TEMPLATE_FILE)
            else:
                templates = checked_templates(config.stage(TuningSettings), config.stage(WordingSettings))
            whole = SavedCatalogue(tuple(item_ids), index, trie, tuple(titles), templates)
            save_for_recommending(partial, dataset, whole, vocabulary)
        for path in sorted(partial.iterdir(), key=lambda path: path.name == f"{dataset}.index.json"):
            os.replace(path, folder / path.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _is_tuned(folder: Path) -> bool:
    """Return whether the folder contains a tuned model, not only an index."""
    return (folder / "tokenizer_config.json").is_file()


def _titles(folder: Path, dataset: str, catalogue: ItemCatalogue, item_ids: Sequence[str]) -> list[str]:
    """Return the present titles of the data set, or those of the run where the data set has none."""
    titles = load_titles(folder, dataset) if (folder / titles_name(dataset)).is_file() else {}
    if catalogue.item_file is not None:
        try:
            texts = catalogue.item_texts
        except ValueError as err:
            getLogger().warning(f"New items have no titles: {err}")
        else:
            titles |= {item: title for item, title in zip(texts.item_ids, texts.titles, strict=True) if title}
    return [titles.get(item, "") for item in item_ids]


def _require_old(catalogue: ItemCatalogue, old: Sequence[str], index_file: Path) -> None:
    gone = sorted(set(old) - set(catalogue.item_ids))
    if gone:
        raise ValueError(
            f"{index_file} contains {len(gone)} items that are no longer in the data set, first {gone[:5]}; restore "
            "them: new items can only be added to the data set of the training"
        )


def _warn_of_unlearned_codes(old: np.ndarray, new: np.ndarray) -> None:
    """Warn of codes that no trained item has, because the language model never learned their tokens."""
    unlearned = np.zeros(len(new), dtype=bool)
    for before, after in zip(old.T, new.T, strict=True):
        unlearned |= ~np.isin(after, before)
    if unlearned.any():
        getLogger().warning(
            f"{int(unlearned.sum()):,} of {len(new):,} new items have a code that no trained item has: the language "
            "model has not learned its token and will rarely generate it; tune again, or learn an index with fewer "
            "codes (index_codebook_size)"
        )


def _require_same_index(values: Mapping[str, Any]) -> None:
    own = ("index_embedding_file", "index_embedding_ids", "index_report")
    bad = sorted(key for key in values if key.startswith(("index_", "text_")) and key not in own)
    if bad:
        raise ValueError(
            f"{', '.join(bad)}: new items are indexed as the run's own items were; leave the key out, or learn a new "
            "index with --dataset"
        )


def _require_source(text: TextSettings | None, settings: IndexSettings, folder: Path) -> None:
    if text is None and settings.embedding_file is None:
        raise ValueError(
            f"{folder}: the index was learned from embeddings of a file; give those of the new items with "
            "index_embedding_file"
        )
    if text is not None and settings.embedding_file is not None:
        raise ValueError(
            f"{folder}: the index was learned from texts by {text.encoder!r}, so embeddings of index_embedding_file = "
            f"{settings.embedding_file!r} do not fit; leave the key out"
        )
