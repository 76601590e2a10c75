"""The last layer's feed-forward network, computed for one token of each row.

Knows how transformers lays a decoder out, and that after a prompt's last layer only its last token is asked for: other
tokens have left their keys and values before the feed-forward network. Refuses to know prompts, caches and the search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

__all__ = ["last_feed_forward", "one_token_of_each_row"]

_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4}  # of how far states lie apart; halves round more


def last_feed_forward(model: PreTrainedModel, trial: Callable[[nn.Module | None], Tensor]) -> nn.Module | None:
    """Finds the last layer's feed-forward network and tries whether one token of each row suffices for it.

    Args:
        model: a causal language model in evaluation mode.
        trial: reads some prompts in one or more passes, with :func:`one_token_of_each_row` on what it is given or
            without it, and returns the states of their last tokens as the head would read them.

    Returns:
        The network, or None where it has another name, is called otherwise than once per pass with the states of all
        tokens alone, answers with more than new states, fails on single tokens, or where the last tokens' states
        differ. A model without this saving is read in full, which is as exact.

    Raises:
        torch.OutOfMemoryError: memory does not suffice for the trial.
    """
    network = _by_name(model)
    if network is None:
        return None
    with torch.no_grad():
        with _watched(network, model.get_output_embeddings()) as (takes_states_alone, passes):
            whole = trial(None).float()
        if not takes_states_alone or not all(takes_states_alone) or len(takes_states_alone) != len(passes):
            return None
        try:
            off = (trial(network).float() - whole).norm() / whole.norm()
        except torch.OutOfMemoryError:
            raise
        except (IndexError, RuntimeError, TypeError, ValueError):  # a network that wants all tokens
            return None
    return network if bool(off <= _TOLERANCE.get(model.dtype, 0.02)) else None


@contextmanager
def one_token_of_each_row(network: nn.Module | None, places: Tensor) -> Iterator[None]:
    """Gives a feed-forward network one token of each row; its answer stands for all tokens of the row.

    States of other tokens are wrong from there on, so the network must be the model's last.

    Args:
        network: from states [R, Q, D] to states [R, Q, D]; None: nothing is changed.
        places: of the token of each row [R], int64.
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


def _by_name(model: PreTrainedModel) -> nn.Module | None:
    """What transformers calls ``mlp`` in the last of the model's layers."""
    count = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    stacks = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == count]
    network = getattr(stacks[0][-1], "mlp", None) if len(stacks) == 1 else None
    return network if isinstance(network, nn.Module) else None


@contextmanager
def _watched(network: nn.Module, head: nn.Module) -> Iterator[tuple[list[bool], list[None]]]:
    """Notes at each call of a network whether states go in alone and come out alone, and each pass of the model."""
    alone: list[bool] = []
    passes: list[None] = []

    def note(_: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any], output: Any) -> None:
        tensors = len(inputs) == 1 and isinstance(inputs[0], Tensor) and isinstance(output, Tensor)
        alone.append(tensors and not options and inputs[0].ndim == 3 and output.shape == inputs[0].shape)

    with ExitStack() as hooks:
        hooks.callback(network.register_forward_hook(note, with_kwargs=True).remove)
        hooks.callback(head.register_forward_pre_hook(lambda *_: passes.append(None)).remove)
        yield alone, passes
