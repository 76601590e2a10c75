"""Residual quantization: a vector as a sum of one codebook vector per level.

Paper Eq. 1, 2 and 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recbole_lcrec.indexing.sinkhorn import marginal_errors, scaled_cost, sinkhorn

__all__ = ["Quantized", "ResidualQuantizer", "squared_distances"]

_TOLERANCE = 0.01


def squared_distances(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Squared Euclidean distances ``[B, K]`` of ``vectors [B, d]`` to ``codebook [K, d]``, at least 0."""
    cross = vectors @ codebook.T
    return (vectors.square().sum(1, keepdim=True) - 2 * cross + codebook.square().sum(1)).clamp_min(0)


@dataclass(frozen=True)
class Quantized:
    """A quantized batch.

    Attributes:
        vectors: ``[B, d]``, the sums of code vectors, with a straight-through gradient to the input.
        codes: int64 ``[B, H]``.
        loss: scalar, Eq. 4: squared norms summed over levels, averaged over the batch.
        residuals: ``[H, B, d]``, the input of each level, without gradient.
        marginal_error: largest relative deviation of a code's share in the plan of Eq. 6 from 1/K; None without uniform
            mapping.
    """

    vectors: Tensor
    codes: Tensor
    loss: Tensor
    residuals: Tensor
    marginal_error: Tensor | None = None


class ResidualQuantizer(nn.Module):
    """H codebooks of K vectors; each level quantizes the residual of the levels above.

    Args:
        levels: H.
        codebook_size: K.
        dim: d.
        beta: weight of the commitment term in Eq. 4.
        sinkhorn_epsilon: entropy weight of the uniform semantic mapping.
        sinkhorn_iterations: maximum Sinkhorn-Knopp iterations per batch; they stop once all codes' shares are within 1%
            of 1/K.
    """

    initialised: Tensor

    def __init__(
        self,
        levels: int,
        codebook_size: int,
        dim: int,
        beta: float = 0.25,
        sinkhorn_epsilon: float = 0.003,
        sinkhorn_iterations: int = 50,
    ) -> None:
        super().__init__()
        self.beta = beta
        self.sinkhorn_epsilon = sinkhorn_epsilon
        self.sinkhorn_iterations = sinkhorn_iterations
        self.codebooks = nn.Parameter(torch.zeros(levels, codebook_size, dim))
        self.register_buffer("initialised", torch.tensor(False))

    @property
    def levels(self) -> int:
        """H, the number of levels."""
        return self.codebooks.shape[0]

    def forward(self, latents: Tensor, uniform: bool = False) -> Quantized:
        """Quantize a batch for training.

        Args:
            latents: ``[B, d]``.
            uniform: whether the last level maps by the plan of Eq. 6 (Algorithm 1) instead of to the nearest code.

        Raises:
            RuntimeError: the codebooks are not initialised.
        """
        self._require_initialised()
        residual, total = latents, torch.zeros_like(latents)
        loss = latents.new_zeros(())
        codes, residuals, marginal_error = [], [], None
        for level, codebook in enumerate(self.codebooks):
            with torch.no_grad():
                residuals.append(residual.detach())
                distances = squared_distances(residual, codebook)
                if uniform and level == self.levels - 1:
                    plan = self._plan(distances)
                    chosen, marginal_error = plan.argmax(dim=1), marginal_errors(plan)[1]
                else:
                    chosen = distances.argmin(dim=1)
            vectors = codebook[chosen]
            codebook_loss = (residual.detach() - vectors).square().sum(dim=1).mean()
            commitment = (residual - vectors.detach()).square().sum(dim=1).mean()
            loss = loss + codebook_loss + self.beta * commitment
            codes.append(chosen)
            total = total + vectors.detach()
            residual = residual - vectors.detach()
        straight_through = latents + (total - latents).detach()
        return Quantized(straight_through, torch.stack(codes, dim=1), loss, torch.stack(residuals), marginal_error)

    @torch.no_grad()
    def encode(self, latents: Tensor) -> Tensor:
        """Return the nearest code of each level (Eq. 1), int64 ``[B, H]`` for ``latents [B, d]``.

        Raises:
            RuntimeError: the codebooks are not initialised.
        """
        self._require_initialised()
        residual, codes = latents, []
        for codebook in self.codebooks:
            codes.append(squared_distances(residual, codebook).argmin(dim=1))
            residual = residual - codebook[codes[-1]]
        return torch.stack(codes, dim=1)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Return the sum of the code vectors over levels (Eq. 2), ``[B, d]`` for int64 ``codes [B, H]``."""
        levels = torch.arange(self.levels, device=codes.device)
        return self.codebooks[levels, codes].sum(dim=1)

    def _plan(self, distances: Tensor) -> Tensor:
        cost = scaled_cost(distances)
        return sinkhorn(cost, self.sinkhorn_epsilon, self.sinkhorn_iterations, tolerance=_TOLERANCE)

    def _require_initialised(self) -> None:
        if not self.initialised:
            raise RuntimeError("the codebooks are not initialised: call initialise_codebooks or load a state first")
