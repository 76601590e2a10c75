"""Whether a language model can read all branches of a prompt at once.

Knows what such reading asks of a model: attention that honours a 4-D mask and positions, keys and values as its only
state, and logits that leave the head as they are. Refuses to know how prompts and branches are read: two readers are
given to it, and must agree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from recbole_lcrec.decoding.prompt_batch import Prompts

if TYPE_CHECKING:
    from recbole_lcrec.decoding.readers.causal import Reader

__all__ = ["PLAIN_REMEDY", "require_equal_readings", "require_shareable", "trial_prompts"]

_MASKED_ATTENTION = ("sdpa", "eager")
_ATTENTION_LAYERS = {"full_attention", "sliding_attention", "global"}
_TOLERANCE = {torch.float32: 0.01, torch.float64: 0.01}  # of how far logits lie apart; halves round more
PLAIN_REMEDY = "set decoding_search: plain, which reads every beam on its own"


def require_shareable(model: PreTrainedModel) -> None:
    """Looks at a model's configuration and at what it does with its head's logits.

    Raises:
        ValueError: the attention ignores 4-D masks, a layer keeps another state than keys and values, an adapter adds
            tokens of its own, or logits are changed after the head.
    """
    config = model.config
    attention = config._attn_implementation
    if attention not in _MASKED_ATTENTION:
        raise ValueError(
            f"attn_implementation={attention!r} does not honour the 4-D mask that keeps beams apart; load the model "
            f"with one of {', '.join(_MASKED_ATTENTION)}, or {PLAIN_REMEDY}"
        )
    kinds = getattr(config, "layer_types", None) or getattr(config, "attention_layers", None) or ()
    strange = set(kinds) - _ATTENTION_LAYERS
    if strange:
        raise ValueError(
            f"{_kind(model)} has layers of kind {', '.join(sorted(strange))}, which beams cannot share; use a model "
            f"whose layers all attend to the whole text, or {PLAIN_REMEDY}"
        )
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        raise ValueError(
            "a PEFT prompt-learning adapter adds tokens of its own to each call; use LoRA or merge it into the model"
        )
    head = model.get_output_embeddings()
    if head is None:
        raise ValueError(f"{_kind(model)} names no output head; use another model, or {PLAIN_REMEDY}")
    _require_plain_head(model, head)


def require_equal_readings(model: PreTrainedModel, shared: Reader, plain: Reader, n_tokens: int) -> None:
    """Makes sure that a model says the same of branches read at once as of each read on its own.

    A model that takes a mask or positions and then goes by something else (by the order of keys, under ALiBi) would
    give wrong scores without a word.

    Args:
        model: what both readers ask.
        shared: reads branches at once; its states are what the head reads.
        plain: reads each on its own; its states are logits.
        n_tokens: the model's vocabulary.

    Raises:
        ValueError: the readings differ, or the model cannot be read at once.
    """
    with torch.no_grad():
        theirs = _trial(plain, model.device, n_tokens).float()
        try:
            ours = model.get_output_embeddings()(_trial(shared, model.device, n_tokens)).float()
        except torch.OutOfMemoryError:
            raise
        except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as err:
            raise ValueError(f"{_kind(model)} cannot read beams that share a prompt ({err}); {PLAIN_REMEDY}") from err
    off = (ours - theirs).norm() / (theirs - theirs.mean(-1, keepdim=True)).norm()
    if off > _TOLERANCE.get(model.dtype, 0.15):
        raise ValueError(
            f"{_kind(model)} under attn_implementation={model.config._attn_implementation!r} scores beams that share a "
            "prompt otherwise than each on its own, so it goes by more than the mask and the positions it is given; "
            f"{PLAIN_REMEDY}"
        )


def trial_prompts(device: torch.device, n_tokens: int) -> Prompts:
    """Two prompts of unequal length that begin alike, of a vocabulary of ``n_tokens``."""
    words = [3 * place % n_tokens for place in range(11)]
    return Prompts.of([words, [*words[:8], 1]], device)


def _trial(reader: Reader, device: torch.device, n_tokens: int) -> Tensor:
    """States of two branches of each of two prompts.

    Twelve branches come first, so that a column's place and its token's position lie far apart.
    """
    first = (torch.arange(24, device=device).view(2, 12) * 5 + 1) % n_tokens
    second, parents = (torch.tensor(rows, device=device) for rows in ([[1, 0], [0, 1]], [[11, 3], [7, 0]]))
    branches, _ = reader.read(trial_prompts(device, n_tokens), 14)
    branches.extend(first, torch.zeros_like(first))
    return branches.extend(second, parents)


def _kind(model: PreTrainedModel) -> str:
    return f"model_type={model.config.model_type!r}"


def _require_plain_head(model: PreTrainedModel, head: nn.Module) -> None:
    """Puts other logits in the place of the head's: some models scale or bend them, which small ones would not show."""
    wanted: list[Tensor] = []

    def replace(_: nn.Module, __: Any, logits: Tensor) -> Tensor:
        probe = torch.arange(logits.shape[-1], device=logits.device) % 201 - 100  # whole numbers that all dtypes hold
        wanted.append(probe.to(logits.dtype).expand_as(logits).contiguous())
        return wanted[0].clone()

    hook = head.register_forward_hook(replace)
    try:
        token = torch.zeros((1, 1), dtype=torch.int64, device=model.device)
        with torch.no_grad():
            logits = model(input_ids=token, attention_mask=torch.ones_like(token), use_cache=False).logits
    finally:
        hook.remove()
    if not wanted or logits.shape != wanted[0].shape or not logits.float().equal(wanted[0].float()):
        raise ValueError(f"{_kind(model)} changes logits after its output head; use another model, or {PLAIN_REMEDY}")
