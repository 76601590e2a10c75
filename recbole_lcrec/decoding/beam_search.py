"""Trie-constrained beam search with certificates of optimality (paper III-D2).

Only existing items are found.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_lcrec.decoding.exclusion import Excluded
from recbole_lcrec.decoding.next_tokens import require_normalizer
from recbole_lcrec.decoding.prompt_batch import PromptBatch
from recbole_lcrec.decoding.readers.base import Reader
from recbole_lcrec.decoding.trie import Trie

__all__ = ["Beams", "beam_search"]


@dataclass(frozen=True, eq=False)
class Beams:
    """The best items of each user, best first.

    Attributes:
        items: item rows [B, M], int64, distinct within a user; -1 where fewer than M items are left for a user.
        log_probs: log-probability of each item given the prompt [B, M], float32, nats, descending; minus infinity
            where there is no item.
        bound: the highest score of all pruned prefixes [B], float32, nats; minus infinity if none was pruned. Scores
            only decrease along a path, so no item outside the beams scores higher.
    """

    items: Tensor
    log_probs: Tensor
    bound: Tensor

    def certified(self, k: int) -> Tensor:
        """Return whether the first ``k`` items are proved to be the ``k`` best of all allowed items [B], bool.

        The proof needs no further computation: the k-th item scores higher than every pruned prefix. Items without a
        certificate may still be the best.

        Raises:
            ValueError: ``k`` is not from 1 to M.
        """
        if not 1 <= k <= self.items.shape[1]:
            raise ValueError(f"k = {k}: must be from 1 to {self.items.shape[1]}, the number of beams")
        return (self.log_probs[:, k - 1] > self.bound) | torch.isneginf(self.bound)


def beam_search(
    reader: Reader,
    prompts: PromptBatch,
    trie: Trie,
    beam_size: int,
    normalizer: str = "full",
    excluded: Excluded | None = None,
    n_templates: int = 1,
) -> Beams:
    """Find the items with the highest probability after each user's prompt.

    An item's score is the sum of the log-probabilities of its H index tokens. Tokens that lead to no item get
    probability 0, and there is no length penalty. With several prompts per user, an item's score is the sum over them.
    A level with fewer prefixes than ``beam_size`` keeps all of them. Ties are broken by the rank of the prefix, then by
    the smaller token id.

    Args:
        reader: the language model.
        prompts: R = B x ``n_templates`` prompts; a user's prompts are adjacent.
        trie: the N allowed items, on the prompts' device.
        beam_size: beams per user. With at least N beams the result is an exact ranking of all items.
        normalizer: ``full``: each token's probability is normalised over the whole vocabulary, as in the paper;
            ``legal``: over the tokens that continue an item of the trie, see :func:`next_token_log_probs`.
        excluded: items that a user must not get.
        n_templates: prompts per user.

    Returns:
        Beams [B, M] with M = min(beam_size, N).

    Raises:
        ValueError: ``beam_size`` is below 1, the normaliser is unknown, the number of prompts is not a multiple of
            ``n_templates``, the trie is on another device or is not the one of ``excluded``, a prompt is too long for
            the model, or the model lacks an index token.
        RuntimeError: a logit is not finite.
    """
    if beam_size < 1:
        raise ValueError(f"beam_size={beam_size}: must be at least 1")
    if trie.device != prompts.ids.device:
        raise ValueError(
            f"the trie is on {trie.device}, the prompts on {prompts.ids.device}; move the trie with trie.to()"
        )
    require_normalizer(normalizer)
    if n_templates < 1 or len(prompts) % n_templates:
        raise ValueError(f"{len(prompts)} prompts cannot be split into n_templates={n_templates} per user")
    if excluded is not None and excluded.padding != trie.level_offsets[-1]:
        raise ValueError("excluded: the nodes belong to another trie; call excluded_nodes() with this one")
    reader.check(int(prompts.lengths.max()), trie.n_levels - 1, trie.max_token)
    with torch.no_grad():  # under inference_mode, weights that ZeRO-3 gathers here could not be trained afterwards
        leaves, scores, bound = _search_levels(reader, prompts, trie, beam_size, normalizer, excluded, n_templates)
        items = trie.items(leaves).masked_fill(torch.isneginf(scores), -1)
    return Beams(items=items, log_probs=scores, bound=bound)


def branch_tokens(trie: Trie, beam_size: int) -> int:
    """Return the number of branch tokens that a search reads per prompt; tokens of the last level are never read."""
    return sum(min(beam_size, trie.level_size(level)) for level in range(1, trie.n_levels))


def _search_levels(
    reader: Reader,
    prompts: PromptBatch,
    trie: Trie,
    beam_size: int,
    normalizer: str,
    excluded: Excluded | None,
    n_templates: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best leaves [B, M], their scores [B, M] and the highest pruned score [B].

    Every prefix of the trie leads to an item, so M beams always have at least M children. Beams score minus infinity
    only where exclusion leaves a user fewer than M items.
    """
    n_users, device = len(prompts) // n_templates, prompts.ids.device
    branches, states = reader.read(prompts, branch_tokens(trie, beam_size))
    nodes = torch.zeros((n_users, 1), dtype=torch.int64, device=device)
    scores = torch.zeros((n_users, 1), dtype=torch.float32, device=device)
    bound = torch.full((n_users,), -torch.inf, device=device)
    for level in range(trie.n_levels):
        children = trie.children(nodes, level)
        level_tokens = trie.level_tokens(level) if normalizer == "legal" else None
        tokens, legal = (_per_prompt(each, n_templates) for each in (children.tokens, children.legal))
        steps = reader.log_probs(states, tokens, legal, level_tokens)
        steps = steps if n_templates == 1 else steps.unflatten(0, (n_users, n_templates)).sum(1)
        live = children.legal
        if excluded is not None:
            live = live & ~excluded.dead(level + 1, children.nodes)
        extended = (scores.unsqueeze(-1) + steps).masked_fill_(~live, -torch.inf).flatten(1)
        chosen = _top_positions(extended, min(beam_size, trie.level_size(level + 1)))
        scores = extended.gather(1, chosen)
        bound = torch.maximum(bound, extended.scatter_(1, chosen, -torch.inf).amax(1))
        nodes = children.nodes.flatten(1).gather(1, chosen)
        if level == trie.n_levels - 1:
            break
        parents = torch.div(chosen, children.tokens.shape[-1], rounding_mode="floor")
        read = children.tokens.flatten(1).gather(1, chosen)
        states = branches.extend(_per_prompt(read, n_templates), _per_prompt(parents, n_templates))
    return nodes, scores, bound


def _per_prompt(values: Tensor, n_templates: int) -> Tensor:
    """Repeat each user's row for each of their prompts."""
    return values if n_templates == 1 else values.repeat_interleave(n_templates, dim=0)


def _top_positions(scores: Tensor, count: int) -> Tensor:
    """Return the positions of the ``count`` highest scores of each row, descending; ties go to the lower position.

    ``topk`` does not specify the order of ties, so score and position are packed into one integer: the bits of a float
    are ordered as an integer once all bits but the sign are flipped for negative numbers.

    Args:
        scores: scores [B, C], float32, without NaN.
        count: number of positions, at most C.

    Returns:
        Positions [B, count], int64.
    """
    bits = (scores + 0.0).view(torch.int32)
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    last = scores.shape[1] - 1
    backwards = torch.arange(last, -1, -1, device=scores.device)
    keys = (ordered << 32) + backwards
    return last - (torch.topk(keys, count, dim=1).values & 0xFFFFFFFF)
