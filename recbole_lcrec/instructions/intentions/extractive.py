"""Intentions and preferences without a model.

The most informative sentences of reviews and descriptions, by TF-IDF.

Deterministic: the same input gives the same output.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer

from recbole_lcrec.config.settings import IntentionSettings
from recbole_lcrec.data.item_text import ItemTexts
from recbole_lcrec.data.sequences import UserSequences
from recbole_lcrec.instructions.user_texts import Intention, Preference, UserTexts

__all__ = ["extract_user_texts", "sentence_scores", "sentences_of"]

_SENTENCE_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f](?:(?=\s)|(?<=[\u3002\uff01\uff1f]))")
_BULLETS = (" • ", " · ", " | ")
_WORD = r"[^\W\d_]{2,}"
"""Letters only: model numbers and sizes are rare, but say little about what a user is looking for."""

_DAMPING = 4.0
"""Added to the number of words, so that short sentences score lower: one of 4 words gets half its mean weight."""

_SMALL = 100
"""Up to this many documents, a word of a single document counts; in more, it is likely a typo and is ignored."""

_CHUNK = 100_000
"""Sentences that are scored at a time, which bounds the memory."""

_REVIEWS = 50_000
"""Maximum number of reviews, evenly spaced, for document frequencies besides the catalogue; more only cost time."""


@dataclass(frozen=True)
class _Kept:
    """The best sentences of each text, in the order of the text.

    Attributes:
        sentences: S strings.
        scores: float64 [S].
        offsets: int64 [texts + 1]; text d's sentences are ``sentences[offsets[d] : offsets[d + 1]]``.
    """

    sentences: list[str]
    scores: np.ndarray
    offsets: np.ndarray


def extract_user_texts(
    sequences: UserSequences,
    texts: ItemTexts,
    reviews: Mapping[tuple[int, int], str],
    settings: IntentionSettings,
) -> UserTexts:
    """Extract intentions and preferences from texts, in place of the paper's GPT-3.5 (III-C3).

    An interaction's text is its review, else the item's description, else the title; its best sentences, in their
    order, are the intention behind the interaction. Each user's newest ``settings.per_user`` training interactions with
    a text get one, but never the first, which has no history. A user's preference consists of the best distinct
    sentences of all their training interactions.

    Args:
        sequences: the training sequences.
        texts: of the N items.
        reviews: (row in ``sequences``, position) -> review; others are ignored.
        settings: how many interactions and sentences.

    Returns:
        The texts; users and interactions without any text have none.

    Raises:
        ValueError: an item of the sequences has no row in ``texts``.
    """
    if len(sequences.items) and int(sequences.items.max()) >= len(texts):
        raise ValueError(
            f"sequences hold item row {int(sequences.items.max())}, but there are texts of {len(texts)} items; give "
            "the texts of the whole catalogue"
        )
    owners = np.repeat(np.arange(len(sequences)), sequences.lengths())
    positions = np.arange(len(owners)) - sequences.offsets[owners]
    own = [
        description or title for title, description in zip(texts.titles, texts.descriptions, strict=True)
    ]  # one text per item, so that its sentences are scored once
    sources, of_interaction = [*own], sequences.items.astype(np.int64)
    for interaction, key in enumerate(zip(owners.tolist(), positions.tolist(), strict=True)):
        if review := reviews.get(key):
            of_interaction[interaction] = len(sources)
            sources.append(review)
    catalogue = [f"{title} {text}" for title, text in zip(texts.titles, texts.descriptions, strict=True)]
    written = sources[len(own) :]
    kept = _best_sentences(sources, [*catalogue, *written[:: len(written) // _REVIEWS + 1]], settings.sentences)
    intentions = _intentions(owners, positions, of_interaction, kept, settings.per_user)
    preferences = _preferences(sequences, owners, positions, of_interaction, kept, settings.sentences)
    return UserTexts(intentions, preferences, "extractive")


def sentences_of(text: str) -> list[str]:
    """Return the distinct sentences of a text, in order."""
    marked = _SENTENCE_END.sub("\\g<0>\n", text)
    for bullet in _BULLETS:
        marked = marked.replace(bullet, "\n")
    return list(dict.fromkeys(filter(None, map(str.strip, marked.split("\n")))))


def sentence_scores(sentences: Sequence[str], documents: Sequence[str]) -> np.ndarray:
    """Score how informative each sentence is: the mean TF-IDF weight of its distinct words, less for short sentences.

    With n known words of weights ``ln((1 + D) / (1 + df)) + 1``, the score is their sum divided by ``n + 4``.

    Args:
        sentences: S strings.
        documents: D texts that the document frequencies are counted on.

    Returns:
        float64 [S]; 0 for a sentence without a known word.
    """
    vectorizer = TfidfVectorizer(
        token_pattern=_WORD, norm=None, binary=True, min_df=2 if len(documents) > _SMALL else 1
    )
    try:
        vectorizer.fit(documents)
    except ValueError:  # raised by scikit-learn where no word is left
        return np.zeros(len(sentences))
    scores = [np.empty(0)]
    for start in range(0, len(sentences), _CHUNK):
        weights = vectorizer.transform(sentences[start : start + _CHUNK])
        scores.append(np.asarray(weights.sum(axis=1)).ravel() / (np.diff(weights.indptr) + _DAMPING))
    return np.concatenate(scores)


def _best_sentences(sources: Sequence[str], documents: Sequence[str], count: int) -> _Kept:
    parts = [sentences_of(text) for text in sources]
    sentences = [sentence for part in parts for sentence in part]
    text = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    scores = sentence_scores(sentences, documents)
    chosen = np.sort(_best_of_each(text, scores, np.arange(len(text)), count))
    offsets = np.r_[0, np.cumsum(np.bincount(text[chosen], minlength=len(parts)))]
    return _Kept([sentences[i] for i in chosen.tolist()], scores[chosen], offsets)


def _best_of_each(groups: np.ndarray, scores: np.ndarray, ties: np.ndarray, count: int) -> np.ndarray:
    """Return the rows with the ``count`` highest scores of each group, int64, group by group, lower ``ties`` first."""
    order = np.lexsort((ties, -scores, groups))
    return order[_number_within(groups[order]) < count]


def _number_within(groups: np.ndarray) -> np.ndarray:
    """Number the elements 0, 1, 2 ... within each run of equal values, int64."""
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]]) if len(groups) else np.empty(0, dtype=np.int64)
    return np.arange(len(groups)) - np.repeat(starts, np.diff(np.r_[starts, len(groups)]))


def _intentions(
    owners: np.ndarray, positions: np.ndarray, of_interaction: np.ndarray, kept: _Kept, per_user: int | None
) -> tuple[Intention, ...]:
    chosen = np.flatnonzero((positions >= 1) & (np.diff(kept.offsets)[of_interaction] > 0))
    if per_user is not None:
        from_newest = chosen[::-1]
        chosen = from_newest[_number_within(owners[from_newest]) < per_user][::-1]
    joined: dict[int, str] = {}
    found = []
    for interaction in chosen.tolist():
        source = int(of_interaction[interaction])
        if source not in joined:
            joined[source] = " ".join(kept.sentences[kept.offsets[source] : kept.offsets[source + 1]])
        found.append(Intention(int(owners[interaction]), int(positions[interaction]), joined[source]))
    return tuple(found)


def _preferences(
    sequences: UserSequences,
    owners: np.ndarray,
    positions: np.ndarray,
    of_interaction: np.ndarray,
    kept: _Kept,
    count: int,
) -> tuple[Preference, ...]:
    """Choose from the kept sentences: at most ``count`` of one text can be among a user's best ``count``."""
    counts = np.diff(kept.offsets)[of_interaction]
    interaction = np.repeat(np.arange(len(owners)), counts)
    sentence = np.repeat(kept.offsets[of_interaction], counts) + _number_within(interaction)
    words = pd.factorize(np.array([text.casefold() for text in kept.sentences], dtype=object))[0]
    newest_first = pd.DataFrame({"user": owners[interaction], "words": words[sentence]})[::-1]
    distinct = np.sort(newest_first.drop_duplicates().index.to_numpy())
    interaction, sentence = interaction[distinct], sentence[distinct]
    chosen = np.sort(_best_of_each(owners[interaction], kept.scores[sentence], -positions[interaction], count))
    lengths = sequences.lengths()
    by_user: dict[int, list[str]] = {}
    for user, i in zip(owners[interaction[chosen]].tolist(), sentence[chosen].tolist(), strict=True):
        by_user.setdefault(user, []).append(kept.sentences[i])
    return tuple(Preference(user, int(lengths[user]), " ".join(parts)) for user, parts in by_user.items())
