"""Item texts to embeddings ``[N, D]`` by a text encoder (paper III-B1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from recbole_lcrec.data.item_text import ItemTexts
from recbole_lcrec.indexing.encoder_models import TextModel

__all__ = ["EncodedItems", "encode_items"]


@dataclass(frozen=True, eq=False)
class EncodedItems:
    """Embeddings of N items, and statistics of their texts.

    Attributes:
        embeddings: float32 ``[N, D]``.
        texts: number of distinct texts that were encoded.
        cut: number of them that were truncated to the encoder's ``max_length``.
        blank: number of items without any text.
    """

    embeddings: np.ndarray
    texts: int
    cut: int
    blank: int


def encode_items(
    texts: ItemTexts, model: TextModel, batch_size: int, advance: Callable[[float], object] = lambda share: None
) -> EncodedItems:
    """Embed N items: the mean of the title's and the description's embedding (paper III-B1).

    Empty fields are left out; an item without any text gets the embedding of the empty text. Equal texts are encoded
    once. Batches hold texts of similar length to save padding; the batching affects nothing but rounding.

    Args:
        texts: texts of N items, at least one.
        model: a loaded encoder.
        batch_size: texts per batch.
        advance: called after each batch with its share of the work, for a progress bar.

    Raises:
        ValueError: the encoder returns values that are not finite.
    """
    rows = list(zip(texts.titles, texts.descriptions, strict=True))
    row_of: dict[str, int] = {}
    first = [row_of.setdefault(title or description, len(row_of)) for title, description in rows]
    second = [row_of.setdefault(description or title, len(row_of)) for title, description in rows]
    vectors, cut = _encode(list(row_of), model, batch_size, advance)
    embeddings = (vectors[first] + vectors[second]) / 2  # an item with one text has it twice
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(bad):
        raise ValueError(
            f"the text encoder returns {len(bad)} of {len(rows)} embeddings that are not finite, first that of item "
            f"{texts.item_ids[bad[0]]!r}; use another text_encoder, or text_precision = fp32"
        )
    blank = sum(not title and not description for title, description in rows)
    return EncodedItems(embeddings, len(row_of), cut, blank)


def _encode(
    texts: list[str], model: TextModel, batch_size: int, advance: Callable[[float], object]
) -> tuple[np.ndarray, int]:
    """Vectors ``[T, D]`` of T texts, in order, and the number of truncated ones; the longest are encoded first."""
    order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
    vectors, cut = np.empty((0, 0), dtype=np.float32), 0
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch, cut_here = model.embed([texts[row] for row in chosen])
            if not start:
                vectors = np.empty((len(texts), batch.shape[1]), dtype=np.float32)
            vectors[chosen] = batch.numpy()
            cut += cut_here
            advance(len(chosen) / len(texts))
    return vectors, cut
