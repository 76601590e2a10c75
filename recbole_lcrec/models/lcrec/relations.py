"""What a data set says about which items are alike: related items, and vectors from which index tokens start."""

from __future__ import annotations

from collections.abc import Sequence
from logging import getLogger
from time import perf_counter

import numpy as np
from scipy import sparse
from sklearn.decomposition import TruncatedSVD

from recbole_lcrec.config.counting_settings import CovisitationSettings, RelatedSettings, SimilaritySettings
from recbole_lcrec.data.covisitation import covisitation
from recbole_lcrec.data.related_items import RelatedItems, related_items
from recbole_lcrec.data.sequences import UserSequences
from recbole_lcrec.data.text_similarity import item_documents, tfidf_vectors
from recbole_lcrec.indexing.token_vectors import token_vectors
from recbole_lcrec.models.lcrec.dataset import LCRecDataset

__all__ = ["index_directions", "related_items_of", "text_vectors"]


def text_vectors(dataset: LCRecDataset) -> sparse.csr_matrix | None:
    """Return TF-IDF vectors of the item texts, sparse [N, F]; None if there are no texts or they share no word."""
    if not dataset.has_texts():
        return None
    settings = dataset.config.stage(SimilaritySettings)
    try:
        return tfidf_vectors(item_documents(dataset.item_texts, settings.title_repeats), settings.features)
    except ValueError as err:
        getLogger().warning(f"Item texts are not compared: {err}")
        return None


def related_items_of(dataset: LCRecDataset, sequences: UserSequences) -> RelatedItems | None:
    """Return the items nearest to each item by ``related_source``; None if nothing is known about any.

    Args:
        dataset: the training split.
        sequences: its sequences.
    """
    settings, counting = dataset.config.stage(RelatedSettings), dataset.config.stage(CovisitationSettings)
    n_items = len(dataset.item_ids)
    counts = None
    if settings.source != "texts":
        counts = covisitation(sequences, n_items, counting.window, counting.backward)
    vectors = text_vectors(dataset) if settings.source != "covisits" else None
    if counts is None and vectors is None:
        return None
    used = {"co-visits": counts, "texts": vectors}
    started = perf_counter()
    found = related_items(counts, vectors, settings.text_weight, settings.nearest, settings.sharpness)
    getLogger().info(
        f"Related items: {len(found.items):,} pairs for {len(found.rows):,} items, "
        f"by {' and '.join(name for name, part in used.items() if part is not None)}, "
        f"{perf_counter() - started:.1f} s"
    )
    return found


def index_directions(dataset: LCRecDataset, tokens: Sequence[str], width: int, seed: int) -> np.ndarray | None:
    """Return where the rows of index tokens start: at the principal components of the texts of their items.

    Args:
        dataset: supplies texts and indices.
        tokens: T index tokens.
        width: maximum number of components.
        seed: of the randomised decomposition.

    Returns:
        float64 [T, width or fewer], of unit spread; zeros for a token without texts. None: there are no texts.
    """
    vectors = text_vectors(dataset)
    if vectors is None:
        getLogger().info("Index tokens start at random, because there are no item texts to compare")
        return None
    told = np.diff(vectors.indptr) > 0
    count = min(width, int(told.sum()) - 1, vectors.shape[1] - 1)
    if count < 1:
        getLogger().info("Index tokens start at random, because too few item texts share a word")
        return None
    components = np.zeros((vectors.shape[0], count))
    components[told] = TruncatedSVD(count, random_state=seed).fit_transform(vectors[told])
    components[told] -= components[told].mean(axis=0)
    return token_vectors(components, dataset.item_index.item_tokens(), tokens)
