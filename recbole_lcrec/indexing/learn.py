"""Learning an item index: training, quantization of the catalogue, conflict resolution, each step an artifact.

Knows the order of these steps, their checks and what the log says of them. Refuses to know where embeddings come from
and what a method does inside. Under torchrun the processes share the quantization through the artifacts alone; training
is one process's work.
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

from recbole_lcrec.artifacts import ArtifactStore
from recbole_lcrec.indexing.item_index import ItemIndex, conflict_rate, perplexities, save_index
from recbole_lcrec.indexing.method import CHUNK, Assignment, IndexMethod, Training
from recbole_lcrec.indexing.methods import METHODS
from recbole_lcrec.indexing.saved import (
    INDEX_FILE,
    REPORT_FILE,
    SavedMethod,
    load_method,
    read_index,
    save_method,
)
from recbole_lcrec.settings import IndexSettings, TextSettings

__all__ = ["Learned", "finished_index", "learn_item_index", "require_room"]

_CURVE_FILE = "curve.json"
_ITEMS_PER_PART = 4 * CHUNK


@dataclass(frozen=True, eq=False)
class Learned:
    """An index without conflicts, the folder that holds it with all that made it, and whether it was there before."""

    index: ItemIndex
    folder: Path
    reused: bool


def learn_item_index(
    item_ids: Sequence[str],
    embeddings: np.ndarray | None,
    settings: IndexSettings,
    text: TextSettings | None,
    store: ArtifactStore,
    seed: int,
    device: torch.device,
    show_progress: bool = True,
) -> Learned:
    """Trains the configured method on the catalogue and builds an index in which no two items are alike.

    Args:
        item_ids: N original item ids.
        embeddings: ``[N, D]``, finite; None for a method that needs none.
        settings: the method and its sizes.
        text: how texts were encoded, kept with the index for items to come; None where they were not.
        store: takes the artifacts.
        seed: of weights, batches, codebooks and lots; the same on one machine gives the same index.
        device: where training and quantization run.
        show_progress: whether to draw a progress bar.

    Raises:
        ValueError: no index can be learned from these embeddings, or there are more items than indices; says why.
    """
    kind, n_items = METHODS[settings.method], len(item_ids)
    require_room(n_items, settings)
    embeddings = _checked(embeddings, n_items) if kind.needs_embeddings else None
    training = Training(settings, n_items, seed, device, show_progress)
    parts = {
        "embeddings": embeddings,
        "items": n_items,
        "settings": _that_matter(settings),
        "seed": seed,
        "libraries": {"torch": version("torch"), "scipy": version("scipy"), "faiss": faiss.__version__},
    }
    trained = store.get_or_build("indexer", parts, lambda folder: _train(embeddings, training, text, folder))
    made = store.get_or_build_in_parts(
        "index",
        {**parts, "item_ids": list(item_ids), "text": text},
        -(-n_items // _ITEMS_PER_PART) if kind.needs_embeddings else 1,
        lambda i, folder: _quantize(trained.path, embeddings, _rows(i, n_items, kind), device, folder),
        lambda folders, folder: _finish(trained.path, embeddings, item_ids, text, device, folders, folder),
    )
    index = read_index(made.path, item_ids)
    index.require_unique()
    return Learned(index, made.path, made.reused)


def require_room(n_items: int, settings: IndexSettings) -> None:
    """Makes sure that there are as many indices as items, before anything is encoded or trained.

    Raises:
        ValueError: fewer than two items, or N > K^H.
    """
    if n_items < 2:
        raise ValueError(
            f"a catalogue of {n_items} item{'s' * (n_items != 1)}: an index needs at least two to tell apart"
        )
    room = settings.codebook_size**settings.levels
    if settings.method not in ("vanilla", "supplement") and n_items > room:
        raise ValueError(
            f"{n_items} items cannot have distinct indices of {settings.levels} levels x {settings.codebook_size} "
            f"codes ({room} at most); raise index_levels or index_codebook_size"
        )


def finished_index(method: IndexMethod, assignment: Assignment) -> tuple[ItemIndex, dict[str, Any]]:
    """Parts the items in conflict and counts what that came to.

    Returns:
        The index, and its numbers as JSON values.
    """
    started = perf_counter()
    resolution = method.separate(assignment)
    index = ItemIndex(resolution.codes, method.sizes_of(resolution.codes))
    index.require_unique()
    numbers = {
        "items": index.n_items,
        "levels": index.levels,
        "codebook_sizes": list(index.codebook_sizes),
        "conflict_rate_before": conflict_rate(assignment.codes),
        "conflict_rate_after": conflict_rate(index.codes),
        "moved_items": resolution.moved,
        "moved_added_distance": resolution.added_distance,
        "codes_used": [len(np.unique(level)) for level in index.codes.T],
        "perplexity": [round(value, 2) for value in perplexities(index.codes)],
        "resolution_seconds": round(perf_counter() - started, 2),
    }
    return index, numbers


def _that_matter(settings: IndexSettings) -> dict[str, Any]:
    """The settings that an index is made of, without those that say where it comes from and how it is reported."""
    elsewhere = {"file", "embedding_file", "embedding_ids", "label_field", "report"}
    return {name: value for name, value in dataclasses.asdict(settings).items() if name not in elsewhere}


def _rows(part: int, n_items: int, kind: type[IndexMethod]) -> range:
    if not kind.needs_embeddings:
        return range(n_items)
    return range(part * _ITEMS_PER_PART, min((part + 1) * _ITEMS_PER_PART, n_items))


def _train(embeddings: np.ndarray | None, training: Training, text: TextSettings | None, folder: Path) -> None:
    started = perf_counter()
    method, curve = METHODS[training.settings.method].train(embeddings, training)
    save_method(SavedMethod(method, method.codebook_sizes, text), folder)
    content = {
        "seconds": round(perf_counter() - started, 2),
        "epochs": [dataclasses.asdict(epoch) for epoch in curve],
    }
    (folder / _CURVE_FILE).write_text(json.dumps(content, indent=1), encoding="utf-8")


def _quantize(trained: Path, embeddings: np.ndarray | None, rows: range, device: torch.device, folder: Path) -> None:
    chunk = None if embeddings is None else embeddings[rows.start : rows.stop]
    assignment = load_method(trained, device).method.assign(chunk, rows)
    np.save(folder / "codes.npy", assignment.codes)
    if assignment.latents is not None:
        np.save(folder / "latents.npy", assignment.latents)
        (folder / "lost.json").write_text(json.dumps(assignment.lost), encoding="utf-8")


def _joined(parts: Sequence[Path]) -> Assignment:
    def arrays(name: str) -> np.ndarray:
        loaded = [np.load(part / name, allow_pickle=False) for part in parts]
        return loaded[0] if len(loaded) == 1 else np.concatenate(loaded)

    codes = arrays("codes.npy")
    if not (parts[0] / "latents.npy").is_file():
        return Assignment(codes)
    lost = sum(json.loads((part / "lost.json").read_text(encoding="utf-8")) for part in parts)
    return Assignment(codes, arrays("latents.npy"), lost)


def _finish(
    trained: Path,
    embeddings: np.ndarray | None,
    item_ids: Sequence[str],
    text: TextSettings | None,
    device: torch.device,
    parts: Sequence[Path],
    folder: Path,
) -> None:
    method, assignment = load_method(trained, device).method, _joined(parts)
    index, numbers = finished_index(method, assignment)
    curve = json.loads((trained / _CURVE_FILE).read_text(encoding="utf-8"))
    report = {"method": method.settings.method, **numbers, "training_seconds": curve["seconds"]}
    if embeddings is not None and assignment.lost is not None:
        error = assignment.lost / len(embeddings)
        report["reconstruction_error"] = error
        report["variance_lost"] = error / max(_variance(embeddings), 1e-30)
    getLogger().info(_summary(index, report))
    save_index(index, item_ids, folder / INDEX_FILE)
    save_method(SavedMethod(method, index.codebook_sizes, text), folder)
    (folder / REPORT_FILE).write_text(json.dumps({**report, "curve": curve["epochs"]}, indent=1), encoding="utf-8")


def _variance(embeddings: np.ndarray) -> float:
    """Mean over the dimensions of the variance over the items, accumulated in float64 a chunk at a time."""
    mean = embeddings.mean(axis=0, dtype=np.float64)
    total = sum(
        float(((embeddings[start : start + CHUNK] - mean) ** 2).sum()) for start in range(0, len(embeddings), CHUNK)
    )
    return total / embeddings.size


def _checked(embeddings: np.ndarray | None, n_items: int) -> np.ndarray:
    if embeddings is None or embeddings.ndim != 2 or not embeddings.shape[1] or len(embeddings) != n_items:
        found = None if embeddings is None else list(embeddings.shape)
        raise ValueError(f"embeddings must be [N, D] with N = {n_items} items, got {found}")
    bad: list[int] = []
    for start in range(0, n_items, CHUNK):
        finite = np.isfinite(embeddings[start : start + CHUNK]).all(axis=1)
        bad += (start + np.flatnonzero(~finite)).tolist()
    if bad:
        raise ValueError(
            f"embeddings of {len(bad)} items hold NaN or infinity, first in rows {bad[:5]}; "
            "check the text encoder, or mend the embeddings"
        )
    return embeddings


def _summary(index: ItemIndex, report: dict[str, Any]) -> str:
    words = [f"item index by {report['method']}: {index.n_items:,} items, {index.sizes_in_words()}"]
    if "variance_lost" in report:
        words.append(f"reconstruction loses {report['variance_lost']:.4f} of the variance")
    words.append(
        f"conflict rate {report['conflict_rate_before']:.4f} before and {report['conflict_rate_after']:.4f} after "
        f"reassignment ({report['moved_items']} items moved, mean added distance {report['moved_added_distance']:.4f})"
    )
    words.append(f"codes used per level {report['codes_used']}, perplexity {report['perplexity']}")
    seconds = report["training_seconds"] + report["resolution_seconds"]
    words.append(f"training and resolution {seconds:.1f} s")
    return ", ".join(words)
