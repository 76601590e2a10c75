"""Sequential data set with item indices, for every model that generates item indices."""

from __future__ import annotations

from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_lcrec.bridge.catalogue import ItemCatalogue
from recbole_lcrec.config.settings import DecodingSettings, IndexSettings, TextSettings
from recbole_lcrec.data.item_choice import read_allowed
from recbole_lcrec.indexing.export import export_index
from recbole_lcrec.indexing.inputs import check_index_inputs
from recbole_lcrec.indexing.item_index import ItemIndex
from recbole_lcrec.indexing.report import IndexReport, make_report
from recbole_lcrec.indexing.stage import IndexStage, index_items
from recbole_lcrec.preparation.locate import DataFiles, artifact_store, require_dataset

__all__ = ["IndexedDataset", "check_index", "check_inputs"]


class IndexedDataset(ItemCatalogue):
    """A sequential data set with item indices.

    Attributes:
        item_index: the item indices, one row per item of ``item_ids``.
        index_folder: folder with the index and the method that learned it (``indexing/saved.py``): an artifact or a
            saved run; None if the index is a separate file.
    """

    def __init__(self, config: Any) -> None:
        """Load the interactions, and load or learn the item indices.

        Args:
            config: a :class:`recbole_lcrec.config.configurator.Config`.

        Raises:
            ValueError: the data set, its texts or its index are missing or damaged, or the catalogue is too small.
        """
        super().__init__(config)
        _check_catalogue(len(self.item_ids), max(config["topk"]))
        self._settings, self._text = config.stage(IndexSettings), config.stage(TextSettings)
        field = self._settings.label_field if self._settings.report else None
        self._labels = self.item_labels(field) if field else None  # read now, so that no report fails after training
        self._indexed = index_items(
            IndexStage(
                item_ids=self.item_ids,
                item_texts=lambda: self.item_texts,
                settings=self._settings,
                text=self._text,
                given_index=Path(self._settings.file) if self._settings.file else self.files.index,
                store=artifact_store(config),
                seed=int(config["seed"]),
                device=config["device"],
                show_progress=bool(config["show_progress"]),
            )
        )

    @property
    def item_index(self) -> ItemIndex:
        """The item indices, one row per item of ``item_ids``."""
        return self._indexed.index

    @property
    def index_folder(self) -> Path | None:
        """Folder with the index and the method that learned it; None if the index is a separate file."""
        return self._indexed.folder

    def has_texts(self) -> bool:
        """Return whether titles can be read; logs a warning if the item file lacks the columns of the settings."""
        if self.item_file is None:
            return False
        try:
            return len(self.item_texts) > 0
        except ValueError as err:
            getLogger().warning(
                f"Tokenizer and report do without item texts, because text_title_fields cannot be read: {err}"
            )
            return False

    def save_index(self, folder: Path, before: Path | None = None) -> None:
        """Write the index in the published form, the files needed to index new items, and the report page.

        Args:
            folder: an existing folder.
            before: a folder to which this index was written earlier; its report page is copied instead of made again.
        """
        report = self._report if self._settings.report else None
        export_index(folder, self.dataset_name, self.item_ids, self.item_index, self.index_folder, report, before)

    def _report(self) -> IndexReport:
        return make_report(
            dataset=self.dataset_name,
            item_ids=self.item_ids,
            index=self.item_index,
            folder=self.index_folder,
            titles=self.item_texts.titles if self.has_texts() else None,
            embeddings=self._indexed.embeddings,
            labels=self._labels,
            settings=self._settings,
            text=self._text,
            seed=int(self.config["seed"]),
        )


def check_index(config: Any, files: DataFiles) -> None:
    """Check, before any data are read, that there is an index or that one can be learned.

    Raises:
        ValueError: an index file, item file, text column, embedding file or text encoder is missing.
    """
    form = (config["field_separator"], config["encoding"])
    check_index_inputs(config.stage(IndexSettings), config.stage(TextSettings), files, form)


def check_inputs(config: Any) -> None:
    """Check, before any data are read, what every model that generates item indices needs; for a :class:`ModelSpec`.

    Raises:
        ValueError: the data set, the list of allowed items, or the index and everything to learn one from is missing.
    """
    check_index(config, require_dataset(config))
    allowed = config.stage(DecodingSettings).allowed_items
    if allowed is not None:
        read_allowed(Path(allowed))


def _check_catalogue(n_items: int, k: int) -> None:
    if n_items == 1:
        raise ValueError("the data set has a catalogue of 1 item; there is nothing to rank")
    if n_items < k:
        raise ValueError(f"max(topk) = {k}, but the catalogue has only {n_items} items; lower --topk")
