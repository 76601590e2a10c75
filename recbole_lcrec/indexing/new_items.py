"""Indices for items that came after training ("extendible", paper III-B): nothing that exists is changed.

Knows a trained method, the index that it made, and the embeddings of items that the index does not hold. Refuses to
know where the new items and their embeddings come from.
"""

from __future__ import annotations

import numpy as np

from recbole_lcrec.indexing.item_index import ItemIndex
from recbole_lcrec.indexing.saved import SavedMethod

__all__ = ["extend_index"]


def extend_index(saved: SavedMethod, index: ItemIndex, embeddings: np.ndarray | None, n_new: int) -> ItemIndex:
    """Gives new items indices by the trained encoder and codebooks, distinct from each other and from all others.

    The codebooks, and with them the index tokens, stay as they are: the language model knows every token already, so
    the new items can be recommended as soon as the trie is built anew.

    Args:
        saved: the trained method.
        index: of the E items that are indexed already.
        embeddings: ``[n_new, D]`` of the new items, made as those of training; None for a method without embeddings.
        n_new: how many items are new.

    Returns:
        The index of E + n_new items; its first E rows are those of ``index``.

    Raises:
        ValueError: the method cannot take new items, the embeddings are not of the trained form, or the indices do not
            suffice.
    """
    if embeddings is not None:
        _check(saved, embeddings, n_new)
    rows = range(index.n_items, index.n_items + n_new)
    resolution = saved.method.resolve_conflicts(saved.method.assign(embeddings, rows), embeddings, occupied=index.codes)
    extended = ItemIndex(np.concatenate([index.codes, resolution.codes]), index.codebook_sizes)
    extended.require_unique()
    return extended


def _check(saved: SavedMethod, embeddings: np.ndarray, n_new: int) -> None:
    dim = saved.method.embedding_dim or embeddings.shape[1]
    if embeddings.shape != (n_new, dim):
        raise ValueError(
            f"embeddings of shape {list(embeddings.shape)} for {n_new} new items: expected [{n_new}, {dim}], as the "
            "index was learned from; use the same encoder"
        )
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(bad):
        raise ValueError(f"embeddings of {len(bad)} new items hold NaN or infinity, first in rows {bad[:5].tolist()}")
