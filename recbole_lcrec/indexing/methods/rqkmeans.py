"""Residual k-means on the embeddings themselves.

No network, a codebook of centroids per level.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from torch import Tensor

from recbole_lcrec.config.settings import IndexSettings
from recbole_lcrec.indexing.base import Assignment, IndexMethod, Training
from recbole_lcrec.indexing.conflicts import Resolution, resolve_conflicts
from recbole_lcrec.indexing.kmeans import residual_codebooks
from recbole_lcrec.indexing.method_tensors import as_tensor, require_array, require_shapes
from recbole_lcrec.indexing.quantizer import ResidualQuantizer
from recbole_lcrec.indexing.training import ROWS_AT_ONCE, EpochReport

__all__ = ["RQKMeansMethod"]


class RQKMeansMethod(IndexMethod):
    """Residual k-means, by default with balanced clusters (:func:`~recbole_lcrec.indexing.kmeans.balanced`).

    Embeddings are centred and divided by a power of two near their largest element, which changes no digit and keeps
    squares finite. Conflicts are resolved as for the RQ-VAE.

    Attributes:
        mean: float32 ``[D]``, of the training embeddings.
        scale: float32 scalar, the power of two.
        quantizer: the centroids ``[H, K, D]`` of the scaled embeddings.
    """

    def __init__(
        self, mean: Tensor, scale: Tensor, quantizer: ResidualQuantizer, settings: IndexSettings, seed: int
    ) -> None:
        super().__init__(settings, seed)
        self.mean = mean
        self.scale = scale
        self.quantizer = quantizer

    @classmethod
    def train(cls, embeddings: np.ndarray | None, training: Training) -> tuple[Self, list[EpochReport]]:
        """Cluster the centred embeddings, then the residuals of each level."""
        settings, given = training.settings, require_array(embeddings)
        generator = torch.Generator().manual_seed(training.seed)
        mean = given.mean(axis=0, dtype=np.float64).astype(np.float32)
        points = given - mean
        spread = float(np.abs(points).max())
        scale = np.float32(2.0 ** np.floor(np.log2(spread)) if spread > 0 else 1.0)
        points /= scale
        even = settings.kmeans_balanced
        books = residual_codebooks(points, *settings.shape, generator, even=even)
        state = {"mean": torch.from_numpy(mean), "scale": torch.tensor(scale), "codebooks": torch.from_numpy(books)}
        return cls.from_state(state, settings, training.seed, training.device), []

    @property
    def embedding_dim(self) -> int:
        """D of the training embeddings."""
        return len(self.mean)

    @torch.no_grad()
    def assign(self, embeddings: np.ndarray | None, rows: range) -> Assignment:
        """Assign the nearest centroid of each level, in chunks of rows."""
        codes, error = [], 0.0
        for chunk in as_tensor(require_array(embeddings)).split(ROWS_AT_ONCE):
            points = (chunk.to(self.mean.device) - self.mean) / self.scale
            codes.append(self.quantizer.encode(points))
            error += float((self.quantizer.decode(codes[-1]) - points).square().mean(dim=1).double().sum())
        return Assignment(torch.cat(codes).cpu().numpy(), None, error * float(self.scale) ** 2)

    def resolve_conflicts(
        self, assignment: Assignment, embeddings: np.ndarray | None, occupied: np.ndarray | None = None
    ) -> Resolution:
        """Reassign conflicting items to free codes (Eq. 6).

        The mean is added to the first codebook, so that distances are measured to the embeddings as they are and no
        copy of them is made.
        """
        codebooks = self.quantizer.codebooks.detach().cpu().double().numpy() * float(self.scale)
        codebooks[0] += self.mean.cpu().double().numpy()
        return resolve_conflicts(assignment.codes, require_array(embeddings), codebooks, occupied=occupied)

    def state(self) -> dict[str, Tensor]:
        """Mean, scale and centroids."""
        codebooks = self.quantizer.codebooks.detach().cpu()
        return {"mean": self.mean.cpu(), "scale": self.scale.cpu(), "codebooks": codebooks}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], settings: IndexSettings, seed: int, device: torch.device) -> Self:
        """Restore the centroids."""
        if set(state) != {"mean", "scale", "codebooks"}:
            raise ValueError(f"no residual k-means was saved there, only {sorted(state)}; learn the index again")
        dim = len(state["mean"])
        shapes = {"mean": (dim,), "scale": (), "codebooks": (*settings.shape, dim)}
        require_shapes(state, shapes)
        quantizer = ResidualQuantizer(*settings.shape, dim)
        with torch.no_grad():
            quantizer.codebooks.copy_(state["codebooks"])
            quantizer.initialised.fill_(True)
        return cls(state["mean"].to(device), state["scale"].to(device), quantizer.to(device), settings, seed)
