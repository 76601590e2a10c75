"""Many users' prompts to their best items: batches, processes, exactness.

Knows how the search is spread over batches and processes and widened until its result is proved. Refuses to know what
prompts say: they are token ids, items are rows.
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
from recbole_lcrec.decoding.batches import Parts, plan_batches, work_through
from recbole_lcrec.decoding.beam_search import Beams, beam_search, branch_tokens
from recbole_lcrec.decoding.exclusion import excluded_nodes
from recbole_lcrec.decoding.prompt_batch import Prompts
from recbole_lcrec.decoding.readers.base import Reader
from recbole_lcrec.decoding.scoring import score_items
from recbole_lcrec.decoding.trie import Trie
from recbole_lcrec.runtime.processes import from_all_processes, process_count, process_rank

__all__ = ["Ranker", "Ranking", "UserPrompts"]

BATCH_TOKENS = {"cpu": 3200, "cuda": 16384}
"""Tokens decoded at once where ``decoding_max_tokens`` does not say: more are slower on a CPU, not faster."""

_TOGETHER = 512
"""Users out of whom batches are made up, those of like length together. Who asks for a multiple of them at once gets
the numbers of who asks for so many at a time."""

UserPrompts = Sequence[Sequence[int]]
"""A user's prompts as token ids: one, or one of each template whose scores are added."""


@dataclass(frozen=True, eq=False)
class Ranking(Beams):
    """The best items of many users, on the CPU, in the users' order.

    A beam that was widened is cut to the first M again: ``bound`` and the certificates are those of the wide one.

    Attributes:
        beam_sizes: beams of the search that each user's items come from [B], int64.
    """

    beam_sizes: Tensor


@dataclass(frozen=True, eq=False)
class Ranker:
    """Ranks items for users.

    Attributes:
        reader: the language model.
        trie: the items that may be recommended; moved to ``device``.
        settings: beam size, exactness, normaliser and batch size.
        device: the device of the reader's model.
        shared: whether the processes of a run split the users among themselves; False where every process must take
            part in each forward pass, as under ZeRO-3.
        parts: into how many parts batches are divided, since memory ran out.
    """

    reader: Reader
    trie: Trie
    settings: DecodingSettings
    device: torch.device
    shared: bool = True
    parts: Parts = field(default_factory=Parts)

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
        """The best items of each user.

        Args:
            prompts: of B users, as many of each.
            k: items that are asked for; ``decoding_exact`` widens the beam until the first ``k`` of each user are
                certified.
            excluded: item rows that each user must not get; None: all may come up.
            beam_size: beams per user; None: ``decoding_beam_size``.

        Returns:
            The ranking of all users; the same in every process.

        Raises:
            ValueError: a user has fewer than ``k`` items to get, ``k`` is below 1 or more than there are beams, users
                have no prompts, empty ones or unequally many, or a prompt is too long for the model.
            RuntimeError: a logit is not finite, or memory does not suffice for one user.
        """
        beams = self.settings.beam_size if beam_size is None else beam_size
        if k < 1:
            raise ValueError(f"{k} items are asked for; ask for at least 1")
        if k > min(beams, self.trie.n_items):
            raise ValueError(
                f"{k} items are asked for, but there are {beams} beams and {self.trie.n_items:,} items that may come "
                "up: raise decoding_beam_size, allow more items, or ask for fewer"
            )
        self._require_prompts(prompts)
        if excluded is not None and len(excluded) != len(prompts):
            raise ValueError(
                f"excluded: rows of {len(excluded)} users, but prompts of {len(prompts)}; give one for each"
            )
        users = np.arange(len(prompts))
        found = self._search(prompts, users, excluded, beams)
        self._require_enough(found, k)
        if self.settings.exact:
            self._widen(found, prompts, excluded, k, beams)
        return found

    def score(self, prompts: Sequence[UserPrompts], items: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Log-probabilities of given items of each user.

        Args:
            prompts: of B users, as many of each.
            items: item rows of each user, any number of them; -1 scores minus infinity.

        Returns:
            For each user float32 [number of his items], nats.

        Raises:
            ValueError: an item does not exist or may not come up, or prompts are wrong as in ``rank``.
            RuntimeError: a logit is not finite, or memory does not suffice for one user.
        """
        self._require_prompts(prompts)
        if len(items) != len(prompts):
            raise ValueError(f"items: rows of {len(items)} users, but prompts of {len(prompts)}; give one for each")
        most = max(1, *map(len, items), 0)
        padded = np.full((len(prompts), most), -1, dtype=np.int64)
        for user, rows in enumerate(items):
            padded[user, : len(rows)] = rows
        scores = np.empty(padded.shape, dtype=np.float32)

        def work(users: np.ndarray, batch: Prompts, n_templates: int) -> tuple[Tensor, ...]:
            wanted = torch.from_numpy(padded[users]).to(self.device)
            return (
                score_items(self.reader, batch, self.trie, wanted, self.settings.normalizer, n_templates=n_templates),
            )

        extra = most * (self.trie.n_levels - 1)
        for users, (part,) in self._in_batches(prompts, np.arange(len(prompts)), extra, work):
            scores[users] = part.numpy()
        return [scores[user, : len(rows)] for user, rows in enumerate(items)]

    def _search(
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

        def work(batch_users: np.ndarray, batch: Prompts, n_templates: int) -> tuple[Tensor, ...]:
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
        """Searches again for the users without a certificate, with twice the beams, until none is left."""
        width = found.items.shape[1]
        while not bool(found.certified(k).all()):
            rows = torch.nonzero(~found.certified(k)).squeeze(1)
            beam_size = min(2 * beam_size, self.trie.n_items)
            getLogger().debug(f"{len(rows):,} users are not certified at {k}: searched again with {beam_size} beams")
            again = self._search(prompts, rows.numpy(), excluded, beam_size)
            found.items[rows] = again.items[:, :width]
            found.log_probs[rows] = again.log_probs[:, :width]
            found.bound[rows], found.beam_sizes[rows] = again.bound, again.beam_sizes

    def _require_prompts(self, prompts: Sequence[UserPrompts]) -> None:
        """Looks at all users before any is served, so that all processes of a run fail alike."""
        counts = {len(rows) for rows in prompts}
        if len(counts) > 1 or 0 in counts:
            raise ValueError(f"users have {sorted(counts)} prompts; each needs one, or one of each template")
        lengths = [len(row) for rows in prompts for row in rows]
        if lengths and min(lengths) < 1:
            user = lengths.index(0) // counts.pop()
            raise ValueError(f"user number {user} has an empty prompt; a prompt needs a token")
        if lengths:
            self.reader.check(max(lengths), self.trie.n_levels - 1, self.trie.max_token)

    def _require_enough(self, found: Beams, k: int) -> None:
        few = (found.items[:, k - 1] < 0).nonzero().squeeze(1)
        if len(few):
            user = int(few[0])
            count = int((found.items[user] >= 0).sum())
            raise ValueError(
                f"{k} items are asked for, but {len(few)} users have fewer to get: the first of them (number {user}) "
                f"has {count} of {self.trie.n_items:,}, the others are excluded for him; allow more items, exclude "
                "fewer, or ask for fewer"
            )

    def _in_batches(
        self,
        prompts: Sequence[UserPrompts],
        users: np.ndarray,
        extra: int,
        work: Callable[[np.ndarray, Prompts, int], tuple[Tensor, ...]],
    ) -> list[tuple[np.ndarray, tuple[Tensor, ...]]]:
        """Work done for all users, batch by batch; several processes each do some of the same batches.

        A batch is made up alike however many processes there are, and whatever multiple of ``_TOGETHER`` users is
        ranked at once, so that its numbers are the same to the last digit.
        """
        if not len(users):
            return []
        n_templates = len(prompts[users[0]])
        lengths = np.array([max(map(len, prompts[user])) for user in users])
        max_tokens = self.settings.max_tokens or BATCH_TOKENS.get(self.device.type, BATCH_TOKENS["cuda"])
        groups = np.split(np.arange(len(users)), np.flatnonzero(np.diff(users // _TOGETHER)) + 1)
        batches = [
            group[batch] for group in groups for batch in plan_batches(lengths[group], extra, max_tokens, n_templates)
        ]
        dealt = self.shared and process_count() > 1
        done: list[tuple[np.ndarray, Any]] = []

        def one(numbers: np.ndarray) -> None:
            chosen = users[numbers]
            batch = Prompts.of([row for user in chosen for row in prompts[user]], self.device)
            done.append((chosen, tuple(value.cpu() for value in work(chosen, batch, n_templates))))

        work_through(batches[process_rank() :: process_count()] if dealt else batches, one, self.parts)
        if not dealt:
            return done
        return [part for parts in from_all_processes(done) for part in parts]


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of unequal length as int64 [B, longest], padded by -1."""
    padded = torch.full((len(rows), max(1, *map(len, rows))), -1)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = torch.as_tensor(row, dtype=torch.int64)
    return padded
