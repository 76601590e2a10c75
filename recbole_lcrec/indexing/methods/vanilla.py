"""One token per item (paper Fig. 2, "Vanilla ID"): a single level with N codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from torch import Tensor

from recbole_lcrec.config.settings import IndexSettings
from recbole_lcrec.indexing.base import Assignment, IndexMethod, Training
from recbole_lcrec.indexing.conflicts import Resolution
from recbole_lcrec.indexing.training import EpochReport

__all__ = ["VanillaMethod"]


class VanillaMethod(IndexMethod):
    """The item's row as its only code."""

    needs_embeddings = False
    shares_prefixes = False

    @classmethod
    def require_room(cls, n_items: int, settings: IndexSettings) -> None:
        """Accept any number of items: the level has as many codes as there are items."""

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """No level: nothing is quantized."""
        return ()

    @classmethod
    def train(cls, embeddings: np.ndarray | None, training: Training) -> tuple[Self, list[EpochReport]]:
        """Return the method; nothing is learned."""
        return cls(training.settings, training.seed), []

    def assign(self, embeddings: np.ndarray | None, rows: range) -> Assignment:
        """Number the items."""
        return Assignment(np.arange(rows.start, rows.stop, dtype=np.int64)[:, None])

    def resolve_conflicts(
        self, assignment: Assignment, embeddings: np.ndarray | None, occupied: np.ndarray | None = None
    ) -> Resolution:
        """Return the codes as they are: they are distinct.

        Raises:
            ValueError: the items are new ones.
        """
        if occupied is not None and len(occupied):
            raise ValueError(
                "index_method = 'vanilla' cannot take new items: each item is a token of its own, which the language "
                "model has to learn; train again, or learn the index with index_method=rqvae"
            )
        return Resolution(assignment.codes, 0)

    def sizes_of(self, codes: np.ndarray) -> tuple[int, ...]:
        """N codes, at least 2."""
        return (max(2, len(codes)),)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], settings: IndexSettings, seed: int, device: torch.device) -> Self:
        """Return the method; there is no state."""
        return cls(settings, seed)
