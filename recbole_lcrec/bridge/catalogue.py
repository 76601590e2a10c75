"""RecBole's sequential data set with access to the item catalogue.

It gives original ids, texts and labels.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from recbole_lcrec.bridge.atomic_reader import FastReading
from recbole_lcrec.bridge.augmentation import FastAugmentation
from recbole_lcrec.bridge.loading import ExactTimeOrder, SequentialDataset
from recbole_lcrec.config.settings import TextSettings
from recbole_lcrec.data.item_labels import read_item_labels
from recbole_lcrec.data.item_text import ItemTexts, read_item_texts
from recbole_lcrec.preparation.locate import prepare_data_files

__all__ = ["ItemCatalogue"]


class ItemCatalogue(ExactTimeOrder, FastReading, FastAugmentation, SequentialDataset):
    """A sequential data set whose items have original ids and texts.

    Attributes:
        files: the data set's source files, which may be in another format.
        item_ids: the N original item ids; row r is RecBole's item id r + 1.
    """

    def __init__(self, config: Any) -> None:
        """Load the interactions.

        Args:
            config: a :class:`recbole_lcrec.config.configurator.Config`.

        Raises:
            ValueError: the data set is missing or damaged.
        """
        self.files = prepare_data_files(config)
        super().__init__(config)
        self.item_ids = tuple(str(token) for token in self.field2id_token[self.iid_field][1:])

    @property
    def item_file(self) -> Path | None:
        """Path of the atomic ``.item`` file; None if there is none."""
        path = Path(self.dataset_path) / f"{self.dataset_name}.item"
        return path if path.is_file() else None

    @cached_property
    def item_texts(self) -> ItemTexts:
        """Titles and descriptions of the items, in the order of ``item_ids``.

        Raises:
            ValueError: there is no item file, or it lacks a column that the settings name.
        """
        settings = self.config.stage(TextSettings)
        return read_item_texts(
            self.item_file,
            self.item_ids,
            self.iid_field,
            settings.title_fields,
            settings.description_fields,
            self.config["field_separator"],
            self.config["encoding"],
        )

    def item_labels(self, field: str) -> list[frozenset[str]]:
        """Return the labels from one column of the item file, in the order of ``item_ids``.

        Raises:
            ValueError: there is no item file, or no such column.
        """
        if self.item_file is None:
            raise ValueError(f"index_label_field = {field!r}: the data set has no item file to read labels from")
        return read_item_labels(
            self.item_file,
            self.item_ids,
            self.iid_field,
            field,
            self.config["field_separator"],
            self.config["seq_separator"],
            self.config["encoding"],
        )
