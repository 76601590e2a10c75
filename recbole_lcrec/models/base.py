"""Base classes of models: one scores given candidates, the other generates the indices of recommended items.

A generative model supplies three things: the token ids of the item indices, prompts for histories, and a
:class:`~recbole_lcrec.decoding.Reader` of its network. Its base class ranks, masks, certifies and counts.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor

from recbole_lcrec.config.checks import beam_problems
from recbole_lcrec.config.recbole_conflicts import sequence_problems
from recbole_lcrec.config.settings import DecodingSettings, IndexSettings, TextSettings
from recbole_lcrec.data.item_choice import allowed_rows
from recbole_lcrec.decoding import Ranker, Ranking, Reader, Trie, UserPrompts
from recbole_lcrec.indexing.inputs import index_problems
from recbole_lcrec.models.evaluation import ScorerTrainer
from recbole_lcrec.models.evaluation_stats import EvaluationStats
from recbole_lcrec.models.indexed_dataset import IndexedDataset, check_inputs

__all__ = ["GenerativeRecommender", "Scorer"]


class Scorer(SequentialRecommender):
    """Base of sequential models that score given candidates after a history and do not rank the whole catalogue.

    A subclass implements :meth:`score_candidates` and RecBole's ``calculate_loss``.
    """

    input_type = InputType.POINTWISE
    batches_users: ClassVar[bool] = True
    """Whether ``eval_batch_size`` counts users when candidates are sampled; one user's are scored together."""
    ranks_in_full: ClassVar[bool] = False
    """Whether the model ranks the whole catalogue; a generative model does."""
    default_trainer: ClassVar[type] = ScorerTrainer

    @abstractmethod
    def score_candidates(
        self, histories: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]
    ) -> list[np.ndarray]:
        """Score each user's candidates.

        Args:
            histories: item rows (RecBole's item id minus 1) of B users, oldest first.
            candidates: item rows to score for each user, any number of them.

        Returns:
            For each user float32 [number of candidates]; -inf for an item that may not be recommended.
        """

    def histories(self, interaction: Any) -> list[list[int]]:
        """Return the item rows of each history of a batch, oldest first."""
        items, lengths = interaction[self.ITEM_SEQ].cpu().numpy(), interaction[self.ITEM_SEQ_LEN].cpu().numpy()
        return [(row[:length] - 1).tolist() for row, length in zip(items, lengths, strict=True)]

    def predict(self, interaction: Any) -> Tensor:
        """Score given pairs of history and item, for RecBole's sampled evaluation.

        Args:
            interaction: histories [B, L], their lengths [B] and items [B]; rows of one user with the same history are
                scored together.

        Returns:
            float32 [B].
        """
        rows = interaction[self.ITEM_ID].cpu().numpy() - 1
        histories = self.histories(interaction)
        users = interaction[self.USER_ID].tolist() if self.USER_ID in interaction.columns else [0] * len(histories)
        groups: dict[tuple[int, tuple[int, ...]], list[int]] = {}
        for place, (user, history) in enumerate(zip(users, histories, strict=True)):
            groups.setdefault((user, tuple(history)), []).append(place)
        scored = self.score_candidates(
            [list(history) for _, history in groups], [rows[places].tolist() for places in groups.values()]
        )
        scores = torch.empty(len(histories))
        for places, values in zip(groups.values(), scored, strict=True):
            scores[places] = torch.as_tensor(np.asarray(values, dtype=np.float32))
        return scores.to(self.device)

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """Refuse to rank the whole catalogue.

        Raises:
            ValueError: always; after a ``NotImplementedError`` RecBole would score every item of every user.
        """
        raise ValueError(
            f"{type(self).__name__} only scores given candidates and cannot rank every item: evaluate it with "
            "--eval_args=\"{'mode': 'uni100'}\""
        )


class GenerativeRecommender(Scorer):
    """Base of sequential models that generate item indices, ranked by trie-constrained beam search (paper III-D2).

    A subclass calls :meth:`use_index_tokens` in its ``__init__`` and implements :meth:`write_prompts`,
    :meth:`open_reader` and RecBole's ``calculate_loss``. Its :class:`ModelSpec` names the settings ``TextSettings``,
    ``IndexSettings`` and ``DecodingSettings``; its data set is an :class:`IndexedDataset`.

    Attributes:
        decoding: settings of the search.
        index, item_ids: indices and original ids of the N items.
        trie: the N indices as token ids.
        candidates: the part of the trie with the items of ``decoding_allowed_items``.
        max_history: maximum number of items in a prompt; the newest are kept.
        stats: counts over the users ranked since it was created.
    """

    ranks_in_full = True
    default_dataset: ClassVar[type] = IndexedDataset

    @staticmethod
    def check_inputs(config: Any) -> None:
        """Check, before any data are read, that there are item indices or that they can be learned.

        Raises:
            ValueError: says what is missing, and the remedy.
        """
        check_inputs(config)

    @staticmethod
    def value_problems(values: Mapping[str, Any]) -> list[str]:
        """Return a sentence for each problem of index and search that no single value shows.

        Args:
            values: the merged parameters.
        """
        missing = [
            stage.__name__
            for stage in (TextSettings, IndexSettings, DecodingSettings)
            if not set(stage.keys().values()) <= values.keys()
        ]
        if missing:
            return [f"the model generates item indices, so its ModelSpec must name {', '.join(missing)} in settings"]
        return [*index_problems(values), *beam_problems(values), *sequence_problems(values)]

    def __init__(self, config: Any, dataset: IndexedDataset) -> None:
        """Read the decoding settings and the item indices.

        Args:
            config: a :class:`recbole_lcrec.config.configurator.Config`.
            dataset: gives the item indices.

        Raises:
            ValueError: ``decoding_allowed_items`` cannot be used.
        """
        super().__init__(config, dataset)
        self.decoding: DecodingSettings = config.stage(DecodingSettings)
        self.index, self.item_ids = dataset.item_index, dataset.item_ids
        self._topk = [int(k) for k in config["topk"]]
        self._allowed: np.ndarray | None = None  # read now, before a large model is loaded
        if self.decoding.allowed_items is not None:
            self._allowed = allowed_rows(Path(self.decoding.allowed_items), self.item_ids, max(self._topk))
        self.max_history: int = self.max_seq_length
        self.stats = EvaluationStats(self.decoding.beam_size)
        self._reader: Reader | None = None
        self._ranker: Ranker | None = None
        self._in_all_processes: bool = config.spec.distributed

    @abstractmethod
    def write_prompts(self, histories: Sequence[Sequence[int]]) -> list[UserPrompts]:
        """Return the prompts, as token ids, that ask for the item after each history.

        Args:
            histories: item rows of B users, oldest first, at most :attr:`max_history` each.

        Returns:
            For each user one prompt, or one per wording if the scores of several wordings are added.
        """

    @abstractmethod
    def open_reader(self) -> Reader:
        """Return a reader of the network, which is in evaluation mode during this call."""

    @property
    def decoding_device(self) -> torch.device:
        """Device of the network that is decoded."""
        return torch.device(self.device)

    @property
    def splits_users(self) -> bool:
        """Whether the processes of a run split the users; only the first process decodes other models."""
        return self._in_all_processes

    def split_users(self) -> None:
        """Have the processes of a run split the users; every process must then ask for the same ones."""
        self._in_all_processes = True

    def use_index_tokens(self, token_ids: np.ndarray) -> None:
        """Build the trie of the catalogue, and open the network for decoding.

        Args:
            token_ids: int64 [N, H], the index tokens of each item.

        Raises:
            ValueError: two items have the same tokens, or the network cannot be decoded as ``decoding_search`` says.
        """
        self.trie = Trie.from_token_ids(token_ids)
        self.candidates = self.trie if self._allowed is None else self.trie.restricted(self._allowed)
        self.reopen_reader()

    def close_reader(self) -> None:
        """Release the network before it is replaced."""
        self._reader = self._ranker = None

    def reopen_reader(self) -> None:
        """Open the network again, after it was replaced."""
        self.close_reader()
        training = self.training
        self.eval()
        try:
            self._reader = self.open_reader()
        finally:
            self.train(training)

    @property
    def allowed_ids(self) -> list[str] | None:
        """Original ids of the items that may be recommended; None: all items."""
        if self._allowed is None:
            return None
        return [self.item_ids[row] for row in self.candidates.leaf_items.sort().values.tolist()]

    def ranker(self, trie: Trie | None = None) -> Ranker:
        """Return a ranker that decodes the network in its present state.

        Args:
            trie: trie of the items that may be recommended; None: :attr:`candidates`.

        Raises:
            RuntimeError: :meth:`use_index_tokens` was not called.
        """
        if self._reader is None:
            raise RuntimeError(f"{type(self).__name__} has no reader; call use_index_tokens in its __init__")
        if self._ranker is None or self._ranker.device != self.decoding_device:
            self._ranker = Ranker(self._reader, self.candidates, self.decoding, self.decoding_device)
        return dataclasses.replace(self._ranker, trie=trie or self._ranker.trie, shared=self.splits_users)

    def rank(
        self,
        histories: Sequence[Sequence[int]],
        k: int,
        excluded: Sequence[Sequence[int]] | None = None,
        trie: Trie | None = None,
    ) -> Ranking:
        """Rank items for users.

        Args:
            histories: item rows of B users, oldest first.
            k: items per user.
            excluded: item rows that must not be recommended to each user; None: none.
            trie: trie of the items that may be recommended; None: :attr:`candidates`.

        Raises:
            ValueError: fewer than ``k`` items are left for a user.
        """
        return self.ranker(trie).rank(self._prompts(histories), k, excluded)

    def full_sort_predict(self, interaction: Any, excluded: Sequence[Sequence[int]] | None = None) -> Tensor:
        """Score the whole catalogue by trie-constrained beam search (paper III-D2).

        Args:
            interaction: histories [B, L] with lengths [B].
            excluded: RecBole's ids of the items that must not be recommended to each user; None: none, or with
                ``decoding_exclude_history`` the items of the history in ``interaction``.

        Returns:
            float32 [B, n_items] with RecBole's item ids as columns: the log-probability (nats) of a decoded item's
            index, -inf for every other item.

        Raises:
            ValueError: fewer than ``max(topk)`` items are left for a user.
        """
        histories = self.histories(interaction)
        if excluded is not None:
            left_out: list[list[int]] | None = [[item - 1 for item in items] for items in excluded]
        else:
            left_out = histories if self.decoding.exclude_history else None
        beams = self.rank(histories, max(self._topk), left_out)
        self.stats.add_ranking(beams, self._topk)
        scores = torch.full((len(histories), self.n_items), -torch.inf, device=self.device)
        # beams without an item (row -1) put their -inf into RecBole's padding column
        scores.scatter_(1, (beams.items + 1).to(self.device), beams.log_probs.to(self.device))
        return scores

    def score_candidates(
        self, histories: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]
    ) -> list[np.ndarray]:
        """Score candidates by teacher forcing; one forward pass scores all candidates of a user.

        Returns:
            For each user float32 [number of candidates], the log-probabilities (nats) of the candidates' indices; -inf
            for an item that is not allowed.
        """
        allowed = []
        for items in candidates:
            rows = torch.as_tensor(items, dtype=torch.int64, device=self.candidates.device)
            leaves = self.candidates.leaves(rows)
            allowed.append(torch.where(leaves >= 0, rows, -1).tolist())
        return self.ranker().score(self._prompts(histories), allowed)

    def _prompts(self, histories: Sequence[Sequence[int]]) -> list[UserPrompts]:
        self.stats.add_histories(len(histories), sum(len(history) > self.max_history for history in histories))
        return self.write_prompts([history[-self.max_history :] for history in histories])
