"""Prompts read once, and branches of tokens that grow out of them.

Knows how to ask a transformers causal language model for next-token log-probabilities of many branches that share one
prompt: the prompt's keys and values are computed once per user, the tokens of all branches are query tokens of the
same sequence, a 4-D mask lets each see its prompt and its own ancestors alone, and its position counts its depth.
Refuses to know the trie, items and how branches are chosen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

__all__ = ["PromptCache", "prefill", "token_log_probs"]

_MASKED_ATTENTION = ("sdpa", "eager")
_ATTENTION_LAYERS = {"full_attention", "sliding_attention"}


@dataclass(frozen=True, eq=False)
class PromptCache:
    """B prompts whose keys and values are held, and the branch tokens read since.

    Attributes:
        model: the language model.
        cache: keys and values of the L prompt tokens, then of T branch tokens; grows with ``extend``.
        prompt_mask: which of the L columns are prompt tokens, not padding [B, L], bool.
        lengths: prompt tokens of each user [B], int64.
    """

    model: PreTrainedModel
    cache: DynamicCache
    prompt_mask: Tensor
    lengths: Tensor

    def extend(self, tokens: Tensor, depths: Tensor, ancestors: Tensor) -> Tensor:
        """Reads Q branch tokens per user and appends their keys and values to the cache.

        Args:
            tokens: branch tokens [B, Q], int64.
            depths: how many branch tokens precede each in its own branch [Q], int64.
            ancestors: whether each new token sees each branch token read so far, itself included [B, Q, T + Q] or
                [1, Q, T + Q], bool.

        Returns:
            Logits of the token after each branch token [B, Q, V], in the model's dtype.
        """
        n_users, n_queries = tokens.shape
        visible = torch.cat(
            [
                self.prompt_mask.unsqueeze(1).expand(-1, n_queries, -1),
                ancestors.expand(n_users, -1, -1),
            ],
            dim=-1,
        )
        dtype: torch.dtype = self.model.dtype
        additive = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
        additive.masked_fill_(~visible, torch.finfo(dtype).min)
        logits: Tensor = self.model(
            input_ids=tokens,
            attention_mask=additive.unsqueeze(1),
            position_ids=self.lengths.unsqueeze(1) + depths,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=n_queries,
        ).logits
        return logits

    def forget(self, n_tokens: int) -> None:
        """Takes the last ``n_tokens`` branch tokens out of the cache."""
        self.cache.crop(-n_tokens)


def prefill(
    model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor, n_new: int, max_token: int
) -> tuple[PromptCache, Tensor]:
    """Reads the prompts.

    Args:
        model: a causal language model in evaluation mode, also one wrapped by PEFT's LoRA.
        input_ids: left-padded prompts [B, L], int64.
        attention_mask: 1 for a prompt token, 0 for padding [B, L], int64 or bool.
        n_new: how many tokens a branch may add to a prompt.
        max_token: the largest token id that will be asked for.

    Returns:
        The cache, and the logits of the first token after each prompt [B, 1, V].

    Raises:
        ValueError: if the shapes differ, a prompt is empty, not left-padded or too long for the model's positions, the
            model's attention ignores 4-D masks, or its vocabulary lacks ``max_token``.
        RuntimeError: if the model is in training mode.
    """
    _check_model(model)
    mask = _checked_mask(input_ids, attention_mask)
    lengths = mask.sum(dim=1)
    _check_length(model, int(lengths.max()), n_new)
    cache = DynamicCache()
    output = model(
        input_ids=input_ids,
        attention_mask=mask.long(),
        position_ids=(mask.cumsum(dim=1) - 1).clamp_(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    n_tokens = output.logits.shape[-1]
    if max_token >= n_tokens:
        raise ValueError(
            f"index token {max_token} is not among the model's {n_tokens} tokens; resize its embeddings to the "
            "tokenizer that made the index tokens"
        )
    return PromptCache(model=model, cache=cache, prompt_mask=mask, lengths=lengths), output.logits


def token_log_probs(logits: Tensor, tokens: Tensor) -> Tensor:
    """Log-probabilities of chosen tokens, normalised over the full vocabulary in float32.

    Args:
        logits: [B, Q, V].
        tokens: [B, Q, F], int64.

    Returns:
        [B, Q, F], float32, nats.

    Raises:
        RuntimeError: if the logits hold NaN or plus infinity, or a chosen token's logit is minus infinity.
    """
    normaliser = torch.logsumexp(logits.float(), dim=-1, keepdim=True)
    log_probs = logits.gather(-1, tokens).float() - normaliser
    if not bool(torch.isfinite(log_probs).all()):
        raise RuntimeError(
            "the language model's logits are NaN or infinite, so no item can be ranked; look for NaN weights, or "
            "overflow if the model runs in float16 (bfloat16 or float32 mend that)"
        )
    return log_probs


def _check_model(model: PreTrainedModel) -> None:
    if model.training:
        raise RuntimeError(
            "the language model is in training mode, where dropout blurs scores; call model.eval() first"
        )
    attention = model.config._attn_implementation
    if attention not in _MASKED_ATTENTION:
        raise ValueError(
            f"attn_implementation={attention!r} does not honour the 4-D mask that keeps beams apart; load the model "
            f"with one of {', '.join(_MASKED_ATTENTION)}"
        )
    strange = set(getattr(model.config, "layer_types", None) or ()) - _ATTENTION_LAYERS
    if strange:
        raise ValueError(
            f"model_type={model.config.model_type!r} has layers of kind {', '.join(sorted(strange))}, whose states "
            "cannot be shared by beams; use a model whose layers are all attention"
        )
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        raise ValueError("a PEFT prompt-learning adapter adds tokens of its own to each call; use LoRA or merge it")


def _checked_mask(input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    if input_ids.ndim != 2 or 0 in input_ids.shape or input_ids.shape != attention_mask.shape:
        raise ValueError(
            f"input_ids {list(input_ids.shape)} and attention_mask {list(attention_mask.shape)} must both be [B, L], "
            "with at least one user and one token"
        )
    mask = attention_mask.bool()
    empty = ~mask.any(dim=1)
    if bool(empty.any()):
        raise ValueError(f"attention_mask: row {int(empty.long().argmax())} is all padding; a prompt needs a token")
    if not bool(mask[:, -1].all()) or bool((mask[:, :-1] & ~mask[:, 1:]).any()):
        raise ValueError("attention_mask: prompts must be left-padded, with no padding after a prompt's first token")
    return mask


def _check_length(model: PreTrainedModel, longest: int, n_new: int) -> None:
    for name in ("max_position_embeddings", "sliding_window"):
        limit = getattr(model.config, name, None)
        if limit is not None and longest + n_new > limit:
            raise ValueError(
                f"a prompt of {longest} tokens and {n_new} index tokens pass the model's {name}={limit}; drop the "
                "oldest items of long histories"
            )
