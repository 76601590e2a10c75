"""The last layer's feed-forward network for last tokens only, compared with full computation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recbole_lcrec.decoding import PromptBatch, SharedReader, Trie, beam_search, score_items
from recbole_lcrec.decoding.readers.last_layer import one_token_of_each_row
from tests.decoding.conftest import ARCHITECTURES, BACKENDS, Lab, assert_best
from tests.decoding.test_beam_search import tied_or_not
from tests.decoding.test_lora import adapted

CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}


def layers(model: Any) -> Any:
    """A model's layers, also with LoRA."""
    within = model.get_base_model() if hasattr(model, "get_base_model") else model
    return within.transformer.h if hasattr(within, "transformer") else within.model.layers


@contextmanager
def seen_by(*networks: nn.Module) -> Iterator[list[list[tuple[int, ...]]]]:
    """Rows and tokens that each network computes at each call, from the input of its first matrix."""
    shapes: list[list[tuple[int, ...]]] = [[] for _ in networks]
    first = [next(module for module in network.modules() if not list(module.children())) for network in networks]
    hooks = [
        module.register_forward_pre_hook(lambda _, inputs, noted=noted: noted.append(tuple(inputs[0].shape[:2])))
        for module, noted in zip(first, shapes, strict=True)
    ]
    try:
        yield shapes
    finally:
        for hook in hooks:
            hook.remove()


def found(reader: SharedReader, prompts: PromptBatch) -> Tensor:
    """States of the last prompt tokens, then of two levels of branches [R, 1 + 3 + 3, D]."""
    n_rows = len(prompts)
    with torch.no_grad():
        branches, states = reader.read(prompts, 6)
        tokens = torch.arange(3 * n_rows).view(n_rows, 3) + 32
        first = branches.extend(tokens, torch.zeros_like(tokens))
        second = branches.extend(tokens.flip(1) + 12, torch.tensor([[2, 0, 0]]).expand(n_rows, -1))
    return torch.cat([states, first, second], dim=1)


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("architecture", "attention"), BACKENDS)
@pytest.mark.parametrize("common", [0, 9])
def test_reduced_and_full_last_layers_agree(
    lab: Lab, architecture: str, attention: str, tied: bool, lora: bool, common: int
) -> None:
    """Equal states for prompts of unequal length; the last network computes one token per row, the first all tokens."""
    model: Any = tied_or_not(lab, architecture, tied, attention)
    model = adapted(lab, model) if lora else model
    reader, prompts = SharedReader(model), lab.prompts(18, 13, 21, common=common)
    first, last = layers(model)[0].mlp, layers(model)[-1].mlp
    assert reader._last is last and last is not None
    branches = [(3, 3), (3, 3)]
    with seen_by(first, last) as shapes:
        saving = found(reader, prompts)
    assert shapes[0] == ([(1, 9), (3, 12)] if common else [(3, 21)]) + branches
    assert shapes[1] == ([(1, 1), (3, 1)] if common else [(3, 1)]) + branches
    reader._last = None
    with seen_by(last) as shapes:
        whole = found(reader, prompts)
    assert shapes[0] == ([(1, 9), (3, 12)] if common else [(3, 21)]) + branches
    torch.testing.assert_close(saving, whole, **CLOSE)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("lengths", [(1,), (1, 5), (2, 1, 9)])
def test_short_prompts(lab: Lab, architecture: str, lengths: tuple[int, ...]) -> None:
    """Prompts of a single token, also together with longer ones; for search and for given items."""
    model, ids, prompts = lab.model(architecture), lab.catalogue(30, 3), lab.prompts(*lengths)
    reader, trie, truth = SharedReader(model), Trie.from_token_ids(ids), lab.exhaustive(model, prompts, ids)
    assert_best(beam_search(reader, prompts, trie, 30), truth)
    items = torch.arange(30).expand(len(lengths), -1)
    torch.testing.assert_close(score_items(reader, prompts, trie, items), truth, rtol=1e-5, atol=1e-4)


def test_half_precision_reduces_the_last_layer(lab: Lab) -> None:
    model: Any = lab.model("llama")
    model = model.to(torch.bfloat16)
    assert SharedReader(model)._last is model.model.layers[-1].mlp


class Around(nn.Module):
    """A feed-forward network with additional computation."""

    def __init__(self, network: nn.Module, bend: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.bend = network, bend

    def forward(self, states: Tensor) -> Tensor:
        return self.bend(states, self.network(states))


def shared_by_layers(model: Any) -> None:
    """One network for all layers."""
    model.model.layers[0].mlp = model.model.layers[-1].mlp


def by_another_name(model: Any) -> None:
    """A last layer whose network has a different name."""
    last = model.model.layers[-1]
    last.feed_forward = last.mlp
    del last.mlp
    last.__dict__["mlp"] = last.feed_forward.forward


def called_by_keyword(model: Any) -> None:
    """A network that gets its states as a keyword argument."""
    last = model.model.layers[-1]
    last.mlp = Keyword(last.mlp)


class Keyword(nn.Module):
    """Passes the states on as a keyword argument."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def __call__(self, states: Tensor) -> Tensor:
        return super().__call__(hidden_state=states)

    def forward(self, hidden_state: Tensor) -> Tensor:
        return self.network(hidden_state)


def fixed_width(model: Any) -> None:
    """A network that computes a single token differently if there is more than one row."""
    last = model.model.layers[-1]
    last.mlp = Around(last.mlp, lambda states, new: new * 2 if states.shape[1] == 1 and len(states) > 1 else new)


def failing_alone(model: Any) -> None:
    """A network that fails on single tokens."""
    last = model.model.layers[-1]
    last.mlp = Around(last.mlp, lambda states, new: new if len(states) == 1 or states.shape[1] > 1 else new.view(0))


def named_twice(model: Any) -> None:
    """Two module lists with as many modules as the model has layers."""
    model.model.other = nn.ModuleList([nn.Identity(), nn.Identity()])


NOT_CUT = [shared_by_layers, by_another_name, called_by_keyword, fixed_width, failing_alone, named_twice]


@pytest.mark.parametrize("change", NOT_CUT)
def test_unsuitable_last_layers_are_computed_in_full(lab: Lab, change: Callable[[Any], None]) -> None:
    model, ids, prompts = lab.model("llama"), lab.catalogue(40, 3), lab.prompts(18, 13, common=9)
    change(model)
    reader = SharedReader(model)
    assert reader._last is None
    assert_best(beam_search(reader, prompts, Trie.from_token_ids(ids), 40), lab.exhaustive(model, prompts, ids))


def hooks_of(model: nn.Module) -> int:
    """Number of hooks on all modules of a model."""
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_no_hooks_remain_on_the_model(lab: Lab) -> None:
    """After opening, reading and failures; a later pass computes all tokens."""
    model: Any = lab.model("llama")
    words = torch.tensor([[4, 5, 6], [7, 8, 9]])
    logits = model(words).logits
    reader = SharedReader(model)
    assert hooks_of(model) == 0
    found(reader, lab.prompts(6, 9))
    assert hooks_of(model) == 0
    last = model.model.layers[-1]

    def fails(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    for module in (last.self_attn, last.mlp.down_proj, model.model.norm):
        failing = module.register_forward_pre_hook(fails)
        with pytest.raises(torch.OutOfMemoryError):
            found(reader, lab.prompts(6, 9))
        failing.remove()
        assert hooks_of(model) == 0
    assert model(words).logits.equal(logits)
    with seen_by(last.mlp) as shapes:
        model(words)
    assert shapes == [[(2, 3)]]


def test_each_row_keeps_its_own_token() -> None:
    states = torch.arange(24.0).view(2, 4, 3)
    network = nn.Identity()
    with one_token_of_each_row(network, torch.tensor([1, 3])):
        kept = network(states)
    assert kept.equal(torch.stack([states[0, 1], states[1, 3]]).unsqueeze(1).expand(-1, 4, -1))
    with one_token_of_each_row(None, torch.tensor([1, 3])):
        assert network(states) is states
    assert network(states) is states
