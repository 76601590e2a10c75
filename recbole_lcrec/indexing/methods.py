"""The ways to give items indices, by the names that ``index_method`` has for them (paper III-B and Fig. 2).

Knows the table of all methods, and the two that look at no embeddings. Refuses to know files, texts and artifacts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor

from recbole_lcrec.config.settings import IndexSettings
from recbole_lcrec.indexing.base import Assignment, IndexMethod, Training
from recbole_lcrec.indexing.conflicts import Resolution, resolve_without_embeddings
from recbole_lcrec.indexing.quantizing_methods import RQKMeansMethod, RQVAEMethod, SupplementMethod
from recbole_lcrec.indexing.training import EpochReport

__all__ = ["METHODS", "random_codes"]


class RandomMethod(IndexMethod):
    """Codes drawn by lot (Fig. 2, "Random Indices"): as many levels and codes, no meaning."""

    needs_embeddings = False

    @classmethod
    def train(cls, embeddings: np.ndarray | None, training: Training) -> tuple[Self, list[EpochReport]]:
        return cls(training.settings, training.seed), []

    def assign(self, embeddings: np.ndarray | None, rows: range) -> Assignment:
        return Assignment(random_codes(len(rows), self.codebook_sizes, self.seed, rows.start))

    def separate(
        self, assignment: Assignment, embeddings: np.ndarray | None, occupied: np.ndarray | None = None
    ) -> Resolution:
        codes, moved = resolve_without_embeddings(assignment.codes, self.codebook_sizes, occupied=occupied)
        return Resolution(codes, moved)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], settings: IndexSettings, seed: int, device: torch.device) -> Self:
        return cls(settings, seed)


class VanillaMethod(IndexMethod):
    """One token per item (Fig. 2, "Vanilla ID"): a single level with N codes."""

    needs_embeddings = False

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        return ()

    @classmethod
    def train(cls, embeddings: np.ndarray | None, training: Training) -> tuple[Self, list[EpochReport]]:
        return cls(training.settings, training.seed), []

    def assign(self, embeddings: np.ndarray | None, rows: range) -> Assignment:
        return Assignment(np.arange(rows.start, rows.stop, dtype=np.int64)[:, None])

    def separate(
        self, assignment: Assignment, embeddings: np.ndarray | None, occupied: np.ndarray | None = None
    ) -> Resolution:
        if occupied is not None and len(occupied):
            raise ValueError(
                "index_method = 'vanilla' cannot take new items: each item is a token of its own, which the language "
                "model has to learn; train again, or learn the index with index_method=rqvae"
            )
        return Resolution(assignment.codes, 0)

    def sizes_of(self, codes: np.ndarray) -> tuple[int, ...]:
        return (max(2, len(codes)),)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], settings: IndexSettings, seed: int, device: torch.device) -> Self:
        return cls(settings, seed)


def random_codes(n_items: int, codebook_sizes: Sequence[int], seed: int, first_row: int = 0) -> np.ndarray:
    """Codes by lot for n items from a row on: int64 ``[n, H]``; rows may be alike."""
    rng = np.random.default_rng([seed, first_row])
    return rng.integers(np.array(codebook_sizes), size=(n_items, len(codebook_sizes)))


METHODS: Mapping[str, type[IndexMethod]] = {
    "rqvae": RQVAEMethod,
    "rqkmeans": RQKMeansMethod,
    "vanilla": VanillaMethod,
    "random": RandomMethod,
    "supplement": SupplementMethod,
}
