"""RQ-VAE with uniform semantic mapping (paper III-B), the method of LC-Rec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from recbole_lcrec.config.settings import IndexSettings
from recbole_lcrec.indexing.base import Assignment, IndexMethod, Training
from recbole_lcrec.indexing.conflicts import Resolution, resolve_conflicts
from recbole_lcrec.indexing.method_tensors import as_tensor, require_array, require_shapes
from recbole_lcrec.indexing.quantizer import ResidualQuantizer
from recbole_lcrec.indexing.rqvae_network import RQVAE
from recbole_lcrec.indexing.training import ROWS_AT_ONCE, EpochReport, train_rqvae

__all__ = ["RQVAEMethod"]


class RQVAEMethod(IndexMethod):
    """RQ-VAE whose last level is mapped uniformly in training (Eq. 6).

    The conflicting items of each prefix are reassigned to its free codes at the least total distance.

    Attributes:
        uniform: whether the last level is mapped uniformly in training.
        model: the trained network.
    """

    uniform: ClassVar[bool] = True

    def __init__(self, model: RQVAE, settings: IndexSettings, seed: int) -> None:
        super().__init__(settings, seed)
        self.model = model.eval()

    @classmethod
    def train(cls, embeddings: np.ndarray | None, training: Training) -> tuple[Self, list[EpochReport]]:
        """Train by Algorithm 1; one report per epoch."""
        settings, inputs = training.settings, as_tensor(require_array(embeddings))
        generator = torch.Generator().manual_seed(training.seed)
        model = _new_rqvae(inputs.shape[1], settings, generator).to(training.device)
        curve = train_rqvae(model, inputs, settings, generator, training.show_progress, uniform=cls.uniform)
        return cls(model, settings, training.seed), curve

    @property
    def embedding_dim(self) -> int:
        """D of the training embeddings."""
        return len(self.model.mean)

    @torch.no_grad()
    def assign(self, embeddings: np.ndarray | None, rows: range) -> Assignment:
        """Assign the nearest code of each level (Eq. 1), in chunks of rows."""
        inputs = as_tensor(require_array(embeddings))
        codes, latents, error = [], [], 0.0
        for chunk in inputs.split(ROWS_AT_ONCE):
            encoded = self.model.latents(chunk.to(self.model.mean.device))
            codes.append(self.model.quantizer.encode(encoded))
            latents.append(encoded.cpu())
            decoded = self.model.decoder(self.model.quantizer.decode(codes[-1]))
            error += float((decoded - self.model.scaled(chunk.to(decoded.device))).square().mean(dim=1).double().sum())
        error *= float(self.model.scale) ** 2  # on the scale of the embeddings
        return Assignment(torch.cat(codes).cpu().numpy(), torch.cat(latents).numpy(), error)

    def resolve_conflicts(
        self, assignment: Assignment, embeddings: np.ndarray | None, occupied: np.ndarray | None = None
    ) -> Resolution:
        """Reassign conflicting items to free codes (Eq. 6)."""
        codebooks = self.model.quantizer.codebooks.detach().cpu().numpy()
        return resolve_conflicts(assignment.codes, require_array(assignment.latents), codebooks, occupied=occupied)

    def state(self) -> dict[str, Tensor]:
        """Weights, codebooks, mean and scale."""
        return {name: tensor.detach().cpu().contiguous() for name, tensor in self.model.state_dict().items()}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], settings: IndexSettings, seed: int, device: torch.device) -> Self:
        """Restore the network."""
        if "mean" not in state:
            raise ValueError(f"no RQ-VAE was saved there, only {sorted(state)}; learn the index again")
        model = _new_rqvae(len(state["mean"]), settings, torch.Generator())
        require_shapes(state, {name: tensor.shape for name, tensor in model.state_dict().items()})
        model.load_state_dict(dict(state))
        return cls(model.to(device), settings, seed)


def _new_rqvae(input_dim: int, settings: IndexSettings, generator: torch.Generator) -> RQVAE:
    """Build an RQ-VAE whose weights depend on the generator alone."""
    quantizer = ResidualQuantizer(
        *settings.shape,
        settings.latent_dim,
        settings.beta,
        settings.sinkhorn_epsilon,
        settings.sinkhorn_iterations,
    )
    return RQVAE(input_dim, settings.hidden_sizes, quantizer, generator)
