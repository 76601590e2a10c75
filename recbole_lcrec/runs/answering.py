"""Interface of a saved run for serving: requests in, item rows with scores out. Serving uses models only through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from recbole_lcrec.decoding import Beams

__all__ = ["Answers", "ItemAnswering", "Request", "answers_of", "require_most"]


@dataclass(frozen=True)
class Request:
    """Request of one user, with a history, an intention or both.

    Attributes:
        history: item rows, oldest first.
        intention: what the user looks for, in words; None: not given.
    """

    history: tuple[int, ...]
    intention: str | None = None


@dataclass(frozen=True, eq=False)
class Answers:
    """The best k items of B users, best first.

    Attributes:
        items: int64 [B, k], item rows.
        scores: float [B, k].
        certified: bool [B, k], whether this item and those ranked before it are proved to be the best of all items
            that may be recommended.
    """

    items: np.ndarray
    scores: np.ndarray
    certified: np.ndarray


class ItemAnswering(Protocol):
    """A loaded run that ranks items for requests.

    Attributes:
        item_ids: the N original item ids, in the order of item rows.
        titles: title of each item, None if it has none.
        allowed: int64 [number of allowed items], rows of the items that may be recommended.
        most: maximum number of items per user.
        excludes_history: whether the run excludes a user's history by default.
        scores_are_log_probs: whether scores are log-probabilities (nats) of item indices.
    """

    item_ids: tuple[str, ...]
    titles: tuple[str | None, ...]
    allowed: np.ndarray
    most: int
    excludes_history: bool
    scores_are_log_probs: bool

    def require_most(self, k: int) -> None:
        """Check that ``k`` items can be requested.

        Raises:
            ValueError: ``k`` is above :attr:`most`.
        """

    def check_intentions(self, intentions: Sequence[str | None]) -> None:
        """Check, before anything is computed, that the run can take these intentions.

        Raises:
            ValueError: the run reads only histories.
        """

    def answer(
        self,
        requests: Sequence[Request],
        k: int,
        allowed: np.ndarray | None = None,
        excluded: Sequence[Sequence[int]] | None = None,
    ) -> Answers:
        """Rank items for users.

        Args:
            requests: requests of B users.
            k: items per user.
            allowed: int64, ascending rows of the items that may be recommended; None: :attr:`allowed`.
            excluded: item rows that must not be recommended to each user; None: none.
        """


def answers_of(beams: Beams, k: int) -> Answers:
    """Return the first k items of each user from a beam search."""
    certified = torch.stack([beams.certified(place + 1) for place in range(k)], dim=1)
    return Answers(
        beams.items[:, :k].cpu().numpy(), beams.log_probs[:, :k].double().cpu().numpy(), certified.cpu().numpy()
    )


def require_most(k: int, beam_size: int) -> None:
    """Check that a beam search finds ``k`` items.

    Raises:
        ValueError: there are fewer than ``k`` beams.
    """
    if k > beam_size:
        raise ValueError(
            f"k = {k} items are requested, but decoding_beam_size = {beam_size} finds only {beam_size}: load the "
            f"run with decoding_beam_size={k} or more, or lower k"
        )
