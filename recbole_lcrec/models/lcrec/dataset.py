"""The data stage of LC-Rec: RecBole's sequential data set that also has item texts, item indices and instructions.

Knows the Config and calls three rooms: data, indexing, instructions. Refuses to know language models and ranking.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from logging import getLogger
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from recbole_lcrec.bridge.catalogue import ItemCatalogue
from recbole_lcrec.bridge.windows import oldest_of_lists
from recbole_lcrec.config.settings import IndexSettings, IntentionSettings, TextSettings, TuningSettings
from recbole_lcrec.data.atomic_header import require_columns
from recbole_lcrec.data.sequences import UserSequences, training_sequences
from recbole_lcrec.indexing.conflicts import resolve_without_embeddings
from recbole_lcrec.indexing.embeddings import check_embedding_inputs, item_embeddings
from recbole_lcrec.indexing.item_index import ItemIndex, indexed_items, load_index, save_index
from recbole_lcrec.indexing.learn import learn_item_index, require_room
from recbole_lcrec.indexing.methods import METHODS, random_codes
from recbole_lcrec.indexing.purity import prefix_purity
from recbole_lcrec.indexing.report import IndexReport, write_report
from recbole_lcrec.indexing.saved import (
    METHOD_FILE,
    PAGE_FILE,
    REPORT_FILE,
    STATE_FILE,
    read_report,
    saved_codebook_sizes,
)
from recbole_lcrec.instructions.intentions.source import check_intentions
from recbole_lcrec.instructions.templates import Templates
from recbole_lcrec.models.lcrec.tuning_data import TextLimits, TuningData, alignment_source, given_intentions
from recbole_lcrec.preparation.forms.convert import numbers_first
from recbole_lcrec.preparation.locate import DataFiles, artifact_store, require_dataset

__all__ = ["LCRecDataset", "check_inputs"]


class LCRecDataset(ItemCatalogue):
    """A sequential data set whose items have indices.

    Attributes:
        item_index: the item indices, one row per item of ``item_ids``.
        index_folder: folder with the index and all that made it (``indexing/saved.py``): an artifact, or a saved run;
            None where the index was given alone.
    """

    def __init__(self, config: Any) -> None:
        """Loads the interactions and makes or loads the item indices.

        Args:
            config: a :class:`recbole_lcrec.config.configurator.Config`.

        Raises:
            ValueError: the data set, its texts or its index are missing or damaged, or the catalogue is too small.
        """
        super().__init__(config)
        _check_catalogue(len(self.item_ids), max(config["topk"]))
        settings = IndexSettings.from_config(config)
        given = Path(settings.file) if settings.file else self.files.index
        self.index_folder: Path | None = None
        self._embeddings: np.ndarray | None = None
        wanted = settings.label_field if settings.report else None
        self._labels = self.item_labels(wanted) if wanted else None  # read now, so that no report fails after training
        self.item_index = self._given(given) if settings.method == "auto" and given else self._learned(settings)

    def tokenizer_texts(self, templates: Templates) -> list[str]:
        """What a tokenizer from scratch learns from: templates, and the items' texts where there are any."""
        if not self.has_texts():
            return templates.texts()
        texts = self.item_texts
        return [*templates.texts(), *(text for text in (*texts.titles, *texts.descriptions) if text)]

    def has_texts(self) -> bool:
        """Whether titles can be read; an item file without the columns that the settings name is told in the log."""
        if self.item_file is None:
            return False
        try:
            return len(self.item_texts) > 0
        except ValueError as err:
            getLogger().warning(
                f"Tokenizer and report go without item texts, which text_title_fields would name: {err}"
            )
            return False

    def _given(self, path: Path) -> ItemIndex:
        sizes = saved_codebook_sizes(path.parent)
        if sizes is not None:
            self.index_folder = path.parent
            known = set(indexed_items(path))
            new = [item for item in self.item_ids if item not in known]
            if new and len(new) < len(self.item_ids):
                raise ValueError(
                    f"{path}: {len(new)} of {len(self.item_ids)} items of the catalogue are newer than the index, "
                    f"first {new[:5]}; give them indices with: python -m recbole_lcrec.indexing --extend={path.parent}"
                )
        index = load_index(path, self.item_ids, sizes)
        conflicts, moved = index.n_conflicts(), 0
        if conflicts:
            order = np.array(sorted(range(len(self.item_ids)), key=lambda row: numbers_first(self.item_ids[row])))
            codes, moved = resolve_without_embeddings(index.codes[order], index.codebook_sizes)
            index = ItemIndex(codes[np.argsort(order)], index.codebook_sizes)
        index.require_unique()
        getLogger().info(
            f"Item index: given in {path}, {index.n_items:,} items, {index.sizes_in_words()}; "
            f"{index.n_items - conflicts:,} distinct rows, {moved} items moved to free codes"
        )
        return index

    def _learned(self, given: IndexSettings) -> ItemIndex:
        settings = given.resolved()
        started, config, store = perf_counter(), self.config, artifact_store(self.config)
        require_room(len(self.item_ids), settings)
        device, seed, shown = config["device"], int(config["seed"]), bool(config["show_progress"])
        text = TextSettings.from_config(config)
        embedded = None
        if METHODS[settings.method].needs_embeddings:
            embedded = item_embeddings(lambda: self.item_texts, self.item_ids, text, settings, store, device, shown)
            self._embeddings = embedded.vectors if settings.report else None
        learned = learn_item_index(
            len(self.item_ids),
            embedded.vectors if embedded else None,
            settings,
            text if embedded and settings.embedding_file is None else None,
            store,
            seed,
            device,
            shown,
        )
        self.index_folder, index, verbs = learned.folder, learned.index, {True: "reused", False: "made"}
        embeddings = f"embeddings {verbs[embedded.reused]} ({embedded.folder}), " if embedded else ""
        if embedded and embedded.folder is None:
            embeddings = f"embeddings from {settings.embedding_file}, "
        getLogger().info(
            f"Item index: {index.n_items:,} items, {index.sizes_in_words()}, all distinct; {embeddings}"
            f"index {verbs[learned.reused]} ({learned.folder}), {perf_counter() - started:.1f} s"
        )
        return index

    def save_index(self, folder: Path, before: Path | None = None) -> None:
        """Writes the index in the published form, what is needed to index new items, and the report's page.

        Args:
            folder: an existing folder.
            before: a folder that this has been written to already; its page is copied and not made again.
        """
        save_index(self.item_index, self.item_ids, folder / f"{self.dataset_name}.index.json")
        for name in (METHOD_FILE, STATE_FILE, REPORT_FILE):
            if self.index_folder not in (None, folder) and (self.index_folder / name).is_file():
                shutil.copyfile(self.index_folder / name, folder / name)
        if not IndexSettings.from_config(self.config).report:
            return
        if before is not None and (before / PAGE_FILE).is_file():
            shutil.copyfile(before / PAGE_FILE, folder / PAGE_FILE)
        else:
            write_report(folder / PAGE_FILE, self._report())

    def _report(self) -> IndexReport:
        settings, seed, index = IndexSettings.from_config(self.config), int(self.config["seed"]), self.item_index
        numbers = read_report(self.index_folder) if self.index_folder else {}
        purity, by_lot = {}, {}
        given = "method" not in numbers
        if settings.label_field and self._labels is not None:
            labels = self._labels
            text = TextSettings.from_config(self.config)
            encoded = settings.label_field in (*text.title_fields, *text.description_fields)
            name = f"{settings.label_field}{', a part of the encoded texts' if encoded and not given else ''}"
            purity[name] = prefix_purity(index.codes, labels, seed)
            drawn = random_codes(index.n_items, index.codebook_sizes, seed)
            by_lot[name] = prefix_purity(drawn, labels, seed)
        return IndexReport(
            dataset=self.dataset_name,
            method=numbers.pop("method", "given"),
            item_ids=self.item_ids,
            index=index,
            titles=self.item_texts.titles if self.has_texts() else None,
            curve=numbers.pop("curve", ()),
            numbers=numbers,
            embeddings=self._embeddings,
            purity=purity,
            random_purity=by_lot,
            seed=seed,
        )

    def sequences(self) -> UserSequences:
        """The users' sequences of this split; meant for the training split that :meth:`build` returns first."""
        feat = self.inter_feat
        return training_sequences(
            feat[self.uid_field].numpy(),
            feat[self.iid_field].numpy(),
            feat[self.item_list_length_field].numpy(),
            oldest_of_lists(feat, self.item_id_list_field).numpy(),
        )

    def instructions(self, settings: TuningSettings, templates: Templates, limits: TextLimits) -> TuningData:
        """The tuning data of this (training) split.

        Args:
            settings: which tasks, in which form.
            templates: the wordings.
            limits: how much text an instruction has room for.

        Raises:
            ValueError: a task that ``tuning_tasks`` names cannot be built from the data.
        """
        return alignment_source(self, self.sequences(), settings, templates, limits, int(self.config["seed"]))


def check_inputs(config: Any) -> None:
    """Makes sure, before any data are read, that there is an index or that one can be learned.

    Raises:
        ValueError: a missing index file, item file, text column, embedding file or text encoder; says which and what
            to do.
    """
    files, index = require_dataset(config), IndexSettings.from_config(config)
    tasks = TuningSettings.from_config(config).tasks
    _check_task_texts(config, files, tasks)
    if tasks == "auto" or {"ite", "per"} & set(tasks):
        intention = IntentionSettings.from_config(config)
        check_intentions(intention, given_intentions(intention, files))
        if intention.source == "none" and tasks != "auto":
            raise ValueError(
                f"tuning_tasks = {list(tasks)} asks for ite or per, but intention_source = 'none': set it to "
                "extractive, file or llm, or leave the two tasks out"
            )
    if index.file is not None and not Path(index.file).is_file():
        raise ValueError(f"index_file = {index.file!r}: there is no such file; leave the key out to learn an index")
    items = files.folder / (f"{files.name}.item" if files.atomic else f"{files.name}.item.json")
    form = (config["field_separator"], config["encoding"])
    if index.label_field and files.atomic:
        if not items.is_file():
            raise ValueError(f"index_label_field = {index.label_field!r}: there is no {items} to read labels from")
        require_columns(items, [index.label_field], *form, "index_label_field")
    _check_unused(index, files.index)
    if index.method == "auto" and (index.file or files.index):
        return
    text, method = TextSettings.from_config(config), index.resolved().method
    if not METHODS[method].needs_embeddings:
        return
    check_embedding_inputs(text, index)
    if index.embedding_file is not None:
        return
    if not items.is_file() and files.raw is None:
        raise ValueError(
            f"{items} does not exist, so there are no texts to learn an item index from; put it there, or a published "
            f"index as {files.folder / (files.name + '.index.json')}"
        )
    if files.atomic:
        columns = (*text.title_fields, *text.description_fields)
        require_columns(items, columns, *form, "text_title_fields and text_description_fields ([] for none)")


def _check_task_texts(config: Any, files: DataFiles, tasks: str | Sequence[str]) -> None:
    """Refuses tasks that are asked for by name and show item texts where there is nothing to read texts from."""
    asked = [task for task in ("mut", "asy") if tasks != "auto" and task in tasks]
    if not asked:
        return
    items = files.folder / (f"{files.name}.item" if files.atomic else f"{files.name}.item.json")
    if not items.is_file() and files.raw is None:
        raise ValueError(
            f"tuning_tasks = {list(tasks)}: {', '.join(asked)} cannot be built, for there is no {items} to read item "
            f"texts from; put it there, or leave {' and '.join(asked)} out"
        )
    if files.atomic:
        text = TextSettings.from_config(config)
        columns = (*text.title_fields, *text.description_fields)
        asked_by = f"{', '.join(asked)} of tuning_tasks through text_title_fields and text_description_fields"
        require_columns(items, columns, config["field_separator"], config["encoding"], asked_by)


def _check_unused(index: IndexSettings, found: Path | None) -> None:
    """Refuses files that are named for the index and would not be looked at."""
    given = index.file or found if index.method == "auto" else None
    if index.file is not None and index.method != "auto":
        raise ValueError(
            f"index_file = {index.file!r} gives an index, and index_method = {index.method!r} learns another: "
            "leave one of the two keys out"
        )
    if index.embedding_file is not None and (given or not METHODS[index.resolved().method].needs_embeddings):
        source = f"the index is given in {given}" if given else f"index_method = {index.method!r} needs no embeddings"
        raise ValueError(
            f"index_embedding_file = {index.embedding_file!r} would not be used, for {source}: leave it out, or set "
            "index_method=rqvae"
        )


def _check_catalogue(n_items: int, k: int) -> None:
    if n_items == 1:
        raise ValueError("the data set has a catalogue of 1 item; there is nothing to rank")
    if n_items < k:
        raise ValueError(f"topk asks for {k} items, but the catalogue has {n_items}; lower --topk")
