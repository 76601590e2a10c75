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
    history_rows,
    leaves_out,
    listed_histories,
    require_enough,
    require_question,
)

__all__ = ["Recommendation", "Recommender"]


@dataclass(frozen=True)
class Recommendation:
    """One place of a user's list.

    Attributes:
        item: original item id.
        title: None where the data set has none.
        log_prob: log-probability of the item's index given the prompt, nats; under ``eval_templates: ensemble`` the sum
            over all wordings. ``decoding_normalizer: legal`` shares all probability out among the items that may be
            recommended, so do not compare scores of calls that allow different items. None for a model that writes no
            item indices.
        certified: whether this place and those before it are proved to be the best of all that may be recommended.
        score: what the model ranks by: ``log_prob``, or the score of a model of RecBole.
    """

    item: str
    title: str | None
    log_prob: float | None
    certified: bool
    score: float


class Recommender:
    """A saved run that answers.

    Attributes:
        answering: the run, opened.
    """

    def __init__(self, answering: ItemAnswering) -> None:
        """Wrap an opened run; use :meth:`load`.

        Args:
            answering: the run, opened.
        """
        self.answering = answering
        self._rows = {item: row for row, item in enumerate(answering.item_ids)}

    @property
    def item_ids(self) -> tuple[str, ...]:
        """The run's N original item ids, in the order of a mask of allowed items."""
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

        A folder that LCRec saved needs nothing else. Other models are built anew with their data set, which must be
        where it was; a ``.pth`` file is a pickle, which can run any code when it is read: load only files that you
        trust. Under torchrun every process calls this, and :meth:`recommend` with the same requests; the processes
        split the users of a generative model, and all get the same answers.

        Args:
            folder: of a saved run, or a ``.pth`` file that RecBole's trainer saved.
            device: where the model goes, ``cpu``, ``cuda`` or ``cuda:1``; None: as the run's ``gpu_id`` and
                ``use_gpu`` say.
            base_model: where the base model of the run's adapter is now; None: where it was.
            decoding: what differs from the run's settings, by their keys: ``decoding_beam_size=50``. The items that
                the run allows are listed in its folder; ``decoding_allowed_items`` names another file, and None
                allows all.

        Raises:
            ValueError: a file is missing or damaged, the model is not installed, the item index or the tokenizer has
                changed since the run was saved, or a value is out of range.
        """
        path = Path(folder)
        if not path.exists():
            raise ValueError(f"{path}: there is no such folder; give one that a run has saved")
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
            histories: of B users, original item ids, oldest first; where there is no room for all, the newest count.
            k: items of each user.
            allowed_items: the only items that may be recommended (in stock, of one category): their ids, or a mask
                bool [N] in the order of :attr:`item_ids` (an array, a tensor, a column, a list); None: what the run
                allows.
            intention: what the users ask for, in words: one for all, or one or None for each. A user with an intention
                needs no history.
            exclude_history: whether a user gets nothing of the history again; None: as the run's
                ``decoding_exclude_history`` says.
            unknown_items: what is done with ids in histories that the run does not know: ``error`` or ``drop``.

        Returns:
            For each user ``k`` recommendations, best first.

        Raises:
            ValueError: before the model runs: ``k`` is no number of items, above ``decoding_beam_size`` or more than
                may be recommended; a user has neither history nor intention; an item is unknown; a text stands where a
                list or a truth value belongs; or the run cannot take intentions.
            RuntimeError: a logit is not finite, or memory does not suffice for one user.
        """
        answering = self.answering
        k = checked_k(k)
        answering.require_most(k)
        given = listed_histories(histories)
        rows, n_dropped = history_rows(given, self._rows, unknown_items)
        intentions = checked_intentions(intention, len(rows))
        require_question(given, rows, intentions)
        answering.check_intentions(intentions)
        choice = None if allowed_items is None else allowed_choice(allowed_items, self._rows)
        excluded = rows if leaves_out(exclude_history, answering.excludes_history) else None
        require_enough(answering.allowed if choice is None else choice, k, excluded)
        if n_dropped:
            getLogger().warning(f"{n_dropped:,} unknown items left out of {len(rows):,} histories (unknown_items)")
        if not rows:
            return []
        requests = [Request(tuple(history), wish) for history, wish in zip(rows, intentions, strict=True)]
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
