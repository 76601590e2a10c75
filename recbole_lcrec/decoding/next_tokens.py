"""Log-probabilities of the next token, for the few tokens that matter.

Knows the output head of a language model. Refuses to know where its inputs come from and what the tokens mean.
"""

from __future__ import annotations

from typing import TypeGuard

import torch
from torch import Tensor, nn

from recbole_lcrec.runtime.errors import RunAborted

__all__ = ["NORMALIZERS", "log_probs_of_logits", "next_token_log_probs", "require_normalizer"]

NORMALIZERS = ("full", "legal")
"""What probabilities sum to 1 over: the whole vocabulary (paper III-D2), or the tokens that the trie allows."""

_BLOCK = 1024
"""Tokens of the vocabulary whose logits a CPU makes and adds up at once: few enough to stay in its cache."""

_GUESS = 64
"""Tokens whose highest logit stands for that of all; any number does."""
_OVERFLOW = 1e35  # float32 ends at 3.4e38

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

    A CPU makes logits block by block of the vocabulary where the head is a plain matrix, so that they never leave its
    cache, and writes their exponentials over them: nothing here is to be differentiated. Else logits of the whole
    vocabulary exist for a part of the states at a time, and are normalised in one fused pass into room that all parts
    share. Either way memory does not grow with the number of states.

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
        RunAborted: a logit is NaN or infinite.
    """
    rows, flat, allowed = states.flatten(0, 1), tokens.flatten(0, 1), legal.flatten(0, 1)
    if among is not None:
        logits = _logits_among(head, rows, among)
        scores = logits.gather(-1, torch.searchsorted(among, flat).clamp_(max=len(among) - 1))
        scores = scores.masked_fill_(~allowed, -torch.inf).log_softmax(-1)
        _require_finite(scores[allowed])
        return scores.view(tokens.shape)
    if states.device.type == "cpu" and _is_plain_matrix(head):
        count = max(1, _LOGITS_BYTES["cpu"] // (4 * _BLOCK))
        pieces = zip(rows.split(count), flat.split(count), allowed.split(count), strict=True)
        return torch.cat([_log_probs_by_blocks(head, *piece) for piece in pieces]).view(tokens.shape)
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
        RunAborted: a logit is NaN or infinite.
    """
    everything = torch.log_softmax(logits.float(), -1, out=room)
    scores = everything.gather(-1, tokens).masked_fill_(~legal, 0.0)
    _require_finite(scores)
    return scores


def _log_probs_by_blocks(head: nn.Linear, rows: Tensor, tokens: Tensor, legal: Tensor) -> Tensor:
    """As :func:`log_probs_of_logits`, from the states [n, D] that a plain matrix makes logits of."""
    scores = _by_one_guess(head, rows, tokens) if rows.dtype == torch.float32 else None
    scores = _by_all_maxima(head, rows, tokens) if scores is None else scores
    scores = scores.clamp_(max=0.0).masked_fill_(~legal, 0.0)  # rounding may lift a sure token above 0
    _require_finite(scores)
    return scores


def _by_one_guess(head: nn.Linear, rows: Tensor, tokens: Tensor) -> Tensor | None:
    """Log-probabilities [n, F], with a guess of each state's highest logit taken off by the product itself.

    The guess is the highest logit of the first few tokens, so exponentials sum to 1 at least, but for rounding. None
    where they overflow, because the highest logit lies 80 nats above the guess, or where logits are so large that their
    rounding makes all exponentials vanish.
    """
    few, columns = head.weight[:_GUESS], rows.t().contiguous()  # columns: what CPUs multiply a matrix with fastest
    guess = (few @ columns if head.bias is None else torch.addmm(head.bias[:_GUESS].unsqueeze(1), few, columns)).amax(0)
    sums, chosen = torch.zeros_like(guess), torch.zeros_like(tokens, dtype=torch.float32)
    low, high = (int(bound) for bound in torch.aminmax(tokens))
    for start in range(0, len(head.weight), _BLOCK):
        some = slice(start, start + _BLOCK)
        base = -guess if head.bias is None else head.bias[some].unsqueeze(1) - guess
        logits = torch.addmm(base, head.weight[some], columns)
        if low < some.stop and high >= start:
            chosen = _picked(logits.t(), start, tokens, chosen)
        sums += logits.exp_().sum(0)
    return chosen - sums.log().unsqueeze(1) if bool(((sums > 0.01) & (sums < _OVERFLOW)).all()) else None


def _by_all_maxima(head: nn.Linear, rows: Tensor, tokens: Tensor) -> Tensor:
    """Log-probabilities [n, F] by the highest logit of every block, wherever logits lie."""
    sums, chosen = [], torch.zeros_like(tokens, dtype=torch.float32)
    for start in range(0, len(head.weight), _BLOCK):
        some = slice(start, start + _BLOCK)
        logits = nn.functional.linear(rows, head.weight[some], None if head.bias is None else head.bias[some]).float()
        chosen = _picked(logits, start, tokens, chosen)
        sums.append(logits.logsumexp(-1))
    return chosen - torch.stack(sums, -1).logsumexp(-1, keepdim=True)


def _picked(logits: Tensor, start: int, tokens: Tensor, others: Tensor) -> Tensor:
    """The logits of tokens [n, F] that lie in a block [n, v] from token ``start``; of the others what they had."""
    places = tokens - start
    within = (places >= 0) & (places < logits.shape[1])
    return torch.where(within, logits.gather(-1, places.clamp_(0, logits.shape[1] - 1)), others)


def _is_plain_matrix(head: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether its rows can be taken apart: not under an adapter, nor where ZeRO-3 has parted the weights."""
    weight = getattr(head, "weight", None)
    return type(head) is nn.Linear and weight is not None and weight.ndim == 2


def _states_at_once(head: nn.Module, device: torch.device) -> int:
    width = getattr(head, "out_features", None) or 2**15
    return max(1, _LOGITS_BYTES.get(device.type, _LOGITS_BYTES["cuda"]) // (4 * width))


def _logits_among(head: nn.Module, rows: Tensor, among: Tensor) -> Tensor:
    """Logits of some tokens [n, K], float32; only their rows of the head are computed where it is a plain matrix."""
    if not _is_plain_matrix(head):
        count = _states_at_once(head, rows.device)
        return torch.cat([head(part).index_select(-1, among).float() for part in rows.split(count)])
    weight, low, high = head.weight, int(among[0]), int(among[-1])
    together = high - low + 1 == len(among)
    bias = None if head.bias is None else head.bias[among]
    return nn.functional.linear(rows, weight[low : high + 1] if together else weight[among], bias).float()


def _require_finite(scores: Tensor) -> None:
    if not bool(torch.isfinite(scores).all()):
        raise RunAborted(
            "the language model's logits are NaN or infinite, so no item can be ranked; look for NaN weights, or "
            "overflow if the model runs in float16 (bfloat16 or float32 mend that)"
        )
