"""Compute the last layer's feed-forward network for one token of each row only.

Of a prompt's last layer, only the last token's state is needed: the keys and values of the other tokens are computed
before the feed-forward network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

__all__ = ["last_feed_forward", "one_token_of_each_row"]

_TOLERANCE = {
    torch.float32: 1e-4,
    torch.float64: 1e-4,
}  # relative difference of states; half-precision formats are allowed more


def last_feed_forward(model: PreTrainedModel, trial: Callable[[nn.Module | None], Tensor]) -> nn.Module | None:
    """Find the last layer's feed-forward network and test whether it can be computed for one token of each row.

    Args:
        model: a causal language model in evaluation mode.
        trial: reads some prompts in one or more passes, with :func:`one_token_of_each_row` applied to its argument,
            and returns the states of their last tokens.

    Returns:
        The network; None if it has another name, is not called exactly once per pass with all tokens' states as its
        only argument, returns more than states, fails on single tokens, or gives different states in the trial. Such a
        model is computed in full, with the same result.

    Raises:
        torch.OutOfMemoryError: the trial does not fit in memory.
    """
    network = _last_mlp(model)
    if network is None:
        return None
    with torch.no_grad():
        with _watched(network, model.get_output_embeddings()) as (only_states, passes):
            whole = trial(None).float()
        if not only_states or not all(only_states) or len(only_states) != len(passes):
            return None
        try:
            difference = (trial(network).float() - whole).norm() / whole.norm()
        except torch.OutOfMemoryError:
            raise
        except (IndexError, RuntimeError, TypeError, ValueError):  # the network needs all tokens
            return None
    return network if bool(difference <= _TOLERANCE.get(model.dtype, 0.02)) else None


@contextmanager
def one_token_of_each_row(network: nn.Module | None, places: Tensor) -> Iterator[None]:
    """Compute a feed-forward network for one token of each row, and use the result for all tokens of the row.

    The states of other tokens are wrong afterwards, so the network must be the model's last.

    Args:
        network: maps states [R, Q, D] to states [R, Q, D]; None: nothing is changed.
        places: position of the token of each row [R], int64.
    """
    if network is None:
        yield
        return
    columns: list[int] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        states = inputs[0]
        columns.append(states.shape[1])
        return (states.gather(1, places.view(-1, 1, 1).expand(-1, 1, states.shape[-1])),)

    def spread(_: nn.Module, __: Any, states: Tensor) -> Tensor:
        return states.expand(-1, columns.pop(), -1)  # a view: nothing is copied

    with ExitStack() as hooks:
        hooks.callback(network.register_forward_pre_hook(keep).remove)
        hooks.callback(network.register_forward_hook(spread).remove)
        yield


def _last_mlp(model: PreTrainedModel) -> nn.Module | None:
    """Return the module named ``mlp`` in the model's last layer, as transformers names it; None if there is none."""
    count = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    stacks = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == count]
    network = getattr(stacks[0][-1], "mlp", None) if len(stacks) == 1 else None
    return network if isinstance(network, nn.Module) else None


@contextmanager
def _watched(network: nn.Module, head: nn.Module) -> Iterator[tuple[list[bool], list[None]]]:
    """Record whether states are the only input and output of each call of a network, and the passes of the model."""
    only_states: list[bool] = []
    passes: list[None] = []

    def note(_: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any], output: Any) -> None:
        tensors = len(inputs) == 1 and isinstance(inputs[0], Tensor) and isinstance(output, Tensor)
        only_states.append(tensors and not options and inputs[0].ndim == 3 and output.shape == inputs[0].shape)

    with ExitStack() as hooks:
        hooks.callback(network.register_forward_hook(note, with_kwargs=True).remove)
        hooks.callback(head.register_forward_pre_hook(lambda *_: passes.append(None)).remove)
        yield only_states, passes
