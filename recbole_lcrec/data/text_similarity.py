"""Similarity of item texts: cosine of TF-IDF vectors, summed over a history."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from recbole_lcrec.data.item_text import ItemTexts

__all__ = ["item_documents", "similar_to_histories", "tfidf_vectors"]


def item_documents(texts: ItemTexts, title_repeats: int) -> list[str]:
    """Return one text of each item: the title, which counts ``title_repeats`` times, and the description."""
    pairs = zip(texts.titles, texts.descriptions, strict=True)
    return [" ".join([title] * title_repeats + [description]) for title, description in pairs]


def tfidf_vectors(texts: Sequence[str], max_features: int) -> sparse.csr_matrix:
    """Return TF-IDF vectors of unit length: words and pairs of words in at least two texts, sublinear counts.

    Args:
        texts: of N items; an empty text has the zero vector.
        max_features: the most frequent terms that are kept.

    Returns:
        Sparse float64 [N, F].

    Raises:
        ValueError: no term occurs in two texts.
    """
    vectorizer = TfidfVectorizer(
        sublinear_tf=True, stop_words="english", ngram_range=(1, 2), min_df=2, max_features=max_features
    )
    try:
        return vectorizer.fit_transform(texts).tocsr()
    except ValueError as err:
        raise ValueError(
            "the item texts have no word in common, so no text is similar to another; name other columns in "
            "text_title_fields and text_description_fields, or take CoVisit"
        ) from err


def similar_to_histories(weights: sparse.csr_matrix, vectors: sparse.csr_matrix) -> np.ndarray:
    """Return the sum over each history of weight times cosine; an item is not similar to itself.

    Args:
        weights: [B, N], see :func:`~recbole_lcrec.data.covisitation.history_weights`.
        vectors: [N, F], of unit length.

    Returns:
        float64 [B, N].
    """
    with_itself = sparse.diags(np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel())
    return ((weights @ vectors) @ vectors.T - weights @ with_itself).toarray()
