"""Log-probabilities of selected next tokens.

They are computed from the input of a language model's output head.
"""

from __future__ import annotations

from typing import TypeGuard

import torch
from torch import Tensor, nn

from recbole_lcrec.runtime.errors import RunAborted

__all__ = ["NORMALIZERS", "log_probs_of_logits", "next_token_log_probs", "require_normalizer"]

NORMALIZERS = ("full", "legal")
"""The set of tokens that probabilities are normalised over.

``full`` is the whole vocabulary (paper III-D2), ``legal`` the tokens that continue an item's prefix in the trie.
"""

_BLOCK = 1024
"""Vocabulary tokens whose logits are computed at once on a CPU; small enough for its cache."""

_MAX_ESTIMATE_TOKENS = 64
"""First tokens of the vocabulary, whose highest logit is the estimate of the overall maximum; any number works."""
_OVERFLOW = 1e35  # float32 overflows at 3.4e38

_LOGITS_BYTES = {"cpu": 3 * 2**23, "cuda": 2**29}
"""Memory for logits held at once: on a CPU a size that its allocator reuses, on a GPU a small part of its memory."""


def require_normalizer(name: str) -> None:
    """Check the name of a normaliser.

    Raises:
        ValueError: there is no normaliser of that name.
    """
    if name not in NORMALIZERS:
        raise ValueError(f"normalizer={name!r}: must be one of {', '.join(NORMALIZERS)}")


def next_token_log_probs(
    head: nn.Module, states: Tensor, tokens: Tensor, legal: Tensor, level_tokens: Tensor | None = None
) -> Tensor:
    """Return log-probabilities of selected next tokens.

    Memory does not grow with the number of states. On a CPU, if the head is a plain matrix, logits are computed and
    exponentiated in place block by block of the vocabulary, so that they stay in the cache. Otherwise logits of the
    whole vocabulary are computed for a chunk of states at a time and normalised by one fused kernel into a reused
    buffer. No gradients can be computed through this function.

    Args:
        head: the model's output head, from states [n, D] to logits [n, V].
        states: inputs of the head [R, Q, D].
        tokens: F next tokens of each state [R, Q, F], int64.
        legal: whether each token is a continuation, not padding [R, Q, F], bool.
        level_tokens: None for the normaliser ``full``. For ``legal``, all tokens that may occur in ``tokens``,
            ascending [K], int64; each state's probabilities then sum to 1 over its own legal tokens. Scores under
            ``legal`` ignore the probability of tokens that continue no item, so items may be ordered differently.

    Returns:
        Log-probabilities [R, Q, F], float32, nats, at most 0. Where not legal: 0 under ``full``, minus infinity under
        ``legal``.

    Raises:
        RunAborted: a logit is NaN or infinite.
    """
    rows, flat, allowed = states.flatten(0, 1), tokens.flatten(0, 1), legal.flatten(0, 1)
    if level_tokens is not None:
        logits = _logits_of_tokens(head, rows, level_tokens)
        scores = logits.gather(-1, torch.searchsorted(level_tokens, flat).clamp_(max=len(level_tokens) - 1))
        scores = scores.masked_fill_(~allowed, -torch.inf).log_softmax(-1)
        _require_finite(scores[allowed])
        return scores.view(tokens.shape)
    if states.device.type == "cpu" and _is_plain_matrix(head):
        count = max(1, _LOGITS_BYTES["cpu"] // (4 * _BLOCK))
        pieces = zip(rows.split(count), flat.split(count), allowed.split(count), strict=True)
        return torch.cat([_log_probs_by_blocks(head, *piece) for piece in pieces]).view(tokens.shape)
    chunks, buffer = [], None
    count = _chunk_size(head, states.device)
    for chunk, chosen, able in zip(rows.split(count), flat.split(count), allowed.split(count), strict=True):
        logits = head(chunk)
        buffer = torch.empty_like(logits, dtype=torch.float32) if buffer is None else buffer  # reused by all chunks
        chunks.append(log_probs_of_logits(logits, chosen, able, buffer[: len(logits)]))
    return torch.cat(chunks).view(tokens.shape)


def log_probs_of_logits(logits: Tensor, tokens: Tensor, legal: Tensor, buffer: Tensor | None = None) -> Tensor:
    """Return log-probabilities of selected tokens, normalised over the full vocabulary in float32.

    Args:
        logits: logits [n, V].
        tokens: selected tokens [n, F], int64.
        legal: whether each token is a continuation, not padding [n, F], bool.
        buffer: memory for the log-probabilities of all tokens [n, V], float32; None: it is allocated.

    Returns:
        Log-probabilities [n, F], float32, nats, at most 0; 0 where not legal.

    Raises:
        RunAborted: a logit is NaN or infinite.
    """
    whole = torch.log_softmax(logits.float(), -1, out=buffer)
    scores = whole.gather(-1, tokens).masked_fill_(~legal, 0.0)
    _require_finite(scores)
    return scores


def _log_probs_by_blocks(head: nn.Linear, rows: Tensor, tokens: Tensor, legal: Tensor) -> Tensor:
    """Return the same as :func:`log_probs_of_logits`, from states [n, D] and a head that is a plain matrix."""
    scores = _by_estimated_max(head, rows, tokens) if rows.dtype == torch.float32 else None
    scores = _by_block_maxima(head, rows, tokens) if scores is None else scores
    scores = scores.clamp_(max=0.0).masked_fill_(~legal, 0.0)  # rounding may give a certain token more than 0
    _require_finite(scores)
    return scores


def _by_estimated_max(head: nn.Linear, rows: Tensor, tokens: Tensor) -> Tensor | None:
    """Return log-probabilities [n, F], subtracting an estimate of each state's highest logit in the matrix product.

    The estimate is the highest logit of the first few tokens, so the exponentials sum to at least 1, up to rounding.
    Return None where they overflow because the highest logit is 80 nats above the estimate, or where logits are so
    large that rounding makes all exponentials vanish.
    """
    n_first = _MAX_ESTIMATE_TOKENS
    first, columns = head.weight[:n_first], rows.t().contiguous()  # CPUs multiply a matrix by columns fastest
    logits = first @ columns if head.bias is None else torch.addmm(head.bias[:n_first].unsqueeze(1), first, columns)
    estimate = logits.amax(0)
    sums, chosen = torch.zeros_like(estimate), torch.zeros_like(tokens, dtype=torch.float32)
    low, high = (int(bound) for bound in torch.aminmax(tokens))
    for start in range(0, len(head.weight), _BLOCK):
        some = slice(start, start + _BLOCK)
        base = -estimate if head.bias is None else head.bias[some].unsqueeze(1) - estimate
        logits = torch.addmm(base, head.weight[some], columns)
        if low < some.stop and high >= start:
            chosen = _gather_from_block(logits.t(), start, tokens, chosen)
        sums += logits.exp_().sum(0)
    return chosen - sums.log().unsqueeze(1) if bool(((sums > 0.01) & (sums < _OVERFLOW)).all()) else None


def _by_block_maxima(head: nn.Linear, rows: Tensor, tokens: Tensor) -> Tensor:
    """Return log-probabilities [n, F], subtracting the highest logit of each block; stable for any logits."""
    sums, chosen = [], torch.zeros_like(tokens, dtype=torch.float32)
    for start in range(0, len(head.weight), _BLOCK):
        some = slice(start, start + _BLOCK)
        logits = nn.functional.linear(rows, head.weight[some], None if head.bias is None else head.bias[some]).float()
        chosen = _gather_from_block(logits, start, tokens, chosen)
        sums.append(logits.logsumexp(-1))
    return chosen - torch.stack(sums, -1).logsumexp(-1, keepdim=True)


def _gather_from_block(logits: Tensor, start: int, tokens: Tensor, others: Tensor) -> Tensor:
    """Return logits of tokens [n, F] inside a block [n, v] that begins at token ``start``; ``others`` elsewhere."""
    places = tokens - start
    within = (places >= 0) & (places < logits.shape[1])
    return torch.where(within, logits.gather(-1, places.clamp_(0, logits.shape[1] - 1)), others)


def _is_plain_matrix(head: nn.Module) -> TypeGuard[nn.Linear]:
    """Return whether rows of the head can be computed separately: not with an adapter or ZeRO-3's split weights."""
    weight = getattr(head, "weight", None)
    return type(head) is nn.Linear and weight is not None and weight.ndim == 2


def _chunk_size(head: nn.Module, device: torch.device) -> int:
    """Return how many states' logits over the whole vocabulary are held at once."""
    width = getattr(head, "out_features", None) or 2**15
    return max(1, _LOGITS_BYTES.get(device.type, _LOGITS_BYTES["cuda"]) // (4 * width))


def _logits_of_tokens(head: nn.Module, rows: Tensor, tokens: Tensor) -> Tensor:
    """Return logits of ascending tokens [K] as float32 [n, K]; a plain matrix computes only those."""
    if not _is_plain_matrix(head):
        count = _chunk_size(head, rows.device)
        return torch.cat([head(chunk).index_select(-1, tokens).float() for chunk in rows.split(count)])
    weight, low, high = head.weight, int(tokens[0]), int(tokens[-1])
    contiguous = high - low + 1 == len(tokens)
    bias = None if head.bias is None else head.bias[tokens]
    return nn.functional.linear(rows, weight[low : high + 1] if contiguous else weight[tokens], bias).float()


def _require_finite(scores: Tensor) -> None:
    if not bool(torch.isfinite(scores).all()):
        raise RunAborted(
            "the language model's logits are NaN or infinite, so items cannot be ranked; check for NaN weights, or for "
            "overflow if the model runs in float16 (bfloat16 or float32 avoid that)"
        )
