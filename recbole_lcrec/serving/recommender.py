"""Recommendations from a saved run: histories or intentions in, items with titles and scores out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_lcrec.runs.answering import Answers, ItemAnswering, Request
from recbole_lcrec.runs.restore import spec_of_folder
from recbole_lcrec.serving.model_answering import load_answering
from recbole_lcrec.serving.request_checks import (
    allowed_choice,
    checked_intentions,
    checked_k,
    excludes_history,
    history_rows,
    listed_histories,
    require_enough,
    require_request,
)

__all__ = ["Recommendation", "Recommender"]


@dataclass(frozen=True)
class Recommendation:
    """One item of a user's ranking.

    Attributes:
        item: original item id.
        title: title of the item; None if it has none.
        log_prob: log-probability (nats) of the item's index given the prompt; under ``eval_templates: ensemble`` the
            sum over all templates. ``decoding_normalizer: legal`` distributes all probability over the items that may
            be recommended, so do not compare scores of calls that allow different items. None for a model that does
            not generate item indices.
        certified: whether this item and those ranked before it are proved to be the best of all that may be
            recommended.
        score: the score that ranks the items: ``log_prob``, or the score of a model of RecBole.
    """

    item: str
    title: str | None
    log_prob: float | None
    certified: bool
    score: float


class Recommender:
    """A saved run that recommends items.

    Attributes:
        answering: the loaded run.
    """

    def __init__(self, answering: ItemAnswering) -> None:
        """Wrap a loaded run; use :meth:`load`.

        Args:
            answering: the loaded run.
        """
        self.answering = answering
        self._rows = {item: row for row, item in enumerate(answering.item_ids)}

    @property
    def item_ids(self) -> tuple[str, ...]:
        """The run's N original item ids, in the order of a mask for ``allowed_items``."""
        return self.answering.item_ids

    @classmethod
    def load(
        cls,
        folder: str | Path,
        device: str | torch.device | None = None,
        base_model: str | None = None,
        **decoding: Any,
    ) -> Recommender:
        """Load a run of any model that ranks the whole catalogue.

        A folder that LCRec saved needs nothing else. Other models are rebuilt with their data set, which must be in its
        original folder; a ``.pth`` file is a pickle, which can run any code when it is read: load only files that you
        trust. Under torchrun every process calls this, and :meth:`recommend` with the same requests; the processes
        split the users of a generative model, and all return the same answers.

        Args:
            folder: folder of a saved run, or a ``.pth`` file that RecBole's trainer saved.
            device: device of the model, ``cpu``, ``cuda`` or ``cuda:1``; None: by the run's ``gpu_id`` and ``use_gpu``.
            base_model: current path of the base model, for a run with an adapter; None: the path in the run's settings.
            decoding: settings that differ from the run's, by their keys: ``decoding_beam_size=50``. The run's folder
                lists the items that may be recommended; ``decoding_allowed_items`` names another file, and None
                allows all.

        Raises:
            ValueError: a file is missing or damaged, the model is not installed, the item index or the tokenizer has
                changed since the run was saved, or a value is out of range.
        """
        path = Path(folder)
        own = None if path.is_file() else spec_of_folder(path).part("load_answering")
        answering: ItemAnswering = (own or load_answering)(path, device, base_model, decoding)
        return cls(answering)

    def recommend(
        self,
        histories: Iterable[Iterable[str]],
        k: int = 10,
        allowed_items: Iterable[str] | Iterable[bool] | np.ndarray | torch.Tensor | None = None,
        intention: str | Sequence[str | None] | None = None,
        exclude_history: bool | None = None,
        unknown_items: str = "error",
    ) -> list[list[Recommendation]]:
        """Return the best items of each user.

        Args:
            histories: histories of B users, original item ids, oldest first; if they do not fit into the prompt, the
                newest items are used.
            k: items per user.
            allowed_items: the only items that may be recommended (in stock, of one category): their ids, or a mask
                bool [N] in the order of :attr:`item_ids` (an array, a tensor, a column, a list); None: the items that
                the run allows.
            intention: what the users look for, in words: one text for all, or a text or None for each. A user with an
                intention needs no history.
            exclude_history: whether to exclude items of a user's history; None: the run's
                ``decoding_exclude_history``.
            unknown_items: ``error`` or ``drop`` for ids in histories that the run does not know.

        Returns:
            For each user ``k`` recommendations, best first.

        Raises:
            ValueError: before the model runs: ``k`` is not a positive integer, above ``decoding_beam_size`` or above
                the number of items that may be recommended; a user has neither history nor intention; an item is
                unknown; an argument has the wrong type; or the run cannot take intentions.
            RuntimeError: a logit is not finite, or there is not enough memory for one user.
        """
        answering = self.answering
        k = checked_k(k)
        answering.require_most(k)
        given = listed_histories(histories)
        rows, n_dropped = history_rows(given, self._rows, unknown_items)
        intentions = checked_intentions(intention, len(rows))
        require_request(given, rows, intentions)
        answering.check_intentions(intentions)
        choice = None if allowed_items is None else allowed_choice(allowed_items, self._rows)
        excluded = rows if excludes_history(exclude_history, answering.excludes_history) else None
        require_enough(answering.allowed if choice is None else choice, k, excluded)
        if n_dropped:
            getLogger().warning(f"{n_dropped:,} unknown items dropped from {len(rows):,} histories (unknown_items)")
        if not rows:
            return []
        requests = [Request(tuple(history), text) for history, text in zip(rows, intentions, strict=True)]
        return self._named(answering.answer(requests, k, choice, excluded))

    def _named(self, answers: Answers) -> list[list[Recommendation]]:
        ids, titles, log_probs = self.answering.item_ids, self.answering.titles, self.answering.scores_are_log_probs
        return [
            [
                Recommendation(ids[row], titles[row], score if log_probs else None, proved, score)
                for row, score, proved in zip(items, scores, certified, strict=True)
            ]
            for items, scores, certified in zip(
                answers.items.tolist(), answers.scores.tolist(), answers.certified.tolist(), strict=True
            )
        ]
