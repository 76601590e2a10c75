"""Plan which instructions each optimizer step of a run uses.

The plan is a function of its arguments, so every process and every resumed run sees the same steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch.utils.data import Sampler

__all__ = ["RowKey", "StepPlan", "StepSampler"]

RowKey = tuple[int, int]
"""Epoch and datum of one instruction."""


@dataclass(frozen=True)
class StepPlan:
    """The steps of a whole run: every epoch uses each datum once, in random order.

    Attributes:
        sizes: number of instructions of each epoch.
        rows_per_step: instructions per optimizer step over all processes; the last step of an epoch may have fewer.
        seed: seeds the order of each epoch.
    """

    sizes: tuple[int, ...]
    rows_per_step: int
    seed: int

    @cached_property
    def ends(self) -> np.ndarray:
        """The number of steps up to the end of each epoch, int64 [epochs]."""
        return np.cumsum([-(-size // self.rows_per_step) for size in self.sizes])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def epoch_of(self, step: int) -> int:
        """Return the epoch of a step, which is counted from 0 over the run."""
        return int(np.searchsorted(self.ends, step, side="right"))

    def first_step(self, epoch: int) -> int:
        """Return the epoch's first step, counted from 0 over the run."""
        return int(self.ends[epoch - 1]) if epoch else 0

    def order(self, epoch: int) -> np.ndarray:
        """Return the order of the epoch's data, int64 [size]."""
        return np.random.default_rng((self.seed, epoch)).permutation(self.sizes[epoch])

    def rows_of(self, step: int) -> tuple[int, np.ndarray]:
        """Return the epoch and the data of one step, over all processes."""
        epoch = self.epoch_of(step)
        start = (step - self.first_step(epoch)) * self.rows_per_step
        return epoch, self.order(epoch)[start : start + self.rows_per_step]

    def rows(self) -> Iterator[list[RowKey]]:
        """Yield the instructions of each step, over all processes."""
        for epoch in range(len(self.sizes)):
            order = self.order(epoch)
            for start in range(0, len(order), self.rows_per_step):
                yield [(epoch, int(datum)) for datum in order[start : start + self.rows_per_step]]


class StepSampler(Sampler[list[RowKey]]):
    """A batch sampler that yields one process's share of every step.

    A process may have no rows in the last step of an epoch. It still takes part in the step, so that no datum is
    dropped or used twice.
    """

    def __init__(self, plan: StepPlan, rank: int, processes: int) -> None:
        """Create the sampler of one process.

        Args:
            plan: the steps of the run.
            rank: number of this process.
            processes: number of processes.
        """
        self.plan = plan
        self.rank = rank
        self.processes = processes

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[list[RowKey]]:
        for rows in self.plan.rows():
            yield rows[self.rank :: self.processes]
