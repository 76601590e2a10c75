"""Beam search over existing items only, exact in its scores, with a proof of what it found (paper III-D2).

Knows how to keep the best M prefixes per user level by level, by a trie and a reader. Refuses to know texts,
tokenizers, batches and generation settings.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_lcrec.decoding.exclusion import Excluded
from recbole_lcrec.decoding.next_tokens import require_normalizer
from recbole_lcrec.decoding.prompt_batch import Prompts
from recbole_lcrec.decoding.readers.base import Reader
from recbole_lcrec.decoding.trie import Trie

__all__ = ["Beams", "beam_search"]


@dataclass(frozen=True, eq=False)
class Beams:
    """The best items of each user, best first.

    Attributes:
        items: item rows [B, M], int64, distinct within a user; -1 where a user has fewer than M items to get.
        log_probs: log-probability of each item given the prompt [B, M], float32, nats, descending; minus infinity
            where there is no item.
        bound: the best score of all prefixes that were dropped [B], float32, nats; minus infinity where none was. A
            score only falls along a path, so no item that was not found scores higher.
    """

    items: Tensor
    log_probs: Tensor
    bound: Tensor

    def certified(self, k: int) -> Tensor:
        """Whether the first ``k`` items are, in order, the best ``k`` of all that may come up [B], bool.

        A certificate costs nothing: the k-th item scores above every dropped prefix. Without it the items may be the
        best all the same.

        Raises:
            ValueError: ``k`` is not from 1 to M.
        """
        if not 1 <= k <= self.items.shape[1]:
            raise ValueError(f"k = {k}: there are {self.items.shape[1]} beams")
        return (self.log_probs[:, k - 1] > self.bound) | torch.isneginf(self.bound)


def beam_search(
    reader: Reader,
    prompts: Prompts,
    trie: Trie,
    beam_size: int,
    normalizer: str = "full",
    excluded: Excluded | None = None,
    n_templates: int = 1,
) -> Beams:
    """Finds the items that continue each user's prompt best.

    An item's score is the sum of the log-probabilities of its H index tokens; tokens that lead to no item get
    probability 0; there is no length penalty. With several prompts per user an item's score is the sum over them. A
    level with fewer prefixes than ``beam_size`` keeps all of them. Equal scores: the beam whose prefix ranked higher
    goes first, then the smaller token id.

    Args:
        reader: the language model.
        prompts: R = B x ``n_templates`` prompts, those of a user next to each other.
        trie: the N existing items, on the prompts' device.
        beam_size: beams per user. More than N gives M = N columns, which is then an exact ranking of all items.
        normalizer: ``full``: each token's probability is normalised over the whole vocabulary, as in the paper;
            ``legal``: over the tokens that continue some item of the trie, see :func:`next_token_log_probs`.
        excluded: items that a user must not get; they make no room for others than the beams have.
        n_templates: prompts per user.

    Returns:
        Beams [B, M] with M = min(beam_size, N).

    Raises:
        ValueError: if ``beam_size`` is below 1, the normaliser is unknown, prompts and ``n_templates`` do not fit, the
            trie is on another device or is not the one of ``excluded``, a prompt is too long for the model, or the
            model lacks an index token.
        RuntimeError: if a logit is not finite.
    """
    if beam_size < 1:
        raise ValueError(f"beam_size={beam_size}: must be at least 1")
    if trie.device != prompts.ids.device:
        raise ValueError(f"the trie is on {trie.device}, the prompts on {prompts.ids.device}; move it by trie.to()")
    require_normalizer(normalizer)
    if n_templates < 1 or len(prompts) % n_templates:
        raise ValueError(f"{len(prompts)} prompts cannot be n_templates={n_templates} of each user")
    if excluded is not None and excluded.padding != trie.level_offsets[-1]:
        raise ValueError("excluded: these are nodes of another trie; find them by excluded_nodes() of this one")
    reader.check(int(prompts.lengths.max()), trie.n_levels - 1, trie.max_token)
    with torch.no_grad():  # inference mode would turn weights that ZeRO-3 gathers here into ones that cannot be trained
        leaves, scores, bound = _search(reader, prompts, trie, beam_size, normalizer, excluded, n_templates)
        items = trie.items(leaves).masked_fill(torch.isneginf(scores), -1)
    return Beams(items=items, log_probs=scores, bound=bound)


def branch_tokens(trie: Trie, beam_size: int) -> int:
    """Branch tokens that a search reads per prompt: those of the last level are never read."""
    return sum(min(beam_size, trie.level_size(level)) for level in range(1, trie.n_levels))


def _search(
    reader: Reader,
    prompts: Prompts,
    trie: Trie,
    beam_size: int,
    normalizer: str,
    excluded: Excluded | None,
    n_templates: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The best leaves [B, M], their scores [B, M] and the best dropped score [B].

    Every prefix of the trie ends in an item, so M beams always have M children; beams without a score stand in only
    where a user's items run out because they are excluded.
    """
    n_users, device = len(prompts) // n_templates, prompts.ids.device
    branches, states = reader.read(prompts, branch_tokens(trie, beam_size))
    nodes = torch.zeros((n_users, 1), dtype=torch.int64, device=device)
    scores = torch.zeros((n_users, 1), dtype=torch.float32, device=device)
    bound = torch.full((n_users,), -torch.inf, device=device)
    for level in range(trie.n_levels):
        candidates = trie.children(nodes, level)
        among = trie.level_tokens(level) if normalizer == "legal" else None
        tokens, legal = (_per_prompt(each, n_templates) for each in (candidates.tokens, candidates.legal))
        steps = reader.log_probs(states, tokens, legal, among)
        steps = steps if n_templates == 1 else steps.unflatten(0, (n_users, n_templates)).sum(1)
        able = candidates.legal
        if excluded is not None:
            able = able & ~excluded.dead(level + 1, candidates.nodes)
        grown = (scores.unsqueeze(-1) + steps).masked_fill_(~able, -torch.inf).flatten(1)
        chosen = _best(grown, min(beam_size, trie.level_size(level + 1)))
        scores = grown.gather(1, chosen)
        bound = torch.maximum(bound, grown.scatter_(1, chosen, -torch.inf).amax(1))
        nodes = candidates.nodes.flatten(1).gather(1, chosen)
        if level == trie.n_levels - 1:
            break
        parents = torch.div(chosen, candidates.tokens.shape[-1], rounding_mode="floor")
        read = candidates.tokens.flatten(1).gather(1, chosen)
        states = branches.extend(_per_prompt(read, n_templates), _per_prompt(parents, n_templates))
    return nodes, scores, bound


def _per_prompt(values: Tensor, n_templates: int) -> Tensor:
    """What belongs to a user, once for each of his prompts."""
    return values if n_templates == 1 else values.repeat_interleave(n_templates, dim=0)


def _best(scores: Tensor, count: int) -> Tensor:
    """Positions of the ``count`` highest scores of each row, descending, the lower position first among equals.

    ``topk`` leaves the order of ties open, so score and position are packed into one integer without ties: a float's
    bits order like an integer once those below the sign are flipped for negative numbers.

    Args:
        scores: [B, C], float32, no NaN.
        count: how many to take, at most C.

    Returns:
        Positions [B, count], int64.
    """
    bits = (scores + 0.0).view(torch.int32)
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    last = scores.shape[1] - 1
    backwards = torch.arange(last, -1, -1, device=scores.device)
    keys = (ordered << 32) + backwards
    return last - (torch.topk(keys, count, dim=1).values & 0xFFFFFFFF)
