"""Check whether the branches of a prompt can share it in a given language model.

Sharing needs attention that honours a 4-D mask and explicit positions, keys and values as the model's only state, and
logits that are used as the output head returns them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from recbole_lcrec.decoding.prompt_batch import PromptBatch
from recbole_lcrec.decoding.readers.base import Reader
from recbole_lcrec.decoding.readers.model_checks import PLAIN_REMEDY, vocabulary_size

__all__ = ["require_equal_readings", "require_shareable", "trial_prompts"]

_MASKED_ATTENTION = ("sdpa", "eager")
_ATTENTION_LAYERS = {"full_attention", "sliding_attention", "global"}
_TOLERANCE = {torch.float32: 0.01, torch.float64: 0.01}
"""Largest relative difference of logits; half-precision formats are allowed more for rounding."""


def require_shareable(model: PreTrainedModel) -> None:
    """Check a model's configuration and what it does with its head's logits.

    Raises:
        ValueError: the attention ignores 4-D masks, a layer's state is not keys and values, an adapter adds tokens of
            its own, or logits are changed after the head.
    """
    config = model.config
    attention = config._attn_implementation
    if attention not in _MASKED_ATTENTION:
        raise ValueError(
            f"attn_implementation={attention!r} does not honour the 4-D mask that separates beams; load the model "
            f"with one of {', '.join(_MASKED_ATTENTION)}, or {PLAIN_REMEDY}"
        )
    kinds = getattr(config, "layer_types", None) or getattr(config, "attention_layers", None) or ()
    unsupported = set(kinds) - _ATTENTION_LAYERS
    if unsupported:
        raise ValueError(
            f"{_kind(model)} has layers of kind {', '.join(sorted(unsupported))}, which beams cannot share; use a "
            f"model whose layers all attend to the whole text, or {PLAIN_REMEDY}"
        )
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        raise ValueError(
            "a PEFT prompt-learning adapter adds its own tokens to each call; use LoRA or merge it into the model"
        )
    head = model.get_output_embeddings()
    if head is None:
        raise ValueError(f"{_kind(model)} has no output head; use another model, or {PLAIN_REMEDY}")
    _require_unchanged_logits(model, head)


def require_equal_readings(model: PreTrainedModel, shared: Reader, plain: Reader) -> None:
    """Check that a model gives the same logits for branches that share a prompt as for each branch read separately.

    Without this check, a model that accepts a mask or positions but uses something else (the order of keys, as under
    ALiBi) would return wrong scores silently.

    Args:
        model: the model of both readers.
        shared: reads the branches of a prompt together; its states are the head's input.
        plain: reads each branch separately; its states are logits.

    Raises:
        ValueError: the logits differ, or the model cannot read branches together.
    """
    n_tokens = vocabulary_size(model)
    with torch.no_grad():
        theirs = _trial(plain, model.device, n_tokens).float()
        try:
            ours = model.get_output_embeddings()(_trial(shared, model.device, n_tokens)).float()
        except torch.OutOfMemoryError:
            raise
        except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as err:
            raise ValueError(f"{_kind(model)} cannot read beams that share a prompt ({err}); {PLAIN_REMEDY}") from err
    difference = (ours - theirs).norm() / (theirs - theirs.mean(-1, keepdim=True)).norm()
    if difference > _TOLERANCE.get(model.dtype, 0.15):
        raise ValueError(
            f"{_kind(model)} with attn_implementation={model.config._attn_implementation!r} scores beams that share a "
            "prompt differently from separate beams, so it depends on more than the given mask and positions; "
            f"{PLAIN_REMEDY}"
        )


def trial_prompts(device: torch.device, n_tokens: int) -> PromptBatch:
    """Return two prompts of unequal length with the same first tokens, from a vocabulary of ``n_tokens``."""
    words = [3 * place % n_tokens for place in range(11)]
    return PromptBatch.of([words, [*words[:8], 1]], device)


def _trial(reader: Reader, device: torch.device, n_tokens: int) -> Tensor:
    """Return states of two branches of each of two prompts.

    Twelve branches are read first, so that a token's column and its position are far apart.
    """
    first = (torch.arange(24, device=device).view(2, 12) * 5 + 1) % n_tokens
    second, parents = (torch.tensor(rows, device=device) for rows in ([[1, 0], [0, 1]], [[11, 3], [7, 0]]))
    branches, _ = reader.read(trial_prompts(device, n_tokens), 14)
    branches.extend(first, torch.zeros_like(first))
    return branches.extend(second, parents)


def _kind(model: PreTrainedModel) -> str:
    return f"model_type={model.config.model_type!r}"


def _require_unchanged_logits(model: PreTrainedModel, head: nn.Module) -> None:
    """Check that the model returns the head's logits unchanged, by replacing them with large known values.

    Some models scale or cap logits after the head; small logits would not show it.
    """
    expected: list[Tensor] = []

    def replace(_: nn.Module, __: Any, logits: Tensor) -> Tensor:
        probe = torch.arange(logits.shape[-1], device=logits.device) % 201 - 100  # integers that every dtype represents
        expected.append(probe.to(logits.dtype).expand_as(logits).contiguous())
        return expected[0].clone()

    hook = head.register_forward_hook(replace)
    try:
        token = torch.zeros((1, 1), dtype=torch.int64, device=model.device)
        with torch.no_grad():
            logits = model(input_ids=token, attention_mask=torch.ones_like(token), use_cache=False).logits
    finally:
        hook.remove()
    if not expected or logits.shape != expected[0].shape or not logits.float().equal(expected[0].float()):
        raise ValueError(f"{_kind(model)} changes logits after its output head; use another model, or {PLAIN_REMEDY}")
