"""The residual-quantized variational autoencoder (paper III-B2, Eq. 1-5).

Knows the MLPs around the quantizer, the scale of the embeddings it was made for, and the loss. Refuses to know how it
is trained and what item stands behind an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from recbole_lcrec.indexing.quantizer import Quantized, ResidualQuantizer

__all__ = ["ROWS_AT_ONCE", "RQVAE", "RQVAELoss"]

ROWS_AT_ONCE = 16384
"""Rows of a catalogue that are worked on together wherever all of it is gone through."""

_CONSTANT = 1e-12


@dataclass(frozen=True)
class RQVAELoss:
    """Loss of one batch: total of Eq. 5, its two terms, and the quantized batch that they come from."""

    total: Tensor
    reconstruction: Tensor
    quantization: Tensor
    quantized: Quantized


class RQVAE(nn.Module):
    """Encoder and decoder MLPs with ReLU between linear layers, and a residual quantizer in the middle.

    Embeddings are centred and divided by one scale for all dimensions (``fit``), which keeps their geometry and
    makes learning rate and weight decay mean the same for any encoder. The squared norms of Eq. 3 and Eq. 4 are both
    divided by D, which keeps the weight that Eq. 5 gives them (means over D and over d elements would raise that of
    Eq. 4 by D/d, and pull like items onto the same codes); the reconstruction loss is the share of the variance lost.

    Args:
        input_dim: D.
        hidden_sizes: widths of the encoder's hidden layers; the decoder has them in reverse.
        quantizer: of dimension d.
        generator: draws the weights, on the CPU; a module is built there and moved afterwards.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, input_dim: int, hidden_sizes: Sequence[int], quantizer: ResidualQuantizer, generator: torch.Generator
    ) -> None:
        super().__init__()
        widths = [input_dim, *hidden_sizes, quantizer.codebooks.shape[-1]]
        self.encoder = _mlp(widths, generator)
        self.decoder = _mlp(widths[::-1], generator)
        self.quantizer = quantizer
        self.register_buffer("mean", torch.zeros(input_dim))
        self.register_buffer("scale", torch.ones(()))

    @torch.no_grad()
    def fit(self, embeddings: Tensor) -> None:
        """Takes mean and scale of ``embeddings [N, D]`` and starts both MLPs at their principal components.

        Half of 2d units per hidden layer carry the d components, the other half their negatives, so that ReLU loses
        nothing; all further units keep their random weights and are not listened to yet. Latents then have a root mean
        square of 1. The start is the best linear autoencoder, where a deep bottleneck needs hundreds of epochs to come;
        the paper says nothing of its start. Where a hidden layer is narrower than 2d the weights stay random.
        """
        chunks = embeddings.split(ROWS_AT_ONCE)
        mean = torch.stack([self._double(chunk).sum(dim=0) for chunk in chunks]).sum(dim=0) / len(embeddings)
        covariance = mean.new_zeros(len(mean), len(mean))
        for chunk in chunks:
            centred = self._double(chunk) - mean
            covariance += centred.T @ centred / len(embeddings)
        scale = covariance.diagonal().mean().sqrt()
        scale = scale if scale > _CONSTANT else torch.ones_like(scale)
        self.mean.copy_(mean)
        self.scale.copy_(scale)
        components, variances = _principal_components(covariance / scale**2, self.quantizer.codebooks.shape[-1])
        spread = variances.mean().sqrt()
        if spread > _CONSTANT:
            _start_linear(self.encoder, (components / spread).to(self.mean))
            _start_linear(self.decoder, (components.T * spread).to(self.mean))

    def scaled(self, embeddings: Tensor) -> Tensor:
        """Centred and scaled embeddings ``[B, D]``, what encoder and losses work on."""
        return (embeddings - self.mean) / self.scale

    def latents(self, embeddings: Tensor) -> Tensor:
        """Latent vectors ``[B, d]`` of raw ``embeddings [B, D]``."""
        return self.encoder(self.scaled(embeddings))

    def _double(self, embeddings: Tensor) -> Tensor:
        return embeddings.to(device=self.mean.device, dtype=torch.float64)

    def loss(self, embeddings: Tensor, uniform: bool = False) -> RQVAELoss:
        """Eq. 3-5 for raw ``embeddings [B, D]``; ``uniform`` as in ``ResidualQuantizer.forward``."""
        target = self.scaled(embeddings)
        quantized = self.quantizer(self.encoder(target), uniform=uniform)
        reconstruction = (self.decoder(quantized.vectors) - target).square().mean()
        quantization = quantized.loss / target.shape[1]
        return RQVAELoss(reconstruction + quantization, reconstruction, quantization, quantized)


def _principal_components(covariance: Tensor, d: int) -> tuple[Tensor, Tensor]:
    """The d leading eigenvectors ``[d, D]`` of ``[D, D]`` and their eigenvalues ``[d]``; zeros beyond D."""
    values, vectors = torch.linalg.eigh(covariance)
    kept = min(d, len(values))
    components, variances = covariance.new_zeros(d, len(values)), covariance.new_zeros(d)
    components[:kept] = vectors.T.flip(0)[:kept]
    variances[:kept] = values.flip(0)[:kept].clamp_min(0)
    return components, variances


def _start_linear(mlp: nn.Sequential, matrix: Tensor) -> None:
    """Sets the MLP's weights so that it computes ``matrix @ x``, if its hidden layers are wide enough."""
    layers = [layer for layer in mlp if isinstance(layer, nn.Linear)]
    if len(layers) == 1:
        layers[0].weight.copy_(matrix)
        return
    inner = min(matrix.shape)
    if min(layer.out_features for layer in layers[:-1]) < 2 * inner:
        return
    identity = torch.eye(inner, device=matrix.device)
    first, last = (matrix, identity) if matrix.shape[0] == inner else (identity, matrix)
    layers[0].weight[: 2 * inner] = torch.cat([first, -first])
    for layer in layers[1:-1]:
        layer.weight[: 2 * inner] = 0
        layer.weight[: 2 * inner, : 2 * inner] = torch.eye(2 * inner, device=matrix.device)
    layers[-1].weight.zero_()
    layers[-1].weight[:, : 2 * inner] = torch.cat([last, -last], dim=1)


def _mlp(widths: Sequence[int], generator: torch.Generator) -> nn.Sequential:
    """Linear layers with ReLU between them; Kaiming weights, as ReLU wants them, and biases of zero."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        linear = nn.utils.skip_init(nn.Linear, fan_in, fan_out)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu", generator=generator)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])
