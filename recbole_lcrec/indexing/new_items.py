"""Indices for items added after training; existing indices do not change.

The paper calls the learned index extendible (III-B).
"""

from __future__ import annotations

import numpy as np

from recbole_lcrec.indexing.base import assigned
from recbole_lcrec.indexing.item_index import ItemIndex
from recbole_lcrec.indexing.saved import SavedMethod

__all__ = ["extend_index"]


def extend_index(saved: SavedMethod, index: ItemIndex, embeddings: np.ndarray | None, n_new: int) -> ItemIndex:
    """Give new items indices by the trained method, distinct from each other and from all existing ones.

    The codebooks, and with them the index tokens, do not change. The language model has learned the tokens already, so
    it can recommend the new items as soon as the trie has been rebuilt.

    Args:
        saved: the trained method.
        index: index of the E existing items.
        embeddings: ``[n_new, D]`` of the new items, encoded like those of training; None for a method without
            embeddings.
        n_new: number of new items.

    Returns:
        The index of E + n_new items; its first E rows are those of ``index``.

    Raises:
        ValueError: the method does not support new items, the embeddings do not match those of training, or there are
            not enough free indices.
    """
    if embeddings is not None:
        _check(saved, embeddings, n_new)
    rows = range(index.n_items, index.n_items + n_new)
    resolution = saved.method.resolve_conflicts(
        assigned(saved.method, embeddings, rows), embeddings, occupied=index.codes
    )
    extended = ItemIndex(np.concatenate([index.codes, resolution.codes]), index.codebook_sizes)
    extended.require_unique()
    return extended


def _check(saved: SavedMethod, embeddings: np.ndarray, n_new: int) -> None:
    dim = saved.method.embedding_dim or embeddings.shape[1]
    if embeddings.shape != (n_new, dim):
        raise ValueError(
            f"embeddings of shape {list(embeddings.shape)} for {n_new} new items: expected [{n_new}, {dim}], as in "
            "training; use the same encoder"
        )
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(bad):
        raise ValueError(
            f"embeddings of {len(bad)} new items hold NaN or infinity, first in rows {bad[:5].tolist()}; correct them"
        )
