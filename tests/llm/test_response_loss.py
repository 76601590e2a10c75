"""The loss at response tokens only, compared with all log-probabilities, row by row and without padding."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MistralConfig, Qwen2Config

from recbole_lcrec.config.settings import LoraSettings
from recbole_lcrec.llm.adapters import add_lora
from recbole_lcrec.llm.collator import IGNORED
from recbole_lcrec.llm.response_loss import response_loss

VOCABULARY, PAD = 40, 2
ROPE: dict[str, Any] = {"llama": LlamaConfig, "qwen2": Qwen2Config, "mistral": MistralConfig}
FAMILIES = [*ROPE, "gpt2"]
ROWS = [([3, 4, 5, 6, 7], [8, 9, 1]), ([10, 11], [12, 1]), ([13, 14, 15], []), ([16], [17, 18, 19, 20, 21, 1])]
"""Prompts and responses of unequal lengths; one row has no response."""


def tiny(family: str, tied: bool) -> Any:
    shared: dict[str, Any] = {"vocab_size": VOCABULARY, "tie_word_embeddings": tied, "pad_token_id": PAD}
    config: Any
    if family == "gpt2":
        config = GPT2Config(
            n_embd=16, n_layer=2, n_head=2, n_positions=32, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, **shared
        )
    else:
        config = ROPE[family](
            hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
            max_position_embeddings=32, initializer_range=0.2, **shared,
        )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return AutoModelForCausalLM.from_config(config)


def with_lora(model: Any) -> Any:
    adapted = add_lora(model, LoraSettings(r=2, alpha=4, dropout=0.0, targets="all-linear", merge=False), [8, 9, 17])
    generator = torch.Generator().manual_seed(2)
    for name, value in adapted.named_parameters():
        if "lora_B" in name:  # initialised with 0, where the other matrix has no gradient
            value.data = 0.3 * torch.randn(value.shape, generator=generator)
    return adapted


def padded() -> tuple[Tensor, Tensor]:
    width = max(len(prompt) + len(response) for prompt, response in ROWS)
    ids, labels = torch.full((len(ROWS), width), PAD), torch.full((len(ROWS), width), IGNORED)
    for row, (prompt, response) in enumerate(ROWS):
        end = len(prompt) + len(response)
        ids[row, :end] = torch.tensor(prompt + response)
        labels[row, len(prompt) : end] = torch.tensor(response, dtype=torch.long)
    return ids, labels


def plain_loss(model: Any) -> Tensor:
    """Eq. 7 term by term."""
    total = torch.zeros(())
    for prompt, response in ROWS:
        log_probs = model(input_ids=torch.tensor([prompt + response])).logits[0].log_softmax(-1)
        for n, token in enumerate(response):
            total = total - log_probs[len(prompt) + n - 1, token]
    return total


def gradients(model: Any) -> dict[str, Tensor]:
    return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_equal_those_of_all_logits(family: str, tied: bool, lora: bool) -> None:
    plain = with_lora(tiny(family, tied)) if lora else tiny(family, tied)
    own = copy.deepcopy(plain)
    expected = plain_loss(plain)
    loss = response_loss(own, own.get_output_embeddings(), *padded())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert expected.item() > 11  # 11 response tokens, far from certain
    expected.backward()
    loss.backward()
    by_hand, found = gradients(plain), gradients(own)
    assert set(by_hand) == set(found) and by_hand
    for name, gradient in by_hand.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(
            found[name], gradient, rtol=1e-5, atol=1e-5 * scale, msg=lambda m, n=name: f"{n}: {m}"
        )
    assert any(float(gradient.abs().max()) > 1e-3 for gradient in by_hand.values())


def test_head_computes_response_tokens_only() -> None:
    model, seen = tiny("llama", True), []
    head = model.get_output_embeddings()
    ids, labels = padded()
    handle = head.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    response_loss(model, head, ids, labels)
    handle.remove()
    assert seen == [(sum(len(response) for _, response in ROWS), VOCABULARY)]
    assert model(input_ids=ids).logits.shape == (*ids.shape, VOCABULARY)


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_without_responses_is_zero_with_gradients(family: str) -> None:
    model = tiny(family, True)
    ids, labels = padded()
    loss = response_loss(model, model.get_output_embeddings(), ids, torch.full_like(labels, IGNORED))
    assert loss.item() == 0
    loss.backward()
    found = gradients(model)
    assert set(found) == {name for name, _ in model.named_parameters()}
    assert all(not gradient.any() for gradient in found.values())


def test_label_of_the_first_token_is_ignored() -> None:
    model = tiny("llama", True)
    ids, labels = padded()
    first = labels.clone()
    first[:, 0] = ids[:, 0]
    with torch.no_grad():
        expected, loss = (response_loss(model, model.get_output_embeddings(), ids, each) for each in (labels, first))
    assert loss.item() == expected.item()


def test_model_that_bypasses_its_head_is_rejected() -> None:
    class Unusual(nn.Module):
        """Computes logits from the embedding, not in its head."""

        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(VOCABULARY, 8), nn.Linear(8, VOCABULARY)

        def forward(self, input_ids: Tensor, use_cache: bool) -> Any:
            return SimpleNamespace(logits=self.embedding(input_ids) @ self.embedding.weight.T)

    model = Unusual()
    with pytest.raises(RuntimeError, match=r"Unusual returned logits of shape \(4, 8, 40\) for 11 response tokens"):
        response_loss(model, model.head, *padded())
    assert not model.head._forward_pre_hooks  # removed again
