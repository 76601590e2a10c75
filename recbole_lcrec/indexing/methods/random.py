"""Random indices (paper Fig. 2, "Random Indices").

As many levels and codes as RQ-VAE, without meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor

from recbole_lcrec.config.settings import IndexSettings
from recbole_lcrec.indexing.base import Assignment, IndexMethod, Training
from recbole_lcrec.indexing.training import EpochReport

__all__ = ["RandomMethod", "random_codes"]


class RandomMethod(IndexMethod):
    """Uniformly random codes; items with equal ones move to the lowest free codes of their prefix."""

    needs_embeddings = False

    @classmethod
    def train(cls, embeddings: np.ndarray | None, training: Training) -> tuple[Self, list[EpochReport]]:
        """Return the method; nothing is learned."""
        return cls(training.settings, training.seed), []

    def assign(self, embeddings: np.ndarray | None, rows: range) -> Assignment:
        """Draw codes by the seed and the first row."""
        return Assignment(random_codes(len(rows), self.codebook_sizes, self.seed, rows.start))

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], settings: IndexSettings, seed: int, device: torch.device) -> Self:
        """Return the method; its seed is all that it needs."""
        return cls(settings, seed)


def random_codes(n_items: int, codebook_sizes: Sequence[int], seed: int, first_row: int = 0) -> np.ndarray:
    """Draw uniformly random codes, int64 ``[n, H]``, for n items from a row on; rows may be equal."""
    rng = np.random.default_rng([seed, first_row])
    return rng.integers(np.array(codebook_sizes), size=(n_items, len(codebook_sizes)))
