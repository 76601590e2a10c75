"""Which datum is shown in which epoch: the chosen families of tasks as one source of instructions.

Knows sources and their sizes. A datum of an epoch is a function of (seed, epoch, datum), so any worker and any resumed
run sees the same. Refuses to know wordings, tokenizers and models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from recbole_lcrec.config.settings import TuningSettings
from recbole_lcrec.instructions.alignment_data import AlignmentData, chosen_tasks
from recbole_lcrec.instructions.context import InstructionContext
from recbole_lcrec.instructions.sources import SequentialInstructions, StreamInstructions
from recbole_lcrec.instructions.templates import Instruction, Templates
from recbole_lcrec.instructions.text_sources import (
    IntentionInstructions,
    ItemTextInstructions,
    NextTextInstructions,
    PreferenceInstructions,
    TitleHistoryInstructions,
)

__all__ = [
    "GENERAL",
    "Capped",
    "GivenInstructions",
    "InstructionSource",
    "Mixture",
    "StreamsFirst",
    "alignment_instructions",
]

GENERAL = "general"
"""How a mixture names instructions of the user's own, which belong to no family."""


class InstructionSource(Protocol):
    """What the trainer reads: the instructions of any epoch, made when asked for."""

    def size(self, epoch: int) -> int:
        """How many instructions an epoch has."""
        ...

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """The datum's instruction in an epoch; the same arguments give the same answer."""
        ...


@dataclass(frozen=True)
class GivenInstructions:
    """Finished instructions, each once per epoch."""

    instructions: Sequence[Instruction]

    def size(self, epoch: int) -> int:
        """Data of an epoch, the same in every epoch."""
        return len(self.instructions)

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """The datum's instruction, the same in every epoch."""
        return self.instructions[datum]


@dataclass(frozen=True)
class Capped:
    """Part of a source in each epoch: the next ``most`` data of a permutation that is walked round and round.

    No datum comes twice in an epoch, and all have come before one comes again, up to the seam of a round.

    Attributes:
        source: as large in every epoch.
        most: data of an epoch, at least 1; a smaller source is shown whole.
        seed: of the permutation.
    """

    source: InstructionSource
    most: int
    seed: int

    @cached_property
    def _order(self) -> np.ndarray:
        return np.random.default_rng(self.seed).permutation(self.source.size(0))

    def size(self, epoch: int) -> int:
        """Data of an epoch, the same in every epoch."""
        return min(self.most, self.source.size(epoch))

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """The datum's instruction in an epoch."""
        total = self.source.size(epoch)
        if self.most >= total:
            return self.source.instruction(epoch, datum)
        return self.source.instruction(epoch, int(self._order[(epoch * self.most + datum) % total]))


@dataclass(frozen=True)
class Mixture:
    """Named sources one after another.

    Attributes:
        parts: names and sources.
    """

    parts: tuple[tuple[str, InstructionSource], ...]

    def counts(self, epoch: int) -> dict[str, int]:
        """Name -> how many of an epoch's instructions are its."""
        return {name: source.size(epoch) for name, source in self.parts}

    def size(self, epoch: int) -> int:
        """How many instructions an epoch has."""
        return sum(source.size(epoch) for _, source in self.parts)

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """The datum's instruction in an epoch."""
        place = datum
        for _, source in self.parts:
            size = source.size(epoch)
            if place < size:
                return source.instruction(epoch, place)
            place -= size
        raise IndexError(f"epoch {epoch} has {self.size(epoch)} instructions, so there is no number {datum}")


@dataclass(frozen=True)
class StreamsFirst:
    """Some epochs of streams, then the mixture of tasks.

    Attributes:
        streams: what the first epochs show.
        mixture: what the later ones show.
        epochs: how many the first are.
    """

    streams: Mixture
    mixture: Mixture
    epochs: int

    def _of(self, epoch: int) -> Mixture:
        return self.streams if epoch < self.epochs else self.mixture

    def counts(self, epoch: int) -> dict[str, int]:
        """Family -> how many of an epoch's instructions are its."""
        return self._of(epoch).counts(epoch)

    def size(self, epoch: int) -> int:
        """How many instructions an epoch has."""
        return self._of(epoch).size(epoch)

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """The datum's instruction in an epoch."""
        return self._of(epoch).instruction(epoch, datum)


def _asymmetric(
    material: InstructionContext, title_tokens: np.ndarray | None, title_budget: int
) -> dict[str, InstructionSource]:
    targets = material.data.text_targets()
    sources: dict[str, InstructionSource] = {
        subtask: NextTextInstructions(subtask, material, targets[subtask])
        for subtask in ("asy_title", "asy_description")
    }
    if len(targets["asy_titles"]):
        if title_tokens is None:
            raise ValueError("title_tokens must be counted where items have titles and tuning_tasks has asy")
        sources["asy_titles"] = TitleHistoryInstructions(material, targets["asy_titles"], title_tokens, title_budget)
    return sources


def _family(
    family: str, material: InstructionContext, title_tokens: np.ndarray | None, title_budget: int
) -> dict[str, InstructionSource]:
    """The sources of a family in words, by sub-task."""
    if family == "seq":
        return {"seq": SequentialInstructions(material, material.data.targets())}
    if family == "mut":
        rows = material.data.item_rows()
        return {subtask: ItemTextInstructions(subtask, material, part) for subtask, part in rows.items()}
    if family == "asy":
        return _asymmetric(material, title_tokens, title_budget)
    if family == "ite":
        return {subtask: IntentionInstructions(subtask, material) for subtask in ("ite", "ite_history")}
    return {"per": PreferenceInstructions(material)}


def _worded(sources: dict[str, InstructionSource], templates: Templates) -> Mixture:
    """The sub-tasks of a family that have data, every one with its wordings."""
    present = {subtask: source for subtask, source in sources.items() if source.size(0)}
    unworded = [subtask for subtask in present if not templates.tasks.get(subtask)]
    if unworded:
        raise ValueError(
            f"there are no templates for {', '.join(unworded)}: add them to the file that tuning_template_file names"
        )
    return Mixture(tuple(present.items()))


def _capped(source: InstructionSource, settings: TuningSettings, family: str, seed: int) -> InstructionSource:
    asked = settings.samples_per_task
    most = asked.get(family) if isinstance(asked, Mapping) else asked
    return source if most is None else Capped(source, most, seed)


def alignment_instructions(
    data: AlignmentData,
    settings: TuningSettings,
    templates: Templates,
    max_history: int,
    seed: int,
    title_tokens: np.ndarray | None,
    title_budget: int,
    general: Sequence[Instruction] = (),
) -> Mixture | StreamsFirst:
    """The tuning data of a run: every datum of every chosen family once per epoch, in one wording (paper III-C).

    Args:
        data: training sequences, texts, intentions, preferences.
        settings: which families, in which form, how many data of each at most.
        templates: the wordings.
        max_history: how many of the newest items a history keeps.
        seed: of wordings, windows and caps.
        title_tokens: int64 [N], tokens of each title and a separator; needed for ASY where there are titles.
        title_budget: tokens that a history of titles has room for.
        general: instructions of the user's own, each once per epoch that has instructions in words.

    Returns:
        The source; its ``counts(epoch)`` tells how many instructions each family has.

    Raises:
        ValueError: a family lacks its data or its templates, a title is longer than its room, or streams come first in
            a tuning without SEQ; says what to do.
    """
    families, _ = chosen_tasks(settings.tasks, data)
    material = InstructionContext(data, templates, max_history, seed)

    parts: list[tuple[str, InstructionSource]] = []
    for family in families:
        if family == "seq" and settings.seq_format == "stream":
            source: InstructionSource = StreamInstructions(material)
        else:
            source = _worded(_family(family, material, title_tokens, title_budget), templates)
        parts.append((family, _capped(source, settings, family, seed)))
    if general:
        parts.append((GENERAL, GivenInstructions(tuple(general))))
    mixture = Mixture(tuple(parts))
    if not settings.stream_epochs:
        return mixture
    if "seq" not in families:
        raise ValueError(
            f"tuning_stream_epochs = {settings.stream_epochs} begins with streams of seq, but tuning_tasks = "
            f"{list(families)} lacks it: add seq, or set tuning_stream_epochs to 0"
        )
    streams = _capped(StreamInstructions(material), settings, "seq", seed)
    return StreamsFirst(Mixture((("seq", streams),)), mixture, settings.stream_epochs)
