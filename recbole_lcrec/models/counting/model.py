"""Counting models as RecBole models.

Scores of the whole catalogue from counts, weighted by a user's history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor

from recbole_lcrec.bridge.training_sequences import training_sequences_of
from recbole_lcrec.config.counting_settings import CovisitationSettings, SimilaritySettings
from recbole_lcrec.config.recbole_conflicts import sequence_problems
from recbole_lcrec.data.covisitation import covisitation, history_weights
from recbole_lcrec.data.text_similarity import item_documents, similar_to_histories, tfidf_vectors
from recbole_lcrec.models.counting.settings import CombinationSettings, CountingSettings
from recbole_lcrec.models.counting.trainer import CountingTrainer

__all__ = ["CoVisit", "CoVisitText", "CountingModel", "TextKNN"]


class CountingModel(SequentialRecommender):
    """The sum over a history of decay^age times how much each item speaks for another, plus a little popularity.

    Subclasses say which counts speak. The decay, and the weight of texts beside co-visitation, are chosen on validation
    users by :class:`~recbole_lcrec.models.counting.trainer.CountingTrainer`.

    Attributes:
        chosen: float64 [2], the decay and the weight of texts.
        popularity: float64 [N], the tie-breaker: a small multiple of each item's training count.
    """

    input_type = InputType.POINTWISE
    default_trainer: ClassVar[type] = CountingTrainer
    uses_covisitation: ClassVar[bool]
    uses_texts: ClassVar[bool]
    chosen: Tensor

    @staticmethod
    def value_problems(values: Mapping[str, Any]) -> list[str]:
        """Return a sentence for each problem that no single value shows.

        Args:
            values: the merged parameters.
        """
        return sequence_problems(values)

    def __init__(self, config: Any, dataset: Any) -> None:
        """Count.

        Args:
            config: a :class:`recbole_lcrec.config.configurator.Config`.
            dataset: the training split; with item texts where the model compares them.

        Raises:
            ValueError: the items have no texts to compare.
        """
        super().__init__(config, dataset)
        self.counting: CountingSettings = config.stage(CountingSettings)
        self.n_rows = self.n_items - 1
        sequences = training_sequences_of(dataset)
        counts = np.bincount(sequences.items, minlength=self.n_rows)
        self.popularity = self.counting.popularity * counts
        if self.uses_covisitation:
            settings = config.stage(CovisitationSettings)
            self.counts = covisitation(sequences, self.n_rows, settings.window, settings.backward)
        self.text_weights: tuple[float, ...] = (1.0,)
        if self.uses_texts:
            similarity = config.stage(SimilaritySettings)
            documents = item_documents(dataset.item_texts, similarity.title_repeats)
            self.vectors = tfidf_vectors(documents, similarity.features)
            self.text_weights = config.stage(CombinationSettings).weights if self.uses_covisitation else (1.0,)
        first = [self.counting.decays[0], self.text_weights[0]]
        self.register_buffer("chosen", torch.tensor(first, dtype=torch.float64))
        self.nothing = torch.nn.Parameter(torch.empty(0))  # RecBole's optimizer needs a parameter

    def scores(self, histories: Sequence[Sequence[int]]) -> np.ndarray:
        """Score every item for every user.

        Args:
            histories: item rows of B users, oldest first.

        Returns:
            float64 [B, N].
        """
        decay, text_weight = self.chosen.tolist()
        weights = history_weights(histories, self.n_rows, decay)
        scores = np.broadcast_to(self.popularity, (len(histories), self.n_rows)).copy()
        if self.uses_covisitation:
            scores += (weights @ self.counts).toarray()
        if self.uses_texts and text_weight:
            scores += text_weight * similar_to_histories(weights, self.vectors)
        return scores

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """Score the whole catalogue.

        Args:
            interaction: histories [B, L] with lengths [B].

        Returns:
            float64 [B, n_items] with RecBole's item ids as columns; -inf for padding.
        """
        items, lengths = interaction[self.ITEM_SEQ].cpu().numpy(), interaction[self.ITEM_SEQ_LEN].cpu().numpy()
        scores = self.scores([row[:length] - 1 for row, length in zip(items, lengths, strict=True)])
        padding = torch.full((len(scores), 1), -torch.inf, dtype=torch.float64)
        return torch.cat([padding, torch.from_numpy(scores)], dim=1).to(self.device)

    def predict(self, interaction: Any) -> Tensor:
        """Score one item [B] after each history; returns float64 [B]."""
        return self.full_sort_predict(interaction).gather(1, interaction[self.ITEM_ID].unsqueeze(1)).squeeze(1)

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Refuse to be trained by gradient.

        Raises:
            RuntimeError: always; the model's own trainer counts.
        """
        raise RuntimeError(f"{type(self).__name__} counts and has no loss; train it with CountingTrainer")


class CoVisit(CountingModel):
    """Decayed, cosine-normalised co-visitation."""

    uses_covisitation, uses_texts = True, False


class TextKNN(CountingModel):
    """Similarity of item texts to those of the history."""

    uses_covisitation, uses_texts = False, True


class CoVisitText(CountingModel):
    """Co-visitation plus a weighted similarity of texts."""

    uses_covisitation, uses_texts = True, True
