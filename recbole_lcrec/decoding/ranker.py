"""Rank items for many users, in batches and several processes.

The search is widened until its result is proved exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from logging import getLogger
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_lcrec.config.settings import DecodingSettings
from recbole_lcrec.decoding.batches import BatchBackoff, plan_batches, run_batches
from recbole_lcrec.decoding.beam_search import Beams, beam_search, branch_tokens
from recbole_lcrec.decoding.exclusion import excluded_nodes
from recbole_lcrec.decoding.prompt_batch import PromptBatch
from recbole_lcrec.decoding.readers.base import Reader
from recbole_lcrec.decoding.scoring import score_items
from recbole_lcrec.decoding.trie import Trie
from recbole_lcrec.runtime.processes import from_all_processes, process_count, process_rank

__all__ = ["Ranker", "Ranking", "UserPrompts"]

BATCH_TOKENS = {"cpu": 3200, "cuda": 16384}
"""Tokens per batch where ``decoding_max_tokens`` is not set; on a CPU, more would be slower."""

_USERS_PER_GROUP = 512
"""Users that are sorted by prompt length and batched together. Batches never cross groups, so ranking all users at once
gives the same batches, and the same scores to the last digit, as ranking them in multiples of a group."""

UserPrompts = Sequence[Sequence[int]]
"""A user's prompts as token ids: one, or one per template if the scores of several templates are added."""


@dataclass(frozen=True, eq=False)
class Ranking(Beams):
    """The best items of many users, on the CPU, in the users' order.

    A widened search is cut to the first M items; ``bound`` and the certificates are those of the wide search.

    Attributes:
        beam_sizes: beam size of the search that each user's items come from [B], int64.
    """

    beam_sizes: Tensor


@dataclass(frozen=True, eq=False)
class Ranker:
    """Ranks and scores items for users.

    Attributes:
        reader: the language model.
        trie: the items that may be recommended; moved to ``device``.
        settings: beam size, exactness, normaliser and batch size.
        device: the device of the reader's model.
        shared: whether the processes of a run split the users among themselves; False where every process must take
            part in each forward pass, as under ZeRO-3.
        backoff: how far batches have been split because memory ran out.
    """

    reader: Reader
    trie: Trie
    settings: DecodingSettings
    device: torch.device
    shared: bool = True
    backoff: BatchBackoff = field(default_factory=BatchBackoff)

    def __post_init__(self) -> None:
        """Move the trie to the device."""
        object.__setattr__(self, "trie", self.trie.to(self.device))

    def rank(
        self,
        prompts: Sequence[UserPrompts],
        k: int,
        excluded: Sequence[Sequence[int]] | None = None,
        beam_size: int | None = None,
    ) -> Ranking:
        """Rank the best items of each user.

        Args:
            prompts: prompts of B users, the same number for each.
            k: number of items requested; with ``decoding_exact`` the beam is widened until the first ``k`` items of
                each user are certified.
            excluded: item rows that each user must not get; None: no item is excluded.
            beam_size: beams per user; None: ``decoding_beam_size``.

        Returns:
            The ranking of all users, the same in every process.

        Raises:
            ValueError: fewer than ``k`` items are left for a user, ``k`` is below 1 or above the beam size, users have
                no prompts, empty ones or different numbers of them, or a prompt is too long for the model.
            RuntimeError: a logit is not finite, or a single user does not fit in memory.
        """
        beams = self.settings.beam_size if beam_size is None else beam_size
        if k < 1:
            raise ValueError(f"k = {k}: request at least 1 item")
        if k > min(beams, self.trie.n_items):
            raise ValueError(
                f"k = {k} items are requested, but there are {beams} beams and {self.trie.n_items:,} allowed items: "
                "raise decoding_beam_size, allow more items, or request fewer"
            )
        self._require_prompts(prompts)
        if excluded is not None and len(excluded) != len(prompts):
            raise ValueError(
                f"excluded: rows of {len(excluded)} users, but prompts of {len(prompts)}; give one row per user"
            )
        users = np.arange(len(prompts))
        found = self._search_batches(prompts, users, excluded, beams)
        self._require_enough(found, k)
        if self.settings.exact:
            self._widen(found, prompts, excluded, k, beams)
        return found

    def score(self, prompts: Sequence[UserPrompts], items: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Return log-probabilities of given items of each user.

        Args:
            prompts: prompts of B users, the same number for each.
            items: item rows of each user, any number of them; -1 scores minus infinity.

        Returns:
            One float32 array [number of the user's items] per user, nats.

        Raises:
            ValueError: an item does not exist or is not allowed, or prompts are invalid as in :meth:`rank`.
            RuntimeError: a logit is not finite, or a single user does not fit in memory.
        """
        self._require_prompts(prompts)
        if len(items) != len(prompts):
            raise ValueError(f"items: rows of {len(items)} users, but prompts of {len(prompts)}; give one row per user")
        most = max(1, *map(len, items), 0)
        padded = np.full((len(prompts), most), -1, dtype=np.int64)
        for user, rows in enumerate(items):
            padded[user, : len(rows)] = rows
        scores = np.empty(padded.shape, dtype=np.float32)

        def work(users: np.ndarray, batch: PromptBatch, n_templates: int) -> tuple[Tensor, ...]:
            rows = torch.from_numpy(padded[users]).to(self.device)
            return (
                score_items(self.reader, batch, self.trie, rows, self.settings.normalizer, n_templates=n_templates),
            )

        extra = most * (self.trie.n_levels - 1)
        for users, (part,) in self._in_batches(prompts, np.arange(len(prompts)), extra, work):
            scores[users] = part.numpy()
        return [scores[user, : len(rows)] for user, rows in enumerate(items)]

    def _search_batches(
        self,
        prompts: Sequence[UserPrompts],
        users: np.ndarray,
        excluded: Sequence[Sequence[int]] | None,
        beam_size: int,
    ) -> Ranking:
        shape = (len(users), min(beam_size, self.trie.n_items))
        found = Ranking(
            items=torch.full(shape, -1),
            log_probs=torch.full(shape, -torch.inf),
            bound=torch.empty(len(users)),
            beam_sizes=torch.full((len(users),), beam_size),
        )
        place = np.zeros(len(prompts), dtype=np.int64)
        place[users] = np.arange(len(users))

        def work(batch_users: np.ndarray, batch: PromptBatch, n_templates: int) -> tuple[Tensor, ...]:
            dead = None
            if excluded is not None:
                dead = excluded_nodes(self.trie, _padded([excluded[user] for user in batch_users]).to(self.device))
            beams = beam_search(
                self.reader, batch, self.trie, beam_size, self.settings.normalizer, dead, n_templates=n_templates
            )
            return beams.items, beams.log_probs, beams.bound

        extra = branch_tokens(self.trie, beam_size)
        for batch_users, (items, log_probs, bound) in self._in_batches(prompts, users, extra, work):
            rows = torch.from_numpy(place[batch_users])
            found.items[rows], found.log_probs[rows], found.bound[rows] = items, log_probs, bound
        return found

    def _widen(
        self,
        found: Ranking,
        prompts: Sequence[UserPrompts],
        excluded: Sequence[Sequence[int]] | None,
        k: int,
        beam_size: int,
    ) -> None:
        """Search again with twice the beam size for users without a certificate, until there are none."""
        width = found.items.shape[1]
        while not bool(found.certified(k).all()):
            rows = torch.nonzero(~found.certified(k)).squeeze(1)
            beam_size = min(2 * beam_size, self.trie.n_items)
            getLogger().debug(
                f"{len(rows):,} users have no certificate for k = {k}: searching again with {beam_size} beams"
            )
            again = self._search_batches(prompts, rows.numpy(), excluded, beam_size)
            found.items[rows] = again.items[:, :width]
            found.log_probs[rows] = again.log_probs[:, :width]
            found.bound[rows], found.beam_sizes[rows] = again.bound, again.beam_sizes

    def _require_prompts(self, prompts: Sequence[UserPrompts]) -> None:
        """Check the prompts of all users before ranking any, so that all processes of a run fail alike."""
        counts = {len(rows) for rows in prompts}
        if len(counts) > 1 or 0 in counts:
            raise ValueError(f"users have {sorted(counts)} prompts; give each user one, or one per template")
        lengths = [len(row) for rows in prompts for row in rows]
        if lengths and min(lengths) < 1:
            user = lengths.index(0) // counts.pop()
            raise ValueError(f"user {user} has an empty prompt; give at least one token")
        if lengths:
            self.reader.check(max(lengths), self.trie.n_levels - 1, self.trie.max_token)

    def _require_enough(self, found: Beams, k: int) -> None:
        few = (found.items[:, k - 1] < 0).nonzero().squeeze(1)
        if len(few):
            user = int(few[0])
            count = int((found.items[user] >= 0).sum())
            raise ValueError(
                f"k = {k} items are requested, but fewer are left for {len(few)} users: the first of them (user "
                f"{user}) has {count} of {self.trie.n_items:,}, because the others are excluded; allow more items, "
                "exclude fewer, or request fewer"
            )

    def _in_batches(
        self,
        prompts: Sequence[UserPrompts],
        users: np.ndarray,
        extra: int,
        work: Callable[[np.ndarray, PromptBatch, int], tuple[Tensor, ...]],
    ) -> list[tuple[np.ndarray, tuple[Tensor, ...]]]:
        """Call ``work`` on batches of all users, which several processes split among themselves.

        The batches depend neither on the number of processes nor on how many groups of ``_USERS_PER_GROUP`` users are
        ranked at once, so results are the same to the last digit.

        Args:
            prompts: prompts of all users.
            users: the users to process.
            extra: branch tokens per prompt.
            work: from the users of a batch, their prompts and the number of prompts per user to result tensors, a row
                for each user.

        Returns:
            The users of each batch and their results on the CPU; the same in every process.
        """
        if not len(users):
            return []
        n_templates = len(prompts[users[0]])
        lengths = np.array([max(map(len, prompts[user])) for user in users])
        max_tokens = self.settings.max_tokens or BATCH_TOKENS.get(self.device.type, BATCH_TOKENS["cuda"])
        groups = np.split(np.arange(len(users)), np.flatnonzero(np.diff(users // _USERS_PER_GROUP)) + 1)
        batches = [
            group[batch] for group in groups for batch in plan_batches(lengths[group], extra, max_tokens, n_templates)
        ]
        split = self.shared and process_count() > 1
        done: list[tuple[np.ndarray, Any]] = []

        def run_batch(numbers: np.ndarray) -> None:
            chosen = users[numbers]
            batch = PromptBatch.of([row for user in chosen for row in prompts[user]], self.device)
            done.append((chosen, tuple(value.cpu() for value in work(chosen, batch, n_templates))))

        run_batches(batches[process_rank() :: process_count()] if split else batches, run_batch, self.backoff)
        if not split:
            return done
        return [result for results in from_all_processes(done) for result in results]


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Return rows of unequal length as int64 [B, longest], padded with -1."""
    padded = torch.full((len(rows), max(1, *map(len, rows))), -1)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = torch.as_tensor(row, dtype=torch.int64)
    return padded
