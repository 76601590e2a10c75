"""Which instructions each optimizer step of a run takes.

Knows sizes of epochs, rows per step, seeds and processes. Refuses to know what an instruction is. All is a function of
its arguments, so that any process and any resumed run sees the same.
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
    """The steps of a whole run: in every epoch each datum once, in an order drawn by the seed.

    Attributes:
        sizes: instructions of each epoch.
        rows_per_step: instructions of an optimizer step over all processes; the last step of an epoch may have fewer.
        seed: of the orders.
    """

    sizes: tuple[int, ...]
    rows_per_step: int
    seed: int

    @cached_property
    def ends(self) -> np.ndarray:
        """int64 [epochs]: steps of each epoch and all before."""
        return np.cumsum([-(-size // self.rows_per_step) for size in self.sizes])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def epoch_of(self, step: int) -> int:
        """The epoch that a step, counted from 0 over the run, belongs to."""
        return int(np.searchsorted(self.ends, step, side="right"))

    def first_step(self, epoch: int) -> int:
        """The epoch's first step, counted from 0 over the run."""
        return int(self.ends[epoch - 1]) if epoch else 0

    def order(self, epoch: int) -> np.ndarray:
        """int64 [size]: the epoch's data in the order in which they are taken."""
        return np.random.default_rng((self.seed, epoch)).permutation(self.sizes[epoch])

    def rows_of(self, step: int) -> tuple[int, np.ndarray]:
        """Epoch and data of one step, over all processes."""
        epoch = self.epoch_of(step)
        start = (step - self.first_step(epoch)) * self.rows_per_step
        return epoch, self.order(epoch)[start : start + self.rows_per_step]

    def rows(self) -> Iterator[list[RowKey]]:
        """The instructions of each step, over all processes."""
        for epoch in range(len(self.sizes)):
            order = self.order(epoch)
            for start in range(0, len(order), self.rows_per_step):
                yield [(epoch, int(datum)) for datum in order[start : start + self.rows_per_step]]


class StepSampler(Sampler[list[RowKey]]):
    """One process's share of every step, as a batch sampler.

    A process may have no row in the last step of an epoch; it takes part all the same, so that no datum is left out
    or shown twice.
    """

    def __init__(self, plan: StepPlan, rank: int, processes: int) -> None:
        """Prepares the share.

        Args:
            plan: of the run.
            rank: of this process.
            processes: how many there are.
        """
        self.plan = plan
        self.rank = rank
        self.processes = processes

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[list[RowKey]]:
        for rows in self.plan.rows():
            yield rows[self.rank :: self.processes]
