"""What a saved run answers with: requests in, item rows with scores out. Serving knows no model beyond this."""

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
    """What is known of a user; one of the two must be there.

    Attributes:
        history: item rows, oldest first.
        intention: what the user asks for, in words; None: nothing was said.
    """

    history: tuple[int, ...]
    intention: str | None = None


@dataclass(frozen=True, eq=False)
class Answers:
    """The best k items of B users, best first.

    Attributes:
        items: int64 [B, k], item rows.
        scores: float [B, k].
        certified: bool [B, k], whether this place and those before it are proved to be the best of all items that may
            be recommended.
    """

    items: np.ndarray
    scores: np.ndarray
    certified: np.ndarray


class ItemAnswering(Protocol):
    """A saved run, opened.

    Attributes:
        item_ids: the N original item ids; rows are their places.
        titles: a title for each item, or None.
        allowed: int64, rows of the items that may be recommended.
        most: items that a user can get at most.
        excludes_history: whether the run leaves a user's history out unless a request says otherwise.
        scores_are_log_probs: whether scores are log-probabilities (nats) of item indices.
    """

    item_ids: tuple[str, ...]
    titles: tuple[str | None, ...]
    allowed: np.ndarray
    most: int
    excludes_history: bool
    scores_are_log_probs: bool

    def require_most(self, k: int) -> None:
        """Make sure that ``k`` items can be asked for.

        Raises:
            ValueError: ``k`` is above :attr:`most`; names the remedy.
        """

    def check_intentions(self, intentions: Sequence[str | None]) -> None:
        """Make sure, before anything is computed, that the run can take these intentions.

        Raises:
            ValueError: it reads histories alone.
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
            requests: of B users.
            k: items of each user.
            allowed: ascending rows of the only items that may be recommended; None: :attr:`allowed`.
            excluded: item rows that each user must not get; None: none.
        """


def answers_of(beams: Beams, k: int) -> Answers:
    """Return the first k items of each user of a beam search."""
    certified = torch.stack([beams.certified(place + 1) for place in range(k)], dim=1)
    return Answers(
        beams.items[:, :k].cpu().numpy(), beams.log_probs[:, :k].double().cpu().numpy(), certified.cpu().numpy()
    )


def require_most(k: int, beam_size: int) -> None:
    """Make sure that a beam search finds ``k`` items.

    Raises:
        ValueError: there are fewer beams.
    """
    if k > beam_size:
        raise ValueError(
            f"k = {k} items are asked for, but decoding_beam_size = {beam_size} finds only {beam_size}: load the "
            f"run with decoding_beam_size={k} or more, or lower k"
        )
