"""How often tokens are read, and models whose beams cannot share a prompt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from peft import PromptTuningConfig, get_peft_model
from transformers import (
    BloomConfig,
    CohereConfig,
    Gemma2Config,
    GPTNeoConfig,
    GraniteConfig,
    LlamaConfig,
    MambaConfig,
    MptConfig,
)

from recbole_lcrec.config.settings import LoraSettings
from recbole_lcrec.decoding import PlainReader, PromptBatch, SharedReader, Trie, beam_search
from recbole_lcrec.llm.adapters import add_lora
from tests.decoding.conftest import ARCHITECTURES, Lab, assert_best, assert_ranks, tokens_read

READERS = (SharedReader, PlainReader)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_prompts_and_common_tokens_are_read_once(lab: Lab, architecture: str) -> None:
    """Then each beam of the inner levels is read; a level of 12 prefixes has at most 12 beams."""
    model, trie = lab.model(architecture), Trie.from_token_ids(lab.catalogue(400, 4))
    reader = SharedReader(model)
    assert trie.level_size(1) == 12 and trie.level_size(2) > 20
    for common, counts in ((0, [3 * 24]), (7, [3 * 24]), (8, [8, 3 * 16]), (15, [15, 3 * 9])):
        with tokens_read(model) as seen:
            beam_search(reader, lab.prompts(24, 16, 19, common=common), trie, 20)
        assert seen == [*counts, 3 * 12, 3 * 20, 3 * 20]
    with tokens_read(model) as seen:
        beam_search(reader, lab.prompts(24), trie, 20)
    assert seen == [24, 12, 20, 20]


def test_one_level_reads_the_prompt_only(lab: Lab) -> None:
    model, ids = lab.model("llama"), torch.arange(32, 80).unsqueeze(1)
    reader, prompts = SharedReader(model), lab.prompts(6, 9)
    with tokens_read(model) as seen:
        beams = beam_search(reader, prompts, Trie.from_token_ids(ids), 48)
    assert seen == [18]
    assert_best(beams, lab.exhaustive(model, prompts, ids))


class Head(torch.nn.Linear):
    """A head that is not exactly a plain matrix, so all of its logits are computed."""


@pytest.mark.parametrize("plain", [True, False])
def test_logits_are_computed_for_needed_states_only(lab: Lab, plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """States of the last prompt tokens and of the beams of inner levels only."""
    model, trie, rows = lab.model("llama"), Trie.from_token_ids(lab.catalogue(300, 3)), []
    head, linear, addmm = model.lm_head, torch.nn.functional.linear, torch.addmm
    head.__class__ = torch.nn.Linear if plain else Head

    def watched(states: torch.Tensor, weight: torch.Tensor, bias: Any = None) -> torch.Tensor:
        if weight.data_ptr() == head.weight.data_ptr():
            rows.append(states.shape[:-1].numel())
        return linear(states, weight, bias)

    def watched_columns(base: torch.Tensor, weight: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        if weight.data_ptr() == head.weight.data_ptr():
            rows.append(columns.shape[1])
        return addmm(base, weight, columns)

    reader = SharedReader(model)
    monkeypatch.setattr(torch.nn.functional, "linear", watched)
    monkeypatch.setattr(torch, "addmm", watched_columns)
    beam_search(reader, lab.prompts(24, 16), trie, 5)
    assert [count for count in rows if count] == [2, 2 * 5, 2 * 5]


@contextmanager
def logits_made(model: Any) -> Iterator[list[tuple[int, ...]]]:
    """Numbers of texts and tokens that the head computes logits for at each call."""
    shapes: list[tuple[int, ...]] = []
    hook = model.get_output_embeddings().register_forward_hook(
        lambda _, inputs, __: shapes.append(tuple(inputs[0].shape[:-1]))
    )
    try:
        yield shapes
    finally:
        hook.remove()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_plain_reader_computes_last_logits_only(lab: Lab, architecture: str) -> None:
    """One text for each prompt, then one for each of its beams; the same with an adapter."""
    model, ids, prompts = lab.model(architecture), lab.catalogue(300, 3), lab.prompts(9, 5)
    trie = Trie.from_token_ids(ids)
    for asked in (model, add_lora(model, LoraSettings(4, 8, 0.0, "all-linear", False), range(32, 80)).eval()):
        reader = PlainReader(asked)
        with logits_made(asked) as shapes:
            beams = beam_search(reader, prompts, trie, 5)
        assert shapes == [(1, 1)] * 2 + [(5, 1)] * 4
        assert_ranks(beams, lab.exhaustive(asked, prompts, ids))


def test_plain_reader_of_a_model_without_logits_to_keep(lab: Lab) -> None:
    """A model whose forward pass has no ``logits_to_keep``."""
    model: Any = lab.model("llama")
    ids, prompts, forward = lab.catalogue(300, 3), lab.prompts(9, 5), model.forward

    def older(input_ids: Any = None, attention_mask: Any = None, use_cache: Any = None) -> Any:
        return forward(input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache)

    model.forward = older
    reader = PlainReader(model)
    with logits_made(model) as shapes:
        beams = beam_search(reader, prompts, Trie.from_token_ids(ids), 5)
    assert shapes == [(1, 9), (1, 5), (5, 10), (5, 6), (5, 11), (5, 7)]
    assert_ranks(beams, lab.exhaustive(model, prompts, ids))


@pytest.mark.parametrize("reader", READERS)
def test_prompt_may_fill_all_positions(lab: Lab, reader: Any) -> None:
    model, ids = lab.model("gpt2"), lab.catalogue(20, 4)
    trie, fitting = Trie.from_token_ids(ids), lab.prompts(61, 4)
    assert_best(beam_search(reader(model), fitting, trie, beam_size=20), lab.exhaustive(model, fitting, ids))
    with pytest.raises(ValueError, match=r"prompt of 62 tokens and 3 index tokens exceed .*max_position_embeddings=64"):
        beam_search(reader(model), lab.prompts(62, 4), trie, beam_size=20)


def test_sliding_window_must_hold_prompt_and_index(lab: Lab) -> None:
    model, ids = lab.model("mistral", sliding_window=16), lab.catalogue(20, 4)
    trie, fitting, longer = Trie.from_token_ids(ids), lab.prompts(13, 5), lab.prompts(30, 5)
    assert_best(beam_search(SharedReader(model), fitting, trie, beam_size=20), lab.exhaustive(model, fitting, ids))
    with pytest.raises(ValueError, match=r"sliding_window=16; .*decoding_search: plain"):
        beam_search(SharedReader(model), lab.prompts(14, 5), trie, beam_size=20)
    assert_best(beam_search(PlainReader(model), longer, trie, beam_size=20), lab.exhaustive(model, longer, ids))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_longrope_limits_shared_prompts(lab: Lab, attention: str) -> None:
    """longrope depends on the longest text in a batch."""
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
    rope |= {"original_max_position_embeddings": 32, "factor": 2.0}
    config = LlamaConfig(**lab.sizes() | {"rope_parameters": rope})
    model, ids = lab.built(config, attention), lab.catalogue(20, 4)
    trie, fitting, longer = Trie.from_token_ids(ids), lab.prompts(29, 5), lab.prompts(40, 5)
    assert_best(beam_search(SharedReader(model), fitting, trie, beam_size=20), lab.exhaustive(model, fitting, ids))
    with pytest.raises(ValueError, match=r"original_max_position_embeddings=32; .*decoding_search: plain"):
        beam_search(SharedReader(model), lab.prompts(30, 5), trie, beam_size=20)
    assert_best(beam_search(PlainReader(model), longer, trie, beam_size=20), lab.exhaustive(model, longer, ids))


@pytest.mark.parametrize("reader", READERS)
def test_training_mode_is_an_error(lab: Lab, reader: Any) -> None:
    with pytest.raises(RuntimeError, match=r"training mode, where dropout changes the scores; call model\.eval\(\)"):
        reader(lab.model("llama").train())


@pytest.mark.parametrize("attention", ["flash_attention_2", "flex_attention", "paged|sdpa"])
def test_attention_that_ignores_the_mask_is_rejected(lab: Lab, attention: str) -> None:
    model = lab.model("llama")
    model.config._attn_implementation = attention
    with pytest.raises(ValueError, match=rf"{attention.replace('|', '.')}.*sdpa, eager, or set decoding_search: plain"):
        SharedReader(model)


def scaled(lab: Lab, by: float) -> Any:
    """A model that scales its head's logits."""
    model: Any = lab.model("llama")
    forward = model.forward

    def scaled_forward(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        output.logits = output.logits * by
        return output

    model.forward = scaled_forward
    return model


NARROW = {"initializer_range": 0.05}
REFUSED: dict[str, tuple[Any, str]] = {
    "scaled": (lambda lab: scaled(lab, 1.01), "'llama' changes logits after its output head"),
    "gemma2": (  # logits are so small that capping hardly changes them
        lambda lab: lab.built(Gemma2Config(**lab.sizes() | NARROW, head_dim=8), "eager"),
        "'gemma2' changes logits after its output head",
    ),
    "cohere": (lambda lab: lab.built(CohereConfig(**lab.sizes())), "'cohere' changes logits after its output head"),
    "granite": (
        lambda lab: lab.built(GraniteConfig(**lab.sizes(), logits_scaling=3.0)),
        "'granite' changes logits after its output head",
    ),
    "mamba": (
        lambda lab: lab.built(MambaConfig(vocab_size=80, hidden_size=16, num_hidden_layers=2, state_size=4), "eager"),
        "'mamba' has layers of kind linear_attention",
    ),
    "gpt_neo": (
        lambda lab: lab.built(
            GPTNeoConfig(
                vocab_size=80,
                hidden_size=32,
                num_layers=2,
                num_heads=4,
                attention_types=[[["global", "local"], 1]],
                window_size=8,
                max_position_embeddings=64,
            ),
            "eager",
        ),
        "'gpt_neo' has layers of kind local",
    ),
    "mpt": (  # uses the order of keys, not the given positions
        lambda lab: lab.built(
            MptConfig(vocab_size=80, d_model=32, n_heads=4, n_layers=2, initializer_range=0.3), "eager"
        ),
        "'mpt' with attn_implementation='eager' scores beams that share a prompt differently from separate beams",
    ),
    "bloom": (  # requires a 2-D mask
        lambda lab: lab.built(BloomConfig(vocab_size=80, hidden_size=32, n_layer=2, n_head=4), "eager"),
        "'bloom' cannot read beams that share a prompt",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unshareable_models_are_rejected_and_read_plainly(lab: Lab, name: str) -> None:
    build, message = REFUSED[name]
    model, ids, prompts = build(lab), lab.catalogue(15, 3, n_codes=4), lab.prompts(6, 9)
    with pytest.raises(ValueError, match=f"{message}.*set decoding_search: plain"):
        SharedReader(model)
    beams = beam_search(PlainReader(model), prompts, Trie.from_token_ids(ids), 15)
    assert_best(beams, lab.exhaustive(model, prompts, ids))


def test_model_with_mixed_layer_types_is_rejected(lab: Lab) -> None:
    model = lab.model("qwen3")
    model.config.layer_types = ["full_attention", "chunked_attention"]
    with pytest.raises(ValueError, match="'qwen3' has layers of kind chunked_attention"):
        SharedReader(model)


def test_model_without_a_head_is_rejected(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    model = lab.model("llama")
    monkeypatch.setattr(type(model), "get_output_embeddings", lambda _: None)
    with pytest.raises(ValueError, match=r"'llama' has no output head; .*decoding_search: plain"):
        SharedReader(model)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_prompt_learning_adapter_is_rejected(lab: Lab) -> None:
    wrapped = get_peft_model(lab.model("llama"), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)).eval()
    with pytest.raises(ValueError, match=r"prompt-learning adapter adds its own tokens .*; use LoRA"):
        SharedReader(wrapped)


def test_out_of_memory_in_the_trial_is_passed_on(lab: Lab) -> None:
    model: Any = lab.model("llama")
    forward = model.forward

    def fails(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("past_key_values") is not None:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(*args, **kwargs)

    model.forward = fails
    with pytest.raises(torch.OutOfMemoryError):
        SharedReader(model)


def test_reader_does_not_change_the_model(lab: Lab) -> None:
    model = lab.model("llama")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    words = torch.tensor([[4, 5, 6]])
    logits = model(words).logits
    beam_search(SharedReader(model), PromptBatch.of([[1, 2, 3]]), Trie.from_token_ids([[40, 50]]), 1)
    assert not model.lm_head._forward_pre_hooks and not model.lm_head._forward_hooks
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert model(words).logits.equal(logits)
