"""The residual-quantized variational autoencoder, RQ-VAE: network and loss.

Paper III-B2, Eq. 1-5.
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
"""Rows per chunk wherever a whole catalogue is processed."""

_CONSTANT = 1e-12


@dataclass(frozen=True)
class RQVAELoss:
    """Loss of a batch: the total of Eq. 5, its two terms, and the quantized batch."""

    total: Tensor
    reconstruction: Tensor
    quantization: Tensor
    quantized: Quantized


class RQVAE(nn.Module):
    """Encoder and decoder MLPs with ReLU activations, and a residual quantizer between them.

    Embeddings are centred and divided by one scale for all dimensions (:meth:`fit`). This keeps their geometry and
    makes learning rate and weight decay independent of the text encoder. The squared norms of Eq. 3 and Eq. 4 are both
    divided by D, which keeps their weights in Eq. 5. (Averaging them over D and d elements respectively would raise the
    weight of Eq. 4 by D/d and pull similar items onto the same codes.) The reconstruction loss is thus the share of the
    variance lost.

    Args:
        input_dim: D.
        hidden_sizes: widths of the encoder's hidden layers; the decoder has them in reverse order.
        quantizer: a quantizer of dimension d.
        generator: draws the weights, on the CPU; move the module to a device afterwards.
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
        """Set mean and scale from ``embeddings [N, D]``, and initialise both MLPs with their principal components.

        In every hidden layer d units carry the components and d units their negatives, so that ReLU loses nothing; the
        other units keep their random weights but get no outgoing weight. Latents then have a root mean square of 1.
        This starts training at the best linear autoencoder, which a deep bottleneck takes hundreds of epochs to reach;
        the paper does not describe its initialisation. Where a hidden layer is narrower than 2d, the weights stay
        random.
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
        """Centre and scale embeddings ``[B, D]``; encoder and losses work on the result."""
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
    """Leading d eigenvectors ``[d, D]`` of a matrix ``[D, D]`` and their eigenvalues ``[d]``, zero-padded if d > D."""
    values, vectors = torch.linalg.eigh(covariance)
    kept = min(d, len(values))
    components, variances = covariance.new_zeros(d, len(values)), covariance.new_zeros(d)
    components[:kept] = vectors.T.flip(0)[:kept]
    variances[:kept] = values.flip(0)[:kept].clamp_min(0)
    return components, variances


def _start_linear(mlp: nn.Sequential, matrix: Tensor) -> None:
    """Set the MLP's weights so that it computes ``matrix @ x``, if its hidden layers are wide enough."""
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
    """Build linear layers with ReLU between them; Kaiming-normal weights, zero biases."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        linear = nn.utils.skip_init(nn.Linear, fan_in, fan_out)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu", generator=generator)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])
