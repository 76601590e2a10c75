"""Log-probabilities of given items by teacher forcing.

Knows how to score candidates of each user through one shared prompt. Refuses to know which candidates are asked for
and why (sampled evaluation, re-ranking), and searches nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from recbole_lcrec.decoding.prompt_cache import PromptCache, prefill, token_log_probs

__all__ = ["score_items"]


def score_items(
    model: PreTrainedModel,
    input_ids: Tensor,
    attention_mask: Tensor,
    item_token_ids: Tensor,
    items: Tensor,
    max_branch_tokens: int = 4096,
) -> Tensor:
    """Scores given items of each user, with the same scores as ``beam_search``.

    A score is the sum of the log-probabilities of the item's H index tokens, each normalised over the full vocabulary.
    The prompt is read once per user; the first H - 1 tokens of each candidate form a branch of their own.

    Args:
        model: a transformers causal language model in evaluation mode, under sdpa or eager attention; also one
            wrapped by PEFT's LoRA. It is not changed.
        input_ids: left-padded prompts [B, L], int64.
        attention_mask: 1 for a prompt token, 0 for padding [B, L], int64 or bool.
        item_token_ids: token ids of each item's index [N, H], int64, on the prompts' device.
        items: item rows to score [B, C], int64, from 0 to N - 1; -1 is padding. An item may come twice.
        max_branch_tokens: branch tokens in one forward pass, over all users. It bounds memory (float32 logits of this
            many tokens), not the result; one candidate per user is the least.

    Returns:
        Log-probabilities [B, C], float32, nats; minus infinity for padding.

    Raises:
        ValueError: if shapes do not fit, an item does not exist, ``max_branch_tokens`` is below 1, a prompt is empty,
            not left-padded or too long for the model, or the model lacks an index token or a maskable attention.
        RuntimeError: if the model is in training mode or its logits are not finite.
    """
    _check(input_ids, item_token_ids, items, max_branch_tokens)
    n_users = input_ids.shape[0]
    n_levels = item_token_ids.shape[1]
    with torch.no_grad():
        prompts, logits = prefill(
            model, input_ids, attention_mask, n_new=n_levels - 1, max_token=int(item_token_ids.max())
        )
        tokens = item_token_ids[items.clamp(min=0)]
        scores = token_log_probs(logits, tokens[:, None, :, 0]).squeeze(1)
        if n_levels > 1:
            width = max(1, max_branch_tokens // (n_users * (n_levels - 1)))
            scores = scores + torch.cat(
                [_continuations(prompts, chunk) for chunk in torch.split(tokens, width, dim=1)], dim=1
            )
        scores = scores.masked_fill(items < 0, -torch.inf)
    return scores


def _continuations(prompts: PromptCache, tokens: Tensor) -> Tensor:
    """Log-probabilities of tokens 2 to H of each branch given the prompt and the tokens before, summed.

    Args:
        prompts: the prompts, with no branch tokens in their cache, before and after.
        tokens: index tokens [B, C, H], int64.

    Returns:
        [B, C], float32.
    """
    n_users, n_branches, n_levels = tokens.shape
    length = n_levels - 1
    places = torch.arange(n_branches * length, device=tokens.device)
    branches, depths = torch.div(places, length, rounding_mode="floor"), places % length
    ancestors = (branches.unsqueeze(1) == branches) & (places.unsqueeze(1) >= places)
    logits = prompts.extend(tokens[:, :, :-1].flatten(1), depths, ancestors.unsqueeze(0))
    prompts.forget(n_branches * length)
    log_probs = token_log_probs(logits, tokens[:, :, 1:].flatten(1).unsqueeze(-1))
    return log_probs.view(n_users, n_branches, length).sum(dim=-1)


def _check(input_ids: Tensor, item_token_ids: Tensor, items: Tensor, max_branch_tokens: int) -> None:
    if item_token_ids.ndim != 2 or 0 in item_token_ids.shape or int(item_token_ids.min()) < 0:
        raise ValueError(f"item_token_ids: shape {list(item_token_ids.shape)}; must be [N, H], with no id below 0")
    if items.ndim != 2 or items.shape[0] != input_ids.shape[0] or items.shape[1] == 0:
        raise ValueError(f"items: shape {list(items.shape)}; must be [B, C] for the {input_ids.shape[0]} prompts")
    n_items = item_token_ids.shape[0]
    low, high = int(items.min()), int(items.max())
    if low < -1 or high >= n_items:
        raise ValueError(f"items: row {low if low < -1 else high} does not exist; rows are 0 to {n_items - 1}, -1 pads")
    if max_branch_tokens < 1:
        raise ValueError(f"max_branch_tokens={max_branch_tokens}: must be at least 1")
