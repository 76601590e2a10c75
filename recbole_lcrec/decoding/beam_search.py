"""Beam search over existing items only, exact in its scores (paper III-D2).

Knows how to keep the best M prefixes per user level by level, by a trie and a prompt cache. Refuses to know texts,
tokenizers and generation settings: ``generate`` is never called, so a checkpoint's generation configuration has no
say.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from recbole_lcrec.decoding.prompt_cache import prefill, token_log_probs
from recbole_lcrec.decoding.trie import Trie

__all__ = ["Beams", "beam_search"]


@dataclass(frozen=True, eq=False)
class Beams:
    """The best items of each user, best first.

    Attributes:
        items: item rows [B, M], int64, from 0 to N - 1, distinct within a user.
        log_probs: log-probability of each item given the prompt [B, M], float32, nats, finite, descending.
    """

    items: Tensor
    log_probs: Tensor


def beam_search(model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor, trie: Trie, beam_size: int) -> Beams:
    """Finds the items that continue each prompt best.

    An item's score is the sum of the log-probabilities of its H index tokens, each normalised over the full
    vocabulary; tokens that lead to no item get probability 0; there is no length penalty. All beams of a user are
    query tokens of the prompt's own sequence, so its keys and values are computed once and never repeated or
    reordered. A level with fewer prefixes than ``beam_size`` keeps all of them. Equal scores: the beam whose prefix
    ranked higher goes first, then the smaller token id.

    Args:
        model: a transformers causal language model in evaluation mode, under sdpa or eager attention; also one
            wrapped by PEFT's LoRA. It is not changed.
        input_ids: left-padded prompts [B, L], int64.
        attention_mask: 1 for a prompt token, 0 for padding [B, L], int64 or bool.
        trie: the N existing items, on the prompts' device.
        beam_size: beams per user. More than N gives M = N columns, which is then an exact ranking of all items.

    Returns:
        Beams [B, M] with M = min(beam_size, N).

    Raises:
        ValueError: if ``beam_size`` is below 1, the trie is on another device, a prompt is empty, not left-padded or
            too long for the model, or the model lacks an index token or a maskable attention.
        RuntimeError: if the model is in training mode or its logits are not finite.
    """
    if beam_size < 1:
        raise ValueError(f"beam_size={beam_size}: must be at least 1")
    if trie.device != input_ids.device:
        raise ValueError(f"the trie is on {trie.device}, the prompts on {input_ids.device}; move it by trie.to()")
    with torch.no_grad():  # inference mode would turn weights that ZeRO-3 gathers here into ones that cannot be trained
        leaves, scores = _search(model, input_ids, attention_mask, trie, beam_size)
    return Beams(items=trie.items(leaves), log_probs=scores)


def _search(
    model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor, trie: Trie, beam_size: int
) -> tuple[Tensor, Tensor]:
    """The best leaves [B, M] and their scores [B, M].

    Every prefix of the trie ends in an item, so M beams always have M children: no filler beam is ever needed.
    """
    n_users = input_ids.shape[0]
    prompts, logits = prefill(model, input_ids, attention_mask, n_new=trie.n_levels - 1, max_token=trie.max_token)
    nodes = torch.zeros((n_users, 1), dtype=torch.int64, device=input_ids.device)
    scores = torch.zeros((n_users, 1), dtype=torch.float32, device=input_ids.device)
    ancestors = torch.zeros((n_users, 1, 0), dtype=torch.bool, device=input_ids.device)
    for level in range(trie.n_levels):
        candidates = trie.children(nodes, level)
        grown = scores.unsqueeze(-1) + token_log_probs(logits, candidates.tokens)
        grown = grown.masked_fill_(~candidates.legal, -torch.inf).flatten(1)
        chosen = _best(grown, min(beam_size, trie.level_size(level + 1)))
        scores = grown.gather(1, chosen)
        nodes = candidates.nodes.flatten(1).gather(1, chosen)
        if level == trie.n_levels - 1:
            break
        parents = torch.div(chosen, candidates.tokens.shape[-1], rounding_mode="floor")
        ancestors = _descend(ancestors, parents)
        depths = torch.full((nodes.shape[1],), level, dtype=torch.int64, device=nodes.device)
        logits = prompts.extend(candidates.tokens.flatten(1).gather(1, chosen), depths, ancestors)
    return nodes, scores


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


def _descend(ancestors: Tensor, parents: Tensor) -> Tensor:
    """The ancestor mask of one level, from that of the level above.

    Args:
        ancestors: [B, P, T], bool: which branch tokens each of P parents sees, itself included.
        parents: parent of each child [B, M], int64.

    Returns:
        [B, M, T + M], bool: what the parent sees, and the child itself.
    """
    n_users, n_beams = parents.shape
    inherited = ancestors.gather(1, parents.unsqueeze(-1).expand(-1, -1, ancestors.shape[-1]))
    itself = torch.eye(n_beams, dtype=torch.bool, device=parents.device).expand(n_users, -1, -1)
    return torch.cat([inherited, itself], dim=-1)
