"""LC-Rec's data set: item indices (``models/indexed_dataset.py``) and the instructions that are made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recbole_lcrec.bridge.windows import oldest_of_lists
from recbole_lcrec.config.settings import IntentionSettings, TextSettings, TuningSettings
from recbole_lcrec.data.atomic_header import require_columns
from recbole_lcrec.data.sequences import UserSequences, training_sequences
from recbole_lcrec.instructions.intentions.source import check_intentions
from recbole_lcrec.instructions.selection import requested_families
from recbole_lcrec.instructions.templates import Templates
from recbole_lcrec.models.indexed_dataset import IndexedDataset, check_index, item_text_file
from recbole_lcrec.models.lcrec.tuning_data import TextLimits, TuningData, alignment_source, given_intentions
from recbole_lcrec.preparation.locate import DataFiles, require_dataset

__all__ = ["LCRecDataset", "check_inputs"]


class LCRecDataset(IndexedDataset):
    """A sequential data set whose items have indices, with the instructions of LC-Rec."""

    def tokenizer_texts(self, templates: Templates) -> list[str]:
        """What a tokenizer from scratch learns from: templates, and the items' texts where there are any."""
        if not self.has_texts():
            return templates.texts()
        texts = self.item_texts
        return [*templates.texts(), *(text for text in (*texts.titles, *texts.descriptions) if text)]

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
    files = require_dataset(config)
    tasks = TuningSettings.from_config(config).tasks
    _check_task_texts(config, files, tasks)
    asked = [family.name for family in requested_families(tasks) if family.needs_user_texts]
    if asked:
        intention = IntentionSettings.from_config(config)
        check_intentions(intention, given_intentions(intention, files))
        if intention.source == "none" and tasks != "auto":
            raise ValueError(
                f"tuning_tasks = {list(tasks)} asks for {' and '.join(asked)}, but intention_source = 'none': set it "
                f"to extractive, file or llm, or leave {' and '.join(asked)} out"
            )
    check_index(config, files)


def _check_task_texts(config: Any, files: DataFiles, tasks: str | Sequence[str]) -> None:
    """Refuses tasks that are asked for by name and show item texts where there is nothing to read texts from."""
    asked = [family.name for family in requested_families(tasks) if tasks != "auto" and family.needs_item_texts]
    if not asked:
        return
    items = item_text_file(files)
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
