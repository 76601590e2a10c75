"""The data stage of LC-Rec: RecBole's sequential data set that also has item texts, item indices and instructions.

Knows the Config and calls three rooms: data, indexing, instructions. Refuses to know language models and ranking.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property
from importlib.metadata import version
from logging import getLogger
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from recbole_lcrec.data.convert import numbers_first
from recbole_lcrec.data.item_text import ItemTexts, read_item_texts, require_texts
from recbole_lcrec.data.loading import ExactTimeOrder, SequentialDataset
from recbole_lcrec.data.locate import artifact_store, prepare_data_files, require_columns, require_dataset
from recbole_lcrec.data.sequences import UserSequences, training_sequences
from recbole_lcrec.indexing.conflicts import resolve_without_embeddings
from recbole_lcrec.indexing.item_index import ItemIndex, load_index
from recbole_lcrec.indexing.learn import learn_item_index, read_index, write_learned
from recbole_lcrec.indexing.text_encoder import encode_item_texts, resolve_encoder
from recbole_lcrec.instructions.mixture import InstructionSource, SequentialInstructions, StreamInstructions
from recbole_lcrec.instructions.templates import Templates
from recbole_lcrec.settings import IndexSettings, TextSettings, TuningSettings

__all__ = ["LCRecDataset", "check_inputs"]


class LCRecDataset(ExactTimeOrder, SequentialDataset):
    """A sequential data set whose items have indices.

    Attributes:
        item_ids: the N original item ids; row r is RecBole's item id r + 1.
        item_index: the item indices, one row per item.
    """

    def __init__(self, config: Any) -> None:
        """Loads the interactions and makes or loads the item indices.

        Args:
            config: a :class:`recbole_lcrec.config.Config`.

        Raises:
            ValueError: the data set, its texts or its index are missing or damaged, or the catalogue is too small.
        """
        files = prepare_data_files(config)
        self.given_index = Path(config["index_file"]) if config["index_file"] else files.index
        super().__init__(config)
        self.item_ids = tuple(str(token) for token in self.field2id_token[self.iid_field][1:])
        _check_catalogue(len(self.item_ids), max(config["topk"]))
        self.item_index = self._make_index(IndexSettings.from_config(config))

    @cached_property
    def item_texts(self) -> ItemTexts:
        """Titles and descriptions of the items, in the order of ``item_ids``."""
        settings = TextSettings.from_config(self.config)
        path = Path(self.dataset_path) / f"{self.dataset_name}.item"
        return read_item_texts(
            path if path.is_file() else None,
            self.item_ids,
            self.iid_field,
            settings.title_fields,
            settings.description_fields,
            self.config["field_separator"],
        )

    def tokenizer_texts(self, templates: Templates) -> list[str]:
        """What a tokenizer from scratch learns from: templates, and the items' texts where there are any."""
        has_texts = (Path(self.dataset_path) / f"{self.dataset_name}.item").is_file()
        if not has_texts:
            return templates.texts()
        try:
            texts = self.item_texts
        except ValueError as err:
            getLogger().warning(f"The tokenizer learns from the templates alone: {err}")
            return templates.texts()
        return [*templates.texts(), *(text for text in (*texts.titles, *texts.descriptions) if text)]

    def _make_index(self, settings: IndexSettings) -> ItemIndex:
        if settings.method == "auto" and self.given_index is not None:
            return self._load_given(self.given_index)
        return self._learn(settings)

    def _load_given(self, path: Path) -> ItemIndex:
        index = load_index(path, self.item_ids)
        conflicts = index.n_conflicts()
        moved = 0
        if conflicts:
            order = np.array(sorted(range(len(self.item_ids)), key=lambda row: numbers_first(self.item_ids[row])))
            sizes = [index.codebook_size] * index.levels
            codes, moved = resolve_without_embeddings(index.codes[order], sizes)
            index = ItemIndex(codes[np.argsort(order)], index.codebook_size)
        index.require_unique()
        getLogger().info(
            f"Item index: given in {path}, {index.n_items:,} items, {index.levels} levels x {index.codebook_size} "
            f"codes; {index.n_items - conflicts:,} distinct rows, {moved} items moved to free codes"
        )
        return index

    def _learn(self, settings: IndexSettings) -> ItemIndex:
        texts, store, started = self.item_texts, artifact_store(self.config), perf_counter()
        require_texts(texts)
        encoding = TextSettings.from_config(self.config)
        device, seed, shown = self.config["device"], int(self.config["seed"]), bool(self.config["show_progress"])
        encoder = Path(resolve_encoder(encoding.encoder))
        embedded = store.get_or_build(
            "embeddings",
            {
                "texts": texts,
                "encoder": encoder if encoder.is_dir() else encoding.encoder,
                "max_length": encoding.max_length,
                "libraries": _versions("torch", "transformers"),
            },
            lambda folder: np.save(folder / "embeddings.npy", encode_item_texts(texts, encoding, device, shown)),
        )
        embeddings = np.load(embedded.path / "embeddings.npy", allow_pickle=False)
        learned = store.get_or_build(
            "index",
            {
                "embeddings": embeddings,
                "items": self.item_ids,
                "settings": dataclasses.replace(settings, method="rqvae", file=None),  # auto learns the same index
                "seed": seed,
                "libraries": _versions("torch", "scipy"),
            },
            lambda folder: write_learned(
                learn_item_index(embeddings, settings, seed, device, shown), self.item_ids, folder
            ),
        )
        index = read_index(learned.path, self.item_ids)
        index.require_unique()
        verbs = {True: "reused", False: "made"}
        getLogger().info(
            f"Item index: {index.n_items:,} items, {index.levels} levels x {index.codebook_size} codes, all distinct; "
            f"embeddings {verbs[embedded.reused]} ({embedded.path}), index {verbs[learned.reused]} ({learned.path}), "
            f"{perf_counter() - started:.1f} s"
        )
        return index

    def sequences(self) -> UserSequences:
        """The users' sequences of this split; meant for the training split that :meth:`build` returns first."""
        feat = self.inter_feat
        return training_sequences(
            feat[self.uid_field].numpy(),
            feat[self.iid_field].numpy(),
            feat[self.item_list_length_field].numpy(),
            feat[self.item_id_list_field][:, 0].numpy(),
        )

    def instructions(self, settings: TuningSettings, templates: Templates, max_history: int) -> InstructionSource:
        """The tuning data of this (training) split.

        Args:
            settings: which form the sequential task has.
            templates: the wordings.
            max_history: newest items that a history keeps.
        """
        texts = tuple("".join(tokens) for tokens in self.item_index.item_tokens())
        seed = int(self.config["seed"])
        if settings.seq_format == "stream":
            return StreamInstructions(self.sequences(), texts, max_history, seed)
        return SequentialInstructions(self.sequences(), texts, templates, max_history, seed)


def check_inputs(config: Any) -> None:
    """Makes sure, before any data are read, that there is an index or that one can be learned.

    Raises:
        ValueError: a missing index file, item file, text column or text encoder; says which and what to do.
    """
    files, index = require_dataset(config), IndexSettings.from_config(config)
    if index.file is not None and not Path(index.file).is_file():
        raise ValueError(f"index_file = {index.file!r}: there is no such file; leave the key out to learn an index")
    if index.method == "auto" and (index.file or files.index):
        return
    text = TextSettings.from_config(config)
    resolve_encoder(text.encoder)
    items = files.folder / (f"{files.name}.item" if files.atomic else f"{files.name}.item.json")
    if not items.is_file():
        raise ValueError(
            f"{items} does not exist, so there are no texts to learn an item index from; put it there, or a published "
            f"index as {files.folder / (files.name + '.index.json')}"
        )
    if files.atomic:
        columns = (*text.title_fields, *text.description_fields)
        require_columns(
            items, columns, config["field_separator"], "text_title_fields and text_description_fields ([] for none)"
        )


def _versions(*packages: str) -> dict[str, str]:
    return {package: version(package) for package in packages}


def _check_catalogue(n_items: int, k: int) -> None:
    if n_items == 1:
        raise ValueError("the data set has a catalogue of 1 item; there is nothing to rank")
    if n_items < k:
        raise ValueError(f"topk asks for {k} items, but the catalogue has {n_items}; lower --topk")
