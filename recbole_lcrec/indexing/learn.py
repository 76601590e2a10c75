"""Learning an item index: train the method, quantize the catalogue, resolve conflicts.

The trained method and the index are artifacts. Under torchrun one process trains, and all share the quantization
through the artifact store.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from logging import getLogger
from pathlib import Path
from time import perf_counter
from typing import Any

import faiss
import numpy as np
import torch

from recbole_lcrec.config.settings import IndexSettings, TextSettings
from recbole_lcrec.indexing.base import Assignment, IndexMethod, Training, assigned
from recbole_lcrec.indexing.item_index import ItemIndex, conflict_rate, perplexities
from recbole_lcrec.indexing.methods import index_method, plugin_digest
from recbole_lcrec.indexing.rqvae_network import ROWS_AT_ONCE
from recbole_lcrec.indexing.saved import (
    CODES_FILE,
    REPORT_FILE,
    SavedMethod,
    load_method,
    read_index,
    save_method,
)
from recbole_lcrec.runtime.artifacts import ArtifactStore

__all__ = ["Learned", "learn_item_index", "require_room"]

_CURVE_FILE = "curve.json"
_FORM = 2  # increase whenever the same inputs give another index
_EQUAL = 1e-12  # variance relative to the mean square below which all embeddings count as equal
_ITEMS_PER_PART = 4 * ROWS_AT_ONCE


@dataclass(frozen=True, eq=False)
class Learned:
    """A learned index.

    Attributes:
        index: the index, without conflicts.
        folder: the artifact with the index, the trained method and the report's numbers.
        reused: whether it existed before.
    """

    index: ItemIndex
    folder: Path
    reused: bool


def learn_item_index(
    n_items: int,
    embeddings: np.ndarray | None,
    settings: IndexSettings,
    text: TextSettings | None,
    store: ArtifactStore,
    seed: int,
    device: torch.device,
    show_progress: bool = True,
) -> Learned:
    """Train the configured method on the catalogue, and build an index in which all items differ.

    Args:
        n_items: N.
        embeddings: ``[N, D]``, finite; None for a method that needs none.
        settings: the method and its hyperparameters; ``auto`` must be resolved.
        text: how the texts were encoded, stored with the index for new items; None where no texts were encoded.
        store: holds the artifacts.
        seed: seed of weights, batches, codebooks and random codes; on one machine equal seeds give equal indices.
        device: where training and quantization run.
        show_progress: whether to show a progress bar.

    Raises:
        ValueError: no index can be learned from these embeddings, or there are more items than indices; the message
            says why.
    """
    kind = index_method(settings.method)
    require_room(n_items, settings)
    embeddings = _checked(embeddings, n_items) if kind.needs_embeddings else None
    if kind.shares_prefixes:
        _hint_at_size(n_items, settings)
    training = Training(settings, seed, device, show_progress)
    parts: dict[str, Any] = {
        "form": _FORM,
        "embeddings": embeddings,
        "items": n_items,
        "settings": _index_relevant(settings),
        "seed": seed,
        "libraries": {"torch": version("torch"), "scipy": version("scipy"), "faiss": faiss.__version__},
    }
    if (digest := plugin_digest(settings.method)) is not None:
        parts["method_source"] = digest
    trained = store.get_or_build("indexer", parts, lambda folder: _train(embeddings, training, text, folder))
    made = store.get_or_build_in_parts(
        "index",
        {**parts, "text": text},
        -(-n_items // _ITEMS_PER_PART) if kind.needs_embeddings else 1,
        lambda i, folder: _quantize(trained.path, embeddings, _rows(i, n_items, kind), device, folder),
        lambda folders, folder: _finish(trained.path, embeddings, text, device, folders, folder),
    )
    index = read_index(made.path)
    index.require_unique()
    return Learned(index, made.path, made.reused)


def require_room(n_items: int, settings: IndexSettings) -> None:
    """Check that there are at least two items and enough distinct indices, before anything is encoded or trained.

    Raises:
        ValueError: there are not; the message names the keys to change.
    """
    if n_items < 2:
        raise ValueError(f"a catalogue of {n_items} item{'s' * (n_items != 1)}: an index needs at least two items")
    index_method(settings.method).require_room(n_items, settings)


def _without_conflicts(
    method: IndexMethod, assignment: Assignment, embeddings: np.ndarray | None
) -> tuple[ItemIndex, dict[str, Any]]:
    """Resolve the conflicts.

    Returns:
        The index, and the report's numbers as JSON values.
    """
    started = perf_counter()
    resolution = method.resolve_conflicts(assignment, embeddings)
    index = ItemIndex(resolution.codes, method.sizes_of(resolution.codes))
    index.require_unique()
    numbers = {
        "items": index.n_items,
        "levels": index.levels,
        "codebook_sizes": list(index.codebook_sizes),
        "conflict_rate_before": conflict_rate(assignment.codes),
        "conflict_rate_after": conflict_rate(index.codes),
        "moved_items": resolution.moved,
        "moved_out_of_prefix": resolution.spilled,
        "moved_added_distance": resolution.added_distance,
        "codes_used": [len(np.unique(level)) for level in index.codes.T],
        "perplexity": [round(value, 2) for value in perplexities(index.codes)],
        "resolution_seconds": round(perf_counter() - started, 2),
    }
    return index, numbers


def _index_relevant(settings: IndexSettings) -> dict[str, Any]:
    """Return the settings that determine the index, without those of inputs and of the report."""
    irrelevant = {"file", "embedding_file", "embedding_ids", "label_field", "report"}
    if settings.method != "rqkmeans":  # artifacts of other methods that were made before the setting existed stay
        irrelevant.add("kmeans_balanced")
    return {name: value for name, value in dataclasses.asdict(settings).items() if name not in irrelevant}


def _rows(part: int, n_items: int, kind: type[IndexMethod]) -> range:
    if not kind.needs_embeddings:
        return range(n_items)
    return range(part * _ITEMS_PER_PART, min((part + 1) * _ITEMS_PER_PART, n_items))


def _train(embeddings: np.ndarray | None, training: Training, text: TextSettings | None, folder: Path) -> None:
    started = perf_counter()
    method, curve = index_method(training.settings.method).train(embeddings, training)
    save_method(SavedMethod(method, method.codebook_sizes, text), folder)
    content = {
        "seconds": round(perf_counter() - started, 2),
        "epochs": [dataclasses.asdict(epoch) for epoch in curve],
    }
    (folder / _CURVE_FILE).write_text(json.dumps(content, indent=1), encoding="utf-8")


def _quantize(trained: Path, embeddings: np.ndarray | None, rows: range, device: torch.device, folder: Path) -> None:
    chunk = None if embeddings is None else embeddings[rows.start : rows.stop]
    assignment = assigned(load_method(trained, device).method, chunk, rows)
    np.save(folder / "codes.npy", assignment.codes)
    if assignment.latents is not None:
        np.save(folder / "latents.npy", assignment.latents)
    if assignment.reconstruction_error is not None:
        (folder / "lost.json").write_text(json.dumps(assignment.reconstruction_error), encoding="utf-8")


def _joined(parts: Sequence[Path]) -> Assignment:
    def arrays(name: str) -> np.ndarray:
        loaded = [np.load(part / name, allow_pickle=False) for part in parts]
        return loaded[0] if len(loaded) == 1 else np.concatenate(loaded)

    def there(name: str) -> bool:
        return (parts[0] / name).is_file()

    latents = arrays("latents.npy") if there("latents.npy") else None
    lost = [json.loads((part / "lost.json").read_text(encoding="utf-8")) for part in parts if there("lost.json")]
    return Assignment(arrays("codes.npy"), latents, sum(lost) if lost else None)


def _hint_at_size(n_items: int, settings: IndexSettings) -> None:
    """Warn where the first level alone could tell nearly all items apart, so that hardly any share a prefix."""
    codes = settings.shape[1]
    if n_items < 4 * codes:
        getLogger().warning(
            f"{n_items:,} items for {codes} codes per level: few items will share a prefix; for "
            "a tree of prefixes set index_codebook_size to auto, or near the square root of the number of items"
        )


def _finish(
    trained: Path,
    embeddings: np.ndarray | None,
    text: TextSettings | None,
    device: torch.device,
    parts: Sequence[Path],
    folder: Path,
) -> None:
    method, assignment = load_method(trained, device).method, _joined(parts)
    index, numbers = _without_conflicts(method, assignment, embeddings)
    curve = json.loads((trained / _CURVE_FILE).read_text(encoding="utf-8"))
    report = {"method": method.settings.method, **numbers, "training_seconds": curve["seconds"]}
    if embeddings is not None and assignment.reconstruction_error is not None:
        report["reconstruction_error"] = assignment.reconstruction_error / len(embeddings)
        variance, size = _variance(embeddings)
        if variance > _EQUAL * size:
            report["variance_lost"] = report["reconstruction_error"] / variance
        else:
            getLogger().warning("All items have the same embedding, so differences between their indices mean nothing")
    getLogger().info(_summary(index, report))
    np.save(folder / CODES_FILE, index.codes)
    save_method(SavedMethod(method, index.codebook_sizes, text), folder)
    (folder / REPORT_FILE).write_text(json.dumps({**report, "curve": curve["epochs"]}, indent=1), encoding="utf-8")


def _variance(embeddings: np.ndarray) -> tuple[float, float]:
    """Variance around the mean item and mean square, both averaged over all elements; float64, in chunks."""
    mean = embeddings.mean(axis=0, dtype=np.float64)
    deviations = squares = 0.0
    for start in range(0, len(embeddings), ROWS_AT_ONCE):
        chunk = embeddings[start : start + ROWS_AT_ONCE].astype(np.float64)
        deviations += float(((chunk - mean) ** 2).sum())
        squares += float((chunk**2).sum())
    return deviations / embeddings.size, squares / embeddings.size


def _checked(embeddings: np.ndarray | None, n_items: int) -> np.ndarray:
    if embeddings is None or embeddings.ndim != 2 or not embeddings.shape[1] or len(embeddings) != n_items:
        found = None if embeddings is None else list(embeddings.shape)
        raise ValueError(f"embeddings must be [N, D] with N = {n_items} items, got {found}")
    bad: list[int] = []
    for start in range(0, n_items, ROWS_AT_ONCE):
        finite = np.isfinite(embeddings[start : start + ROWS_AT_ONCE]).all(axis=1)
        bad += (start + np.flatnonzero(~finite)).tolist()
    if bad:
        raise ValueError(
            f"embeddings of {len(bad)} items hold NaN or infinity, first in rows {bad[:5]}; "
            "check the text encoder, or correct the embeddings"
        )
    return embeddings


def _cost_phrase(report: dict[str, Any]) -> str:
    if report["moved_added_distance"] is None:
        return ""
    return (
        f", {report['moved_out_of_prefix']} of them out of their prefix, mean added distance "
        f"{report['moved_added_distance']:.4f}"
    )


def _summary(index: ItemIndex, report: dict[str, Any]) -> str:
    phrases = [f"item index by {report['method']}: {index.n_items:,} items, {index.sizes_in_words()}"]
    if "variance_lost" in report:
        phrases.append(f"reconstruction loses {report['variance_lost']:.4f} of the variance")
    phrases.append(
        f"conflict rate {report['conflict_rate_before']:.4f} before and {report['conflict_rate_after']:.4f} after "
        f"reassignment ({report['moved_items']} items moved{_cost_phrase(report)})"
    )
    phrases.append(f"codes used per level {report['codes_used']}, perplexity {report['perplexity']}")
    seconds = report["training_seconds"] + report["resolution_seconds"]
    phrases.append(f"training and resolution {seconds:.1f} s")
    return ", ".join(phrases)
