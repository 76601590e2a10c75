"""Sources of instructions, and how they are capped and combined.

The instruction of a datum in an epoch depends only on the source, the epoch and the datum, so any worker and any
resumed run reads the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from recbole_lcrec.instructions.templates import Instruction

__all__ = ["Capped", "GivenInstructions", "InstructionSource", "Mixture", "StreamsFirst"]


class InstructionSource(Protocol):
    """Interface of a source: the instructions of each epoch, built on request."""

    def size(self, epoch: int) -> int:
        """Return how many instructions an epoch has."""
        ...

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """Return the datum's instruction in an epoch; the same arguments give the same answer."""
        ...


@dataclass(frozen=True)
class GivenInstructions:
    """Finished instructions, each once per epoch."""

    instructions: Sequence[Instruction]

    def size(self, epoch: int) -> int:
        """Return the number of instructions, the same in every epoch."""
        return len(self.instructions)

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """Return the datum's instruction, the same in every epoch."""
        return self.instructions[datum]


@dataclass(frozen=True)
class Capped:
    """A source of which each epoch shows at most a given number of data.

    The epochs walk through one permutation of the data, again and again. No datum occurs twice in an epoch, and each
    datum occurs once before any is repeated, except in the epoch where a new pass begins.

    Attributes:
        source: must have the same size in every epoch.
        most: maximum number of data per epoch, at least 1; a smaller source is shown completely.
        seed: of the permutation.
    """

    source: InstructionSource
    most: int
    seed: int

    @cached_property
    def _order(self) -> np.ndarray:
        return np.random.default_rng(self.seed).permutation(self.source.size(0))

    def size(self, epoch: int) -> int:
        """Return the number of data per epoch, the same in every epoch."""
        return min(self.most, self.source.size(epoch))

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """Return the datum's instruction in an epoch."""
        total = self.source.size(epoch)
        if self.most >= total:
            return self.source.instruction(epoch, datum)
        return self.source.instruction(epoch, int(self._order[(epoch * self.most + datum) % total]))


@dataclass(frozen=True)
class Mixture:
    """Named sources, one after another.

    Attributes:
        parts: names and sources.
    """

    parts: tuple[tuple[str, InstructionSource], ...]

    def counts(self, epoch: int) -> dict[str, int]:
        """Return how many of an epoch's instructions each named source has."""
        return {name: source.size(epoch) for name, source in self.parts}

    def size(self, epoch: int) -> int:
        """Return how many instructions an epoch has."""
        return sum(source.size(epoch) for _, source in self.parts)

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """Return the datum's instruction in an epoch."""
        position = datum
        for _, source in self.parts:
            size = source.size(epoch)
            if position < size:
                return source.instruction(epoch, position)
            position -= size
        raise IndexError(f"epoch {epoch} has {self.size(epoch)} instructions, so there is no number {datum}")


@dataclass(frozen=True)
class StreamsFirst:
    """A number of epochs of streams, then the mixture of tasks.

    Attributes:
        streams: what the first epochs show.
        mixture: what the later epochs show.
        epochs: number of epochs of streams.
    """

    streams: Mixture
    mixture: Mixture
    epochs: int

    def _of(self, epoch: int) -> Mixture:
        return self.streams if epoch < self.epochs else self.mixture

    def counts(self, epoch: int) -> dict[str, int]:
        """Return how many of an epoch's instructions each task family has."""
        return self._of(epoch).counts(epoch)

    def size(self, epoch: int) -> int:
        """Return how many instructions an epoch has."""
        return self._of(epoch).size(epoch)

    def instruction(self, epoch: int, datum: int) -> Instruction:
        """Return the datum's instruction in an epoch."""
        return self._of(epoch).instruction(epoch, datum)
