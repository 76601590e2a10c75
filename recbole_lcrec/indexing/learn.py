"""Learning an item index from embeddings: training, construction and conflict resolution in one call.

Knows the order of these steps, their checks and what the log says of them; and how the result is written to and read
from an artifact's folder. Refuses to know where embeddings come from and when an artifact is reused.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from recbole_lcrec.indexing.conflicts import resolve_conflicts
from recbole_lcrec.indexing.item_index import ItemIndex, load_index, save_index
from recbole_lcrec.indexing.quantizer import ResidualQuantizer
from recbole_lcrec.indexing.rqvae import RQVAE
from recbole_lcrec.indexing.training import conflict_rate, encode_catalogue, train_rqvae
from recbole_lcrec.settings import IndexSettings

__all__ = ["INDEX_FILE", "REPORT_FILE", "STATE_FILE", "LearnedIndex", "learn_item_index", "read_index", "write_learned"]

INDEX_FILE = "index.json"
REPORT_FILE = "report.json"
STATE_FILE = "rqvae.safetensors"


@dataclass(frozen=True, eq=False)
class LearnedIndex:
    """A conflict-free index, the numbers of its making (JSON values), and the RQ-VAE's state on the CPU."""

    index: ItemIndex
    report: dict[str, Any]
    state: dict[str, Tensor]


def learn_item_index(
    embeddings: np.ndarray, settings: IndexSettings, seed: int, device: torch.device, show_progress: bool = True
) -> LearnedIndex:
    """Trains an RQ-VAE on the catalogue and builds an index in which no two items are alike (paper III-B).

    Args:
        embeddings: ``[N, D]`` of N items, finite.
        settings: sizes and training of the RQ-VAE.
        seed: of weights, batches and codebooks; the same on one machine gives the same index.
        device: where the RQ-VAE trains.
        show_progress: whether to draw a progress bar.

    Raises:
        ValueError: no index can be learned from these embeddings; says why.
    """
    started = time.perf_counter()
    _check(embeddings, settings)
    generator = torch.Generator().manual_seed(seed)
    model = _new_model(embeddings.shape[1], settings, generator).to(device)
    inputs = torch.from_numpy(np.ascontiguousarray(embeddings, dtype=np.float32)).to(device)
    curve = train_rqvae(model, inputs, settings, generator, show_progress)
    codes = encode_catalogue(model, inputs)
    with torch.no_grad():
        latents = model.latents(inputs)
        decoded = model.decoder(model.quantizer.decode(codes))
        reconstruction = float((decoded - model.scaled(inputs)).square().mean())
    before = codes.cpu().numpy()
    codebooks = model.quantizer.codebooks.detach().cpu().numpy()
    resolution = resolve_conflicts(before, latents.cpu().numpy(), codebooks)
    index = ItemIndex(resolution.codes, settings.codebook_size)
    index.require_unique()
    report = {
        "items": index.n_items,
        "levels": index.levels,
        "codebook_size": index.codebook_size,
        "reconstruction_loss": reconstruction,
        "conflict_rate_before": conflict_rate(before),
        "conflict_rate_after": conflict_rate(index.codes),
        "codes_used": [len(np.unique(level)) for level in index.codes.T],
        "moved_items": resolution.moved,
        "moved_added_distance": resolution.added_distance,
        "seconds": round(time.perf_counter() - started, 2),
        "curve": [dataclasses.asdict(epoch) for epoch in curve],
    }
    getLogger().info(_summary(report))
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    return LearnedIndex(index, report, state)


def write_learned(learned: LearnedIndex, item_ids: Sequence[str], folder: Path) -> None:
    """Writes index (published JSON form), report (JSON) and RQ-VAE (safetensors) into an existing folder."""
    save_index(learned.index, item_ids, folder / INDEX_FILE)
    (folder / REPORT_FILE).write_text(json.dumps(learned.report, indent=1), encoding="utf-8")
    save_file(learned.state, folder / STATE_FILE)


def read_index(folder: Path, item_ids: Sequence[str]) -> ItemIndex:
    """Reads what ``write_learned`` wrote; K is the trained one, used to its last code or not.

    Raises:
        ValueError: the folder's index is not one of these items.
    """
    report = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
    return ItemIndex(load_index(folder / INDEX_FILE, item_ids).codes, report["codebook_size"])


def _check(embeddings: np.ndarray, settings: IndexSettings) -> None:
    if embeddings.ndim != 2 or not embeddings.shape[1]:
        raise ValueError(f"embeddings must be [N, D], got shape {list(embeddings.shape)}")
    n_items, room = len(embeddings), settings.codebook_size**settings.levels
    if n_items < 2:
        raise ValueError(
            f"a catalogue of {n_items} item{'s' * (n_items != 1)}: an index needs at least two to tell apart"
        )
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(bad):
        raise ValueError(
            f"embeddings of {len(bad)} items hold NaN or infinity, first in rows {bad[:5].tolist()}; "
            "check the text encoder, or mend the embeddings"
        )
    if n_items > room:
        raise ValueError(
            f"{n_items} items cannot have distinct indices of {settings.levels} levels x {settings.codebook_size} "
            f"codes ({room} at most); raise index_levels or index_codebook_size"
        )


def _new_model(input_dim: int, settings: IndexSettings, generator: torch.Generator) -> RQVAE:
    """An RQ-VAE whose weights are drawn from the generator alone (Kaiming, for ReLU)."""
    quantizer = ResidualQuantizer(
        settings.levels,
        settings.codebook_size,
        settings.latent_dim,
        settings.beta,
        settings.sinkhorn_epsilon,
        settings.sinkhorn_iterations,
    )
    return RQVAE(input_dim, settings.hidden_sizes, quantizer, generator)


def _summary(report: dict[str, Any]) -> str:
    return (
        f"item index of {report['items']} items, {report['levels']} levels x {report['codebook_size']} codes: "
        f"reconstruction loss {report['reconstruction_loss']:.4f} of the variance, conflict rate "
        f"{report['conflict_rate_before']:.4f} before and {report['conflict_rate_after']:.4f} after reassignment "
        f"({report['moved_items']} items moved), codes used per level {report['codes_used']}, {report['seconds']} s"
    )
