"""Log-probabilities of the next token, for the few tokens that matter.

Knows the output head of a language model. Refuses to know where its inputs come from and what the tokens mean.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["NORMALIZERS", "log_probs_of_logits", "next_token_log_probs", "require_normalizer"]

NORMALIZERS = ("full", "legal")
"""What probabilities sum to 1 over: the whole vocabulary (paper III-D2), or the tokens that the trie allows."""

_LOGITS_BYTES = {"cpu": 3 * 2**23, "cuda": 2**29}
"""Logits held at once: on a CPU as much as its allocator gives out again, on a GPU what is little there."""


def require_normalizer(name: str) -> None:
    """Makes sure that a normaliser exists.

    Raises:
        ValueError: it does not.
    """
    if name not in NORMALIZERS:
        raise ValueError(f"normalizer={name!r}: must be one of {', '.join(NORMALIZERS)}")


def next_token_log_probs(
    head: nn.Module, states: Tensor, tokens: Tensor, legal: Tensor, among: Tensor | None = None
) -> Tensor:
    """Log-probabilities of chosen next tokens, from the states that the head reads.

    Logits of the whole vocabulary exist for a part of the states at a time, and are normalised in one fused pass into
    room that all parts share: memory does not grow with the number of states.

    Args:
        head: the model's output head, from states [n, D] to logits [n, V].
        states: R x Q of them [R, Q, D].
        tokens: F next tokens of each state [R, Q, F], int64.
        legal: which of them exist [R, Q, F], bool.
        among: None for the normaliser ``full``. For ``legal``, all tokens that may come up in ``tokens``, ascending
            [K], int64: each state's probabilities then sum to 1 over its own legal tokens. An item's score so leaves
            out how much the model would rather say something that is no item; the order of items changes with it.

    Returns:
        [R, Q, F], float32, nats, at most 0; 0 where not legal under ``full``, minus infinity under ``legal``.

    Raises:
        RuntimeError: a logit is NaN or infinite.
    """
    rows, flat, allowed = states.flatten(0, 1), tokens.flatten(0, 1), legal.flatten(0, 1)
    if among is not None:
        logits = _logits_among(head, rows, among)
        scores = logits.gather(-1, torch.searchsorted(among, flat).clamp_(max=len(among) - 1))
        scores = scores.masked_fill_(~allowed, -torch.inf).log_softmax(-1)
        _require_finite(scores[allowed])
        return scores.view(tokens.shape)
    parts, room = [], None
    count = _states_at_once(head, states.device)
    for part, chosen, able in zip(rows.split(count), flat.split(count), allowed.split(count), strict=True):
        logits = head(part)
        room = torch.empty_like(logits, dtype=torch.float32) if room is None else room  # written again for each part
        parts.append(log_probs_of_logits(logits, chosen, able, room[: len(logits)]))
    return torch.cat(parts).view(tokens.shape)


def log_probs_of_logits(logits: Tensor, tokens: Tensor, legal: Tensor, room: Tensor | None = None) -> Tensor:
    """Log-probabilities of chosen tokens, normalised over the full vocabulary in float32.

    Args:
        logits: [n, V].
        tokens: [n, F], int64.
        legal: which of them exist [n, F], bool.
        room: takes the log-probabilities of all tokens [n, V], float32; None: it is made.

    Returns:
        [n, F], float32, nats, at most 0; 0 where not legal.

    Raises:
        RuntimeError: a logit is NaN or infinite.
    """
    everything = torch.log_softmax(logits.float(), -1, out=room)
    scores = everything.gather(-1, tokens).masked_fill_(~legal, 0.0)
    _require_finite(scores)
    return scores


def _states_at_once(head: nn.Module, device: torch.device) -> int:
    width = getattr(head, "out_features", None) or 2**15
    return max(1, _LOGITS_BYTES.get(device.type, _LOGITS_BYTES["cuda"]) // (4 * width))


def _logits_among(head: nn.Module, rows: Tensor, among: Tensor) -> Tensor:
    """Logits of some tokens [n, K], float32; only their rows of the head are computed where it is a plain matrix."""
    weight = getattr(head, "weight", None)
    if type(head) is not nn.Linear or weight is None or weight.ndim != 2:  # adapters, or weights parted by ZeRO-3
        count = _states_at_once(head, rows.device)
        return torch.cat([head(part).index_select(-1, among).float() for part in rows.split(count)])
    low, high = int(among[0]), int(among[-1])
    together = high - low + 1 == len(among)
    bias = None if head.bias is None else head.bias[among]
    return nn.functional.linear(rows, weight[low : high + 1] if together else weight[among], bias).float()


def _require_finite(scores: Tensor) -> None:
    if not bool(torch.isfinite(scores).all()):
        raise RuntimeError(
            "the language model's logits are NaN or infinite, so no item can be ranked; look for NaN weights, or "
            "overflow if the model runs in float16 (bfloat16 or float32 mend that)"
        )
