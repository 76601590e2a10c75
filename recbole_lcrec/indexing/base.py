"""The interface of index methods, and the check of the codes that they assign."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from recbole_lcrec.config.settings import IndexSettings
from recbole_lcrec.indexing.conflicts import Resolution, resolve_without_embeddings
from recbole_lcrec.indexing.training import EpochReport

__all__ = ["Assignment", "IndexMethod", "Training", "assigned"]


@dataclass(frozen=True)
class Training:
    """Settings, seed and device of a training; a method may ignore any of them.

    Attributes:
        settings: index and training hyperparameters.
        seed: seed of all random draws.
        device: where training and quantization run.
        show_progress: whether to show a progress bar.
    """

    settings: IndexSettings
    seed: int
    device: torch.device
    show_progress: bool = True


@dataclass(frozen=True, eq=False)
class Assignment:
    """The codes of n items before conflicts are resolved.

    Attributes:
        codes: int64 ``[n, H']``, H' being the number of levels that the method quantizes.
        latents: float32 ``[n, d]``, the vectors that were quantized; None where the embeddings themselves were, or
            where there are none.
        reconstruction_error: squared reconstruction error, averaged over the D dimensions and summed over the n items,
            on the scale of the embeddings; None for a method that reconstructs nothing.
    """

    codes: np.ndarray
    latents: np.ndarray | None = None
    reconstruction_error: float | None = None


class IndexMethod(ABC):
    """A way to give items indices. A trained method is fully described by its ``state``, settings and seed.

    Attributes:
        needs_embeddings: whether the method works on item embeddings; otherwise it gets None in their place.
        shares_prefixes: whether items can share first codes, so that the index forms a tree.
        settings: index and training hyperparameters.
        seed: seed of all random draws.
    """

    needs_embeddings: ClassVar[bool] = True
    shares_prefixes: ClassVar[bool] = True

    def __init__(self, settings: IndexSettings, seed: int) -> None:
        self.settings = settings
        self.seed = seed

    @classmethod
    def require_room(cls, n_items: int, settings: IndexSettings) -> None:
        """Check that the settings allow as many distinct indices as there are items: N <= K^H.

        Called before anything is encoded or trained. Override it where the capacity is another one.

        Raises:
            ValueError: they do not; the message names the keys to change.
        """
        levels, codes = settings.shape
        room = codes**levels
        if n_items > room:
            raise ValueError(
                f"{n_items} items cannot have distinct indices of {levels} levels x {codes} "
                f"codes ({room} at most); raise index_levels or index_codebook_size"
            )

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of codes of each level that the method quantizes."""
        levels, codes = self.settings.shape
        return (codes,) * levels

    @property
    def embedding_dim(self) -> int | None:
        """D of the embeddings that the method was trained on; None where any D will do."""
        return None

    @classmethod
    @abstractmethod
    def train(cls, embeddings: np.ndarray | None, training: Training) -> tuple[Self, list[EpochReport]]:
        """Train on the embeddings ``[N, D]`` of the catalogue.

        Returns:
            The trained method, and one report per epoch (none for a method without epochs).
        """

    @abstractmethod
    def assign(self, embeddings: np.ndarray | None, rows: range) -> Assignment:
        """Assign codes to the items of some rows; several items may get the same codes.

        Args:
            embeddings: ``[n, D]`` of these rows alone; None for a method that needs none.
            rows: the items' positions in the catalogue.
        """

    def resolve_conflicts(
        self, assignment: Assignment, embeddings: np.ndarray | None, occupied: np.ndarray | None = None
    ) -> Resolution:
        """Give items that share all codes distinct ones; by default the lowest free codes of their prefix.

        Args:
            assignment: the codes of n items.
            embeddings: ``[n, D]`` of these items; None for a method that needs none.
            occupied: int64 ``[E, H]``, the indices of existing items, which do not change.

        Raises:
            ValueError: there are more items than indices, or the method does not support new items.
        """
        codes, moved = resolve_without_embeddings(assignment.codes, self.codebook_sizes, occupied=occupied)
        return Resolution(codes, moved)

    def sizes_of(self, codes: np.ndarray) -> tuple[int, ...]:
        """Number of codes of each level of the finished index ``codes [N, H]``."""
        return self.codebook_sizes

    def state(self) -> dict[str, Tensor]:
        """All learned tensors, on the CPU; empty for a method that learns nothing."""
        return {}

    @classmethod
    @abstractmethod
    def from_state(cls, state: Mapping[str, Tensor], settings: IndexSettings, seed: int, device: torch.device) -> Self:
        """Restore the trained method from what :meth:`state` returned.

        Raises:
            ValueError: tensors are missing, or their shapes do not match the settings.
        """


def assigned(method: IndexMethod, embeddings: np.ndarray | None, rows: range) -> Assignment:
    """Assign codes to the items of some rows by :meth:`IndexMethod.assign`, and check what it returns.

    Args:
        method: the trained method.
        embeddings: ``[n, D]`` of these rows alone; None for a method that needs none.
        rows: the items' positions in the catalogue.

    Raises:
        ValueError: the method returns something else than an :class:`Assignment` with codes int64 ``[n, H']`` within
            the codebook sizes; the message names the method.
    """
    assignment = method.assign(embeddings, rows)
    sizes = method.codebook_sizes
    problem = _assignment_problem(assignment, len(rows), sizes)
    if problem:
        within = f"int64 codes [{len(rows)}, {len(sizes)}] with values below {list(sizes)}"
        expected = within if sizes else f"int64 codes with {len(rows)} rows"
        raise ValueError(
            f"index_method = {method.settings.method!r}: its assign returned {problem}; expected an Assignment with "
            f"{expected}. Correct assign, or codebook_sizes of the class"
        )
    return assignment


def _assignment_problem(assignment: object, n_items: int, sizes: tuple[int, ...]) -> str:
    """Describe what is wrong with a returned assignment; "" if nothing is. Without ``sizes`` any codes will do."""
    if not isinstance(assignment, Assignment):
        return f"a {type(assignment).__name__}"
    codes = assignment.codes
    if not isinstance(codes, np.ndarray):
        return f"codes of type {type(codes).__name__}"
    if codes.ndim != 2 or len(codes) != n_items or (sizes and codes.shape[1] != len(sizes)):
        return f"codes of shape {list(codes.shape)}"
    if codes.dtype != np.int64:
        return f"codes of dtype {codes.dtype}"
    outside = (codes < 0) | (codes >= np.array(sizes)) if sizes else codes < 0
    if outside.any():
        row, level = np.argwhere(outside)[0].tolist()
        return f"code {codes[row, level]} at level {level + 1} of item row {row}"
    return ""
