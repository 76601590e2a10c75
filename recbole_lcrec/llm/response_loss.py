"""The loss of Eq. 7, with logits computed at response tokens only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from recbole_lcrec.llm.collator import IGNORED

__all__ = ["response_loss"]


@contextmanager
def _head_input_at(head: nn.Module, chosen: Tensor) -> Iterator[None]:
    """Restrict the output head's input to the chosen positions: [B, L, D] becomes [n, D]."""
    hook = head.register_forward_pre_hook(lambda module, inputs: (inputs[0][chosen], *inputs[1:]))
    try:
        yield
    finally:
        hook.remove()


def response_loss(model: nn.Module, head: nn.Module, ids: Tensor, labels: Tensor, **options: Any) -> Tensor:
    """Return the sum of the negative log-likelihoods of the response tokens (Eq. 7).

    The output head, which costs more than the rest of a small model, is computed for n response tokens instead of all
    B x L tokens.

    Args:
        model: a causal language model, possibly wrapped by DeepSpeed or peft.
        head: its output head.
        ids: token ids [B, L], int64, padded on the right.
        labels: labels [B, L], int64, :data:`IGNORED` outside of responses.
        options: further arguments of the forward call.

    Returns:
        Scalar in nats; 0 without response tokens, still with gradients, so that all processes take part in the
        backward pass.

    Raises:
        RuntimeError: the model does not compute its logits in the output head.
    """
    targets = labels[:, 1:]
    chosen = torch.nn.functional.pad(targets != IGNORED, (0, 1))
    with _head_input_at(head, chosen):
        logits = model(input_ids=ids, use_cache=False, **options).logits
    responses = targets[chosen[:, :-1]]
    if logits.shape[:-1] != responses.shape:
        raise RuntimeError(
            f"{type(model).__name__} returned logits of shape {tuple(logits.shape)} for {len(responses)} response "
            "tokens, so it does not compute them in its output head; use another base_model"
        )
    return nn.functional.cross_entropy(logits.float(), responses, reduction="sum")
