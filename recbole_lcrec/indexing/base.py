"""What every way to give items indices can do: the interface behind ``index_method``.

Knows the steps, train, assign, separate, and what passes between them. Refuses to know any method, files, texts and
artifacts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from recbole_lcrec.config.settings import IndexSettings
from recbole_lcrec.indexing.conflicts import Resolution
from recbole_lcrec.indexing.training import EpochReport

__all__ = ["Assignment", "IndexMethod", "Training"]


@dataclass(frozen=True)
class Training:
    """What every method is trained with, whether it uses it or not.

    Attributes:
        settings: sizes and training.
        seed: of everything that is drawn.
        device: where training and quantization run.
        show_progress: whether to draw a progress bar.
    """

    settings: IndexSettings
    seed: int
    device: torch.device
    show_progress: bool = True


@dataclass(frozen=True, eq=False)
class Assignment:
    """What a method gives n items before conflicts are resolved.

    Attributes:
        codes: int64 ``[n, H']`` with the H' levels that the method quantizes.
        latents: float32 ``[n, d]``, the vectors that were quantized; None where there are none but the embeddings.
        lost: sum over the items of the squared reconstruction error, divided by D, in the unit of the embeddings; None
            for a method without embeddings.
    """

    codes: np.ndarray
    latents: np.ndarray | None = None
    lost: float | None = None


class IndexMethod(ABC):
    """One way to give items indices. A trained method is its ``state`` and its settings, nothing else."""

    needs_embeddings: ClassVar[bool] = True

    def __init__(self, settings: IndexSettings, seed: int) -> None:
        self.settings = settings
        self.seed = seed

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codes of each level that the method quantizes."""
        return (self.settings.codebook_size,) * self.settings.levels

    @classmethod
    @abstractmethod
    def train(cls, embeddings: np.ndarray | None, training: Training) -> tuple[Self, list[EpochReport]]:
        """Learns from the embeddings ``[N, D]`` of the catalogue; the reports are empty where there are no epochs."""

    @abstractmethod
    def assign(self, embeddings: np.ndarray | None, rows: range) -> Assignment:
        """Codes for the items of these rows, conflicts and all.

        Args:
            embeddings: ``[n, D]`` of these rows alone; None for a method that needs none.
            rows: their places in the catalogue.
        """

    @abstractmethod
    def separate(
        self, assignment: Assignment, embeddings: np.ndarray | None, occupied: np.ndarray | None = None
    ) -> Resolution:
        """Parts the items in conflict.

        Args:
            assignment: of n items.
            embeddings: ``[n, D]`` of these items; None for a method that needs none.
            occupied: int64 ``[E, H]``, indices of older items, which stay as they are.

        Raises:
            ValueError: there are more items than indices, or the method cannot take new items.
        """

    def sizes_of(self, codes: np.ndarray) -> tuple[int, ...]:
        """Codes of each level of the finished index ``codes [N, H]``."""
        return self.codebook_sizes

    def state(self) -> dict[str, Tensor]:
        """All that was learned, on the CPU; empty for a method that learns nothing."""
        return {}

    @classmethod
    @abstractmethod
    def from_state(cls, state: Mapping[str, Tensor], settings: IndexSettings, seed: int, device: torch.device) -> Self:
        """The trained method again.

        Raises:
            ValueError: tensors are missing or have other shapes than the settings say.
        """
