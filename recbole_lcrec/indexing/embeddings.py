"""Item embeddings of a catalogue.

They are loaded from the user's file, or made by a text encoder and stored as an artifact.

Encoding is split into parts, which survive an interruption and are shared by the processes of a launcher.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from logging import getLogger
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from recbole_lcrec.config.settings import IndexSettings, TextSettings
from recbole_lcrec.data.item_text import ItemTexts, require_texts
from recbole_lcrec.indexing.embedding_file import check_embedding_file, load_embedding_file
from recbole_lcrec.indexing.encoder_models import (
    TextModel,
    load_text_model,
    resolve_encoder,
    resolve_text_precision,
)
from recbole_lcrec.indexing.text_encoder import encode_items
from recbole_lcrec.runtime.artifacts import ArtifactStore
from recbole_lcrec.runtime.processes import process_count, process_rank

__all__ = ["ItemEmbeddings", "check_embedding_inputs", "encoder_identity", "item_embeddings"]

_VECTORS = "embeddings.npy"
_COUNTS = "counts.json"
_FORM = 1  # increase whenever the same inputs give other embeddings
_ITEMS_PER_PART = 1024
_WHOLE_FILE = 16 * 2**20
_SAMPLES, _SAMPLE = 64, 64 * 2**10


@dataclass(frozen=True, eq=False)
class ItemEmbeddings:
    """Embeddings of N items.

    Attributes:
        vectors: float32 ``[N, D]``, memory-mapped where possible; writing to it changes no file.
        folder: the artifact that holds them; None where they come from the user's file.
        reused: whether they existed before.
    """

    vectors: np.ndarray
    folder: Path | None
    reused: bool


def check_embedding_inputs(text: TextSettings, index: IndexSettings) -> None:
    """Check that the embedding files exist, or that the text encoder can be found, before any encoding.

    Raises:
        ValueError: something is missing; the message names it and the remedy.
    """
    if index.embedding_file is not None:
        check_embedding_file(Path(index.embedding_file), _optional_path(index.embedding_ids))
    elif index.embedding_ids is not None:
        raise ValueError(
            f"index_embedding_ids = {index.embedding_ids!r} has no effect without index_embedding_file: set both"
        )
    else:
        resolve_encoder(text.encoder)


def item_embeddings(
    texts: ItemTexts | Callable[[], ItemTexts] | None,
    item_ids: Sequence[str],
    text: TextSettings,
    index: IndexSettings,
    store: ArtifactStore,
    device: torch.device,
    show_progress: bool = True,
) -> ItemEmbeddings:
    """Load the embeddings of ``index_embedding_file``, or encode the items' texts (paper III-B1) unless that is done.

    The processes of a launcher share the encoding through the store; each can also finish it alone.

    Args:
        texts: texts of the N items, in the order of ``item_ids``, or a function that reads them when needed; may be
            None where a file is given.
        item_ids: N original item ids.
        text: the encoder and its options.
        index: names the embedding file, if any.
        store: holds the encoded parts and the result.
        device: where the encoder runs.
        show_progress: whether the first process shows a progress bar.

    Raises:
        ValueError: there are no items or no texts, or the file or the encoder cannot be used. The message names the
            cause and the remedy.
    """
    if not len(item_ids):
        raise ValueError("there are no items to embed: the catalogue is empty")
    check_embedding_inputs(text, index)
    if index.embedding_file is not None:
        file, ids = Path(index.embedding_file), _optional_path(index.embedding_ids)
        return ItemEmbeddings(load_embedding_file(file, ids, item_ids), None, reused=True)
    known = texts() if callable(texts) else texts
    if known is None or known.item_ids != tuple(map(str, item_ids)):
        raise ValueError("the item texts do not belong to the items: give the texts of item_ids, in their order")
    require_texts(known)
    return _encoded(known, text, store, device, show_progress and process_rank() == 0)


def encoder_identity(place: str) -> Any:
    """Return what identifies an encoder; fast even for many gigabytes.

    For a folder: the name, size and SHA-256 of every file up to 16 MiB; of larger files the SHA-256 of 64 samples of
    64 KiB, evenly spaced from the first byte to the last. Training changes all of them, but an edit of a few weights
    between the samples goes unnoticed. For a model of a hub: its name, so a new version under the same name goes
    unnoticed.
    """
    folder = Path(place)
    if not folder.is_dir():
        return place
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [[path.relative_to(folder).as_posix(), path.stat().st_size, _sampled(path)] for path in files]


class _Encoder:
    """The encoder and its progress bar, created when the first part has to be encoded."""

    def __init__(self, texts: ItemTexts, settings: TextSettings, device: torch.device, show_progress: bool) -> None:
        self.texts, self.settings, self.device, self.show_progress = texts, settings, device, show_progress

    @cached_property
    def model(self) -> TextModel:
        return load_text_model(self.settings.encoder, self.settings.max_length, self.settings.precision, self.device)

    @cached_property
    def bar(self) -> Any:
        share = -(-len(self.texts) // process_count())
        # a batch may end between the two texts of an item, so the count is rounded
        shape = "{l_bar}{bar}| {n:.0f}/{total} items [{elapsed}<{remaining}]"
        return tqdm(total=share, desc="item texts", bar_format=shape, leave=False, disable=not self.show_progress)

    def make_part(self, part: int, folder: Path) -> None:
        rows = range(len(self.texts))[part * _ITEMS_PER_PART : (part + 1) * _ITEMS_PER_PART]
        made = encode_items(
            self.texts.rows(rows),
            self.model,
            self.settings.batch_size,
            lambda share: self.bar.update(share * len(rows)),
        )
        np.save(folder / _VECTORS, made.embeddings)
        counts = {"texts": made.texts, "cut": made.cut, "blank": made.blank, "max_length": self.model.max_length}
        (folder / _COUNTS).write_text(json.dumps(counts), encoding="utf-8")

    def close(self) -> None:
        if "bar" in self.__dict__:
            self.bar.close()


def _encoded(
    texts: ItemTexts, settings: TextSettings, store: ArtifactStore, device: torch.device, show_progress: bool
) -> ItemEmbeddings:
    started, precision = perf_counter(), resolve_text_precision(settings.precision, device)
    encoder = _Encoder(texts, settings, device, show_progress)
    parts = {
        "form": _FORM,
        "texts": _texts_digest(texts),
        "encoder": encoder_identity(resolve_encoder(settings.encoder)),
        "max_length": settings.max_length,
        "precision": precision,
        "items_per_part": _ITEMS_PER_PART,
        "libraries": _versions("torch", "transformers", "sentence-transformers"),
    }
    try:
        made = store.get_or_build_in_parts(
            "embeddings", parts, -(-len(texts) // _ITEMS_PER_PART), encoder.make_part, _join
        )
    finally:
        encoder.close()
    vectors = np.load(made.path / _VECTORS, mmap_mode="c", allow_pickle=False)
    counts = json.loads((made.path / _COUNTS).read_text(encoding="utf-8"))
    if counts["blank"]:
        getLogger().warning(f"{counts['blank']:,} items without text have the embedding of the empty text")
    cut = f", {counts['cut']:,} of them cut to {counts['max_length']} tokens" if counts["cut"] else ""
    getLogger().info(
        f"Item embeddings: text encoder {settings.encoder} ({precision}), {len(texts):,} items, "
        f"{counts['texts']:,} texts{cut} -> {list(vectors.shape)}, {'reused' if made.reused else 'made'}, "
        f"{perf_counter() - started:.1f} s"
    )
    return ItemEmbeddings(vectors, made.path, made.reused)


def _join(folders: Sequence[Path], folder: Path) -> None:
    """Concatenate the parts; a text that occurs in several parts is counted in each."""
    tables = [np.load(part / _VECTORS, mmap_mode="r", allow_pickle=False) for part in folders]
    header = {"descr": "<f4", "fortran_order": False, "shape": (sum(map(len, tables)), tables[0].shape[1])}
    with (folder / _VECTORS).open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for table in tables:
            stream.write(np.ascontiguousarray(table, dtype="<f4").data)
    counts = [json.loads((part / _COUNTS).read_text(encoding="utf-8")) for part in folders]
    sums = {name: sum(part[name] for part in counts) for name in ("texts", "cut", "blank")}
    whole = {**sums, "max_length": counts[0]["max_length"]}
    (folder / _COUNTS).write_text(json.dumps(whole), encoding="utf-8")


def _texts_digest(texts: ItemTexts) -> str:
    """SHA-256 of titles and descriptions, each preceded by its length, so that different catalogues differ."""
    digest = hashlib.sha256()
    for column in (texts.titles, texts.descriptions):
        for text in column:
            data = text.encode("utf-8", "surrogatepass")
            digest.update(b"%d:" % len(data))
            digest.update(data)
    return digest.hexdigest()


def _sampled(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as stream:
        if size <= _WHOLE_FILE:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        digest = hashlib.sha256()
        for i in range(_SAMPLES):
            stream.seek((size - _SAMPLE) * i // (_SAMPLES - 1))
            digest.update(stream.read(_SAMPLE))
        return digest.hexdigest()


def _versions(*packages: str) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def _optional_path(name: str | None) -> Path | None:
    return None if name is None else Path(name)
