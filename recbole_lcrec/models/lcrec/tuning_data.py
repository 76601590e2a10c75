"""LC-Rec's tuning data: instructions of all alignment tasks (paper III-C).

They are built from one training split.

The tokenizer comes in only as :class:`TextLimits`, which measures and shortens texts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Protocol

import numpy as np

from recbole_lcrec.bridge.training_sequences import training_sequences_of
from recbole_lcrec.config.counting_settings import RelatedSettings
from recbole_lcrec.config.settings import IntentionSettings, TuningSettings
from recbole_lcrec.data.item_text import ItemTexts
from recbole_lcrec.data.reviews import read_reviews
from recbole_lcrec.instructions.alignment_data import AlignmentData
from recbole_lcrec.instructions.context import InstructionContext
from recbole_lcrec.instructions.families import TaskFamily
from recbole_lcrec.instructions.general import read_general
from recbole_lcrec.instructions.intentions.source import find_intention_file, user_texts_of
from recbole_lcrec.instructions.mixture import alignment_instructions
from recbole_lcrec.instructions.selection import chosen_tasks, requested_families
from recbole_lcrec.instructions.sources import Mixture, StreamsFirst
from recbole_lcrec.instructions.subtasks import SubTask
from recbole_lcrec.instructions.templates import Instruction, Templates, literals
from recbole_lcrec.instructions.wording import TITLE_SEPARATOR
from recbole_lcrec.models.lcrec.dataset import LCRecDataset
from recbole_lcrec.models.lcrec.relations import related_items_of
from recbole_lcrec.preparation.locate import DataFiles, artifact_store
from recbole_lcrec.runtime.fingerprints import fingerprint

__all__ = ["TextLimits", "alignment_source", "given_intentions"]

SPECIAL_TOKENS = 2
"""Start and end token of an instruction."""

_SEAM = 2
"""Tokens that a text may gain when it is inserted between others, because tokens may be split differently there."""


class Lengths(Protocol):
    """Interface that measures and shortens texts, such as ``llm.text_lengths.TextLengths``."""

    def count(self, texts: Sequence[str]) -> np.ndarray:
        """Return the number of tokens of each text, int64 [number of texts]."""
        ...

    def shortened(self, texts: Sequence[str], max_tokens: int) -> list[str]:
        """Return the texts, each cut to at most ``max_tokens`` tokens."""
        ...


@dataclass(frozen=True)
class TextLimits:
    """Length limits of an instruction, in tokens.

    Attributes:
        lengths: measures and shortens texts.
        longest_row: maximum of prompt and response together.
        max_history: maximum number of items in a history of indices; the newest are kept.
        history_tokens: tokens of a history of ``max_history`` items.
        item_tokens: tokens of an index, H.
    """

    lengths: Lengths
    longest_row: int
    max_history: int
    history_tokens: int
    item_tokens: int

    def worst(self, subtask: SubTask, templates: Templates, text_tokens: int) -> int:
        """Return an upper bound of the tokens of a sub-task's instructions; histories of titles count as empty.

        Args:
            subtask: a sub-task that has templates.
            templates: the templates of all sub-tasks.
            text_tokens: maximum tokens of a title, description, intention or preference.
        """
        item = self.item_tokens
        room = {"history": self.history_tokens, "item": item, "related": item, "titles": 0}
        values = sum(room.get(name, text_tokens) for name in (*subtask.shown, *subtask.asked))
        wordings = [
            [*literals(templates.frame), *literals(template.instruction), *literals(template.response)]
            for template in templates.tasks[subtask.name]
        ]
        longest = max(int(self.lengths.count(pieces).sum()) + _SEAM * len(pieces) for pieces in wordings)
        return longest + values + SPECIAL_TOKENS


@dataclass(frozen=True)
class TuningData:
    """The instructions of a run, as an ``InstructionSource``.

    Attributes:
        source: builds the instructions.
        digest: fingerprint of everything they are built from.
    """

    source: Mixture | StreamsFirst
    digest: str

    def size(self, epoch: int) -> int:
        """Return the number of instructions of an epoch."""
        return self.source.size(epoch)

    def counts(self, epoch: int) -> dict[str, int]:
        """Return task family -> number of its instructions in an epoch."""
        return self.source.counts(epoch)

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """Return the instruction of a datum in an epoch."""
        return self.source.instruction(epoch, datum)


def given_intentions(settings: IntentionSettings, files: DataFiles) -> Path | None:
    """Return the file of intentions: that of the settings, else one beside the data, else None."""
    return Path(settings.file) if settings.file else find_intention_file(files.name, files.folder)


def alignment_source(
    dataset: LCRecDataset, settings: TuningSettings, templates: Templates, limits: TextLimits
) -> TuningData:
    """Build the instructions of a training split for the tasks of ``tuning_tasks``.

    Args:
        dataset: the training split; its configured seed is used for all random draws.
        settings: the tasks, their formats and their sample limits.
        templates: the templates of all sub-tasks.
        limits: length limits of this model's tokenizer and context.

    Raises:
        ValueError: a requested task cannot be built from the data, or its instructions may be too long.
    """
    requested = requested_families(settings.tasks)
    indices = tuple("".join(tokens) for tokens in dataset.item_index.item_tokens())
    user_texts = any(family.needs_user_texts for family in requested)
    shows_texts = user_texts or any(family.needs_item_texts for family in requested)
    texts = dataset.item_texts if shows_texts and dataset.has_texts() else None
    data = AlignmentData(
        sequences=training_sequences_of(dataset),
        index_texts=indices,
        titles=_cut(texts.titles, settings, limits) if texts else None,
        descriptions=_cut(texts.descriptions, settings, limits) if texts else None,
    )
    if any(family.needs_related_items for family in requested):
        data = dataclasses.replace(data, related=related_items_of(dataset, data.sequences))
    if user_texts:
        data = _with_user_texts(data, dataset, texts, settings, limits)
    names, left_out = chosen_tasks(settings.tasks, data)
    families = [family for family in requested if family.name in names]
    _require_room(families, templates, settings, limits)
    title_tokens, title_budget = _title_room(families, data, templates, settings, limits)
    context = InstructionContext(
        data=data,
        templates=templates,
        max_history=limits.max_history,
        seed=int(dataset.config["seed"]),
        title_tokens=title_tokens,
        title_budget=title_budget,
        related_per_item=dataset.config.stage(RelatedSettings).per_item,
    )
    general = _general(settings, templates, limits)
    source = alignment_instructions(context, settings, general)
    _log(source, settings.epochs - 1, left_out)
    return TuningData(source, fingerprint({"data": data, "templates": templates, "general": general}))


def _with_user_texts(
    data: AlignmentData,
    dataset: LCRecDataset,
    texts: ItemTexts | None,
    settings: TuningSettings,
    limits: TextLimits,
) -> AlignmentData:
    config = dataset.config
    intention = config.stage(IntentionSettings)
    users = dataset.field2id_token[dataset.uid_field][data.sequences.users]
    user_ids = tuple(str(user) for user in users)

    def reviews() -> Mapping[tuple[int, int], str]:
        return read_reviews(
            Path(dataset.dataset_path) / f"{dataset.dataset_name}.inter",
            user_ids,
            dataset.item_ids,
            data.sequences,
            (dataset.uid_field, dataset.iid_field, dataset.time_field),
            intention.review_fields,
            config["field_separator"],
            config["encoding"],
        )

    found, why_not = user_texts_of(
        intention,
        given_intentions(intention, dataset.files),
        data.sequences,
        user_ids,
        dataset.item_ids,
        texts,
        reviews,
        artifact_store(config),
        bool(config["show_progress"]),
    )
    if found is None:
        getLogger().info(f"No intentions and preferences: {why_not}")
        return data
    intentions = _cut([one.text for one in found.intentions], settings, limits)
    preferences = _cut([one.text for one in found.preferences], settings, limits)
    return dataclasses.replace(
        data,
        intentions=tuple(
            dataclasses.replace(one, text=text) for one, text in zip(found.intentions, intentions, strict=True)
        ),
        preferences=tuple(
            dataclasses.replace(one, text=text) for one, text in zip(found.preferences, preferences, strict=True)
        ),
    )


def _general(settings: TuningSettings, templates: Templates, limits: TextLimits) -> tuple[Instruction, ...]:
    """Return the general instructions of ``tuning_general_file``, each of which must fit the length limit."""
    if settings.general_file is None:
        return ()
    instructions = read_general(Path(settings.general_file), templates)
    count = limits.lengths.count
    lengths = count([one.prompt for one in instructions]) + count([one.response for one in instructions])
    too_long = np.flatnonzero(lengths > limits.longest_row - SPECIAL_TOKENS)
    if len(too_long):
        raise ValueError(
            f"tuning_general_file = {settings.general_file!r}: {len(too_long)} instructions have more tokens than "
            f"tuning_max_length = {settings.max_length} allows; the first is number {int(too_long[0]) + 1} with "
            f"{int(lengths[too_long[0]])} tokens; shorten or remove them, or raise tuning_max_length"
        )
    return instructions


def _log(source: Mixture | StreamsFirst, epoch: int, left_out: Mapping[str, str]) -> None:
    counts = ", ".join(f"{task} {count:,}" for task, count in source.counts(epoch).items())
    getLogger().info(f"Alignment tasks, instructions per epoch: {counts}")
    for task, reason in left_out.items():
        getLogger().info(f"Alignment task {task} is left out: {reason}")


def _title_room(
    families: Sequence[TaskFamily],
    data: AlignmentData,
    templates: Templates,
    settings: TuningSettings,
    limits: TextLimits,
) -> tuple[np.ndarray | None, int]:
    """Return the tokens of each title with a separator, int64 [N], and the maximum tokens of a history of titles.

    The first is None and the second 0 if no family shows histories of titles or there are no titles.
    """
    subtasks = [subtask for family in families for subtask in family.subtasks if "titles" in subtask.shown]
    worst = [limits.worst(each, templates, settings.text_tokens) for each in subtasks if each.name in templates.tasks]
    if not data.titles or not worst:
        return None, 0
    return limits.lengths.count([title + TITLE_SEPARATOR for title in data.titles]), limits.longest_row - max(worst)


def _require_room(
    families: Sequence[TaskFamily], templates: Templates, settings: TuningSettings, limits: TextLimits
) -> None:
    """Check, before the tuning, that no instruction can be too long; streams are cut to length."""
    worst = {
        subtask.name: limits.worst(subtask, templates, settings.text_tokens)
        for family in families
        if family.streams is None or settings.seq_format == "instruction"
        for subtask in family.subtasks
        if subtask.name in templates.tasks
    }
    name = max(worst, key=worst.__getitem__, default=None)
    if name is not None and worst[name] > limits.longest_row:
        raise ValueError(
            f"an instruction of {name} can have {worst[name]} tokens, more than the {limits.longest_row} of "
            f"tuning_max_length and the model's context: raise tuning_max_length ({settings.max_length}), or lower "
            f"tuning_text_tokens ({settings.text_tokens}) or MAX_ITEM_LIST_LENGTH"
        )


def _cut(texts: Sequence[str], settings: TuningSettings, limits: TextLimits) -> tuple[str, ...]:
    return tuple(limits.lengths.shortened(texts, settings.text_tokens))
