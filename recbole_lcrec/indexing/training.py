"""Training of the RQ-VAE: initialisation, loop, revival of dead codes, and metrics.

Codebooks are initialised by k-means; metrics are reported per epoch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from logging import getLogger
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from recbole_lcrec.config.settings import IndexSettings
from recbole_lcrec.indexing.item_index import conflict_rate
from recbole_lcrec.indexing.kmeans import residual_codebooks
from recbole_lcrec.indexing.quantizer import ResidualQuantizer
from recbole_lcrec.indexing.rqvae_network import ROWS_AT_ONCE, RQVAE, RQVAELoss

__all__ = ["EpochReport", "encode_catalogue", "initialise_codebooks", "train_rqvae"]

_CODEBOOK_RATE = 0.05
_WARM_UP = 0.05
_MEASURED = 15


@dataclass(frozen=True)
class EpochReport:
    """Metrics of one epoch.

    Attributes:
        epoch: number of the epoch, from 1.
        reconstruction_loss: Eq. 3, per element of the scaled embeddings, averaged over the epoch's items.
        quantization_loss: the second term of Eq. 5, averaged over the epoch's items.
        conflict_rate: conflict rate of the whole catalogue after the epoch, with every level mapped to its nearest
            code; None where not measured.
        codes_used: per level, the number of codes that items were mapped to.
        perplexity: per level, exp of the entropy (in nats) of the codes that items were mapped to.
        marginal_error: largest relative deviation of a code's share from 1/K in the uniform mapping, averaged over
            batches; None without uniform mapping.
    """

    epoch: int
    reconstruction_loss: float
    quantization_loss: float
    conflict_rate: float | None
    codes_used: tuple[int, ...]
    perplexity: tuple[float, ...]
    marginal_error: float | None


def train_rqvae(
    model: RQVAE,
    embeddings: Tensor,
    settings: IndexSettings,
    generator: torch.Generator,
    show_progress: bool = True,
    uniform: bool = True,
) -> list[EpochReport]:
    """Train in place by AdamW with a short warm-up and cosine decay (Algorithm 1 per step, Eq. 5 as the loss).

    The MLPs start at the principal components, and the codebooks at balanced k-means centres of the whole catalogue's
    latents (the paper: k-means on the first batch). After each epoch but the last, codes that no item was mapped to are
    set to random residuals. Batch sizes differ by at most one item, because a small last batch would be mapped to more
    codes than it has items. The last epoch is kept: thanks to the decay it has the best reconstruction, and selecting
    an epoch by its conflict rate would trade the meaning of codes for conflicts that are resolved afterwards anyway.

    Args:
        model: on any device; batches are moved to it.
        embeddings: float32 ``[N, D]``, may be memory-mapped; only batches of it are copied.
        settings: epochs, batch size, learning rate, weight decay.
        generator: on the CPU; shuffles the items and draws revived codes.
        show_progress: whether to show a progress bar.
        uniform: whether the last level maps uniformly in training (Eq. 6), or to the nearest code ("w/o USM").

    Returns:
        One report per epoch. About fifteen of them, evenly spaced and including the last, have the conflict rate and
        are logged.
    """
    model.fit(embeddings)
    initialise_codebooks(model.quantizer, _latents(model, embeddings), generator)
    optimizer = _optimizer(model, settings)
    batches = math.ceil(len(embeddings) / settings.batch_size)
    n_epochs = _affordable_epochs(settings, batches)
    total = n_epochs * batches
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, total))
    every = max(1, n_epochs // _MEASURED)
    reports: list[EpochReport] = []
    model.train()
    epochs = range(1, n_epochs + 1)
    for epoch in _shown(epochs, show_progress):
        sums = _EpochSums(model)
        for rows in torch.randperm(len(embeddings), generator=generator).tensor_split(batches):
            loss = model.loss(embeddings[rows].to(model.mean.device), uniform=uniform)
            optimizer.zero_grad(set_to_none=True)
            loss.total.backward()
            optimizer.step()
            schedule.step()
            sums.add(loss)
        if epoch < n_epochs:  # nothing would be learned from a code that is revived at the end
            _revive(model.quantizer, sums.counts, loss.quantized.residuals, generator)
        measured = (n_epochs - epoch) % every == 0
        conflicts = conflict_rate(encode_catalogue(model, embeddings).cpu().numpy()) if measured else None
        reports.append(sums.report(epoch, conflicts))
        if measured:
            _log(reports[-1])
    model.eval()
    return reports


def initialise_codebooks(quantizer: ResidualQuantizer, latents: Tensor, generator: torch.Generator) -> None:
    """Initialise each level's codebook with balanced k-means centres of the residuals of ``latents [N, d]``."""
    levels, size, _ = quantizer.codebooks.shape
    books = residual_codebooks(latents.detach().float().cpu().numpy(), levels, size, generator, even=True)
    with torch.no_grad():
        quantizer.codebooks.copy_(torch.from_numpy(books))
        quantizer.initialised.fill_(True)


@torch.no_grad()
def encode_catalogue(model: RQVAE, embeddings: Tensor) -> Tensor:
    """Return the nearest codes of every item, int64 ``[N, H]``, in chunks of ``ROWS_AT_ONCE`` rows.

    Any run of whole chunks gives the same codes alone as within the catalogue, because it goes through the same matrix
    products; a catalogue can thus be split over processes.
    """
    device = model.mean.device
    return torch.cat(
        [model.quantizer.encode(model.latents(chunk.to(device))) for chunk in embeddings.split(ROWS_AT_ONCE)]
    )


class _EpochSums:
    """Sums over the batches of one epoch, kept on the model's device to avoid synchronisation per batch."""

    def __init__(self, model: RQVAE) -> None:
        codebooks = model.quantizer.codebooks
        self.counts = torch.zeros(codebooks.shape[:2], dtype=torch.long, device=codebooks.device)
        self.losses = torch.zeros(2, device=codebooks.device)
        self.items = 0
        self.marginal_errors: list[Tensor] = []

    def add(self, loss: RQVAELoss) -> None:
        codes = loss.quantized.codes
        self.counts.scatter_add_(1, codes.T, torch.ones_like(codes.T))
        self.losses += torch.stack([loss.reconstruction.detach(), loss.quantization.detach()]) * len(codes)
        self.items += len(codes)
        if loss.quantized.marginal_error is not None:
            self.marginal_errors.append(loss.quantized.marginal_error)

    def report(self, epoch: int, conflicts: float | None) -> EpochReport:
        reconstruction, quantization = (self.losses / self.items).tolist()
        used = (self.counts > 0).sum(dim=1).tolist()
        perplexity = torch.special.entr(self.counts / self.items).sum(dim=1).exp().tolist()
        error = torch.stack(self.marginal_errors).mean().item() if self.marginal_errors else None
        return EpochReport(epoch, reconstruction, quantization, conflicts, tuple(used), tuple(perplexity), error)


def _shown(epochs: range, show_progress: bool) -> Iterator[int]:
    """Iterate over the epochs with a progress bar that log lines do not break."""
    if not show_progress:
        yield from epochs
        return
    with logging_redirect_tqdm():
        yield from tqdm(epochs, desc="item index", unit="epoch", leave=False)


def _affordable_epochs(settings: IndexSettings, batches: int) -> int:
    """Return ``index_epochs``, or as many as ``index_max_steps`` allows; at least one."""
    affordable = max(1, settings.max_steps // batches)
    if affordable < settings.epochs:
        getLogger().info(
            f"item index: {affordable} of {settings.epochs} epochs, limited by index_max_steps = "
            f"{settings.max_steps:,} at {batches:,} steps per epoch"
        )
    return min(settings.epochs, affordable)


def _log(report: EpochReport) -> None:
    marginals = "" if report.marginal_error is None else f", marginal error {report.marginal_error:.1e}"
    getLogger().info(
        f"item index, epoch {report.epoch}: reconstruction loss {report.reconstruction_loss:.4f}, quantization loss "
        f"{report.quantization_loss:.4f}, conflict rate {report.conflict_rate:.4f}, codes used "
        f"{list(report.codes_used)}, perplexity {[round(value, 1) for value in report.perplexity]}{marginals}"
    )


def _optimizer(model: RQVAE, settings: IndexSettings) -> torch.optim.AdamW:
    """Build AdamW; codebooks get 1/20 of the learning rate and no weight decay, which would pull codes off residuals.

    The paper gives one learning rate for all. The faster codes move, the sooner they lose the even use that they start
    with: with 1/5 of the rate, a fifth more items of product texts were in conflict, at a 5% lower reconstruction loss.
    """
    codebooks = [model.quantizer.codebooks]
    networks = [*model.encoder.parameters(), *model.decoder.parameters()]
    groups: list[dict[str, Any]] = [
        {"params": networks},
        {"params": codebooks, "lr": _CODEBOOK_RATE * settings.learning_rate, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay)


def _rate(step: int, total: int) -> float:
    """Learning rate factor of a step: linear warm-up over the first 5% of the steps, times cosine decay to zero."""
    return min(1.0, (step + 1) / (_WARM_UP * total + 1)) * 0.5 * (1 + math.cos(math.pi * step / total))


@torch.no_grad()
def _revive(quantizer: ResidualQuantizer, counts: Tensor, residuals: Tensor, generator: torch.Generator) -> None:
    """Set unused codes (``counts [H, K]`` is 0) to random rows of ``residuals [H, B, d]``."""
    for level, count in enumerate(counts):
        dead = torch.nonzero(count == 0).flatten()
        if len(dead):
            drawn = torch.randint(residuals.shape[1], (len(dead),), generator=generator)
            quantizer.codebooks[level, dead] = residuals[level, drawn.to(residuals.device)]


@torch.no_grad()
def _latents(model: RQVAE, embeddings: Tensor) -> Tensor:
    device = model.mean.device
    return torch.cat([model.latents(chunk.to(device)) for chunk in embeddings.split(ROWS_AT_ONCE)])
