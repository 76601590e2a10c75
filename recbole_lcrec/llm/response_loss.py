"""The loss of Eq. 7, with logits at the places of response tokens alone.

Knows causal language models with an output head. Refuses to know batches' make-up and optimisation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from recbole_lcrec.llm.collator import IGNORED

__all__ = ["response_loss"]


@contextmanager
def _head_sees(head: nn.Module, chosen: Tensor) -> Iterator[None]:
    """Hands the output head the hidden states of the chosen positions alone: [B, L, D] becomes [n, D]."""
    hook = head.register_forward_pre_hook(lambda module, inputs: (inputs[0][chosen], *inputs[1:]))
    try:
        yield
    finally:
        hook.remove()


def response_loss(model: nn.Module, head: nn.Module, ids: Tensor, labels: Tensor, **options: Any) -> Tensor:
    """Sum of the negative log-likelihoods of the response tokens (Eq. 7).

    The head, which costs more than the rest of a small model, is computed for n positions, not for B x L.

    Args:
        model: called with ``input_ids``; may be wrapped by DeepSpeed or peft.
        head: its output head.
        ids: int64 [B, L], padded on the right.
        labels: int64 [B, L], :data:`IGNORED` where nothing is asked for.
        options: further arguments of the call.

    Returns:
        Scalar in nats, 0 where nothing is asked for; gradients flow all the same, so that processes stay in step.

    Raises:
        RuntimeError: the model computes logits elsewhere than in its head.
    """
    targets = labels[:, 1:]
    chosen = torch.nn.functional.pad(targets != IGNORED, (0, 1))
    with _head_sees(head, chosen):
        logits = model(input_ids=ids, use_cache=False, **options).logits
    wanted = targets[chosen[:, :-1]]
    if logits.shape[:-1] != wanted.shape:
        raise RuntimeError(
            f"{type(model).__name__} gave logits of shape {tuple(logits.shape)} for {len(wanted)} response tokens"
        )
    return nn.functional.cross_entropy(logits.float(), wanted, reduction="sum")
