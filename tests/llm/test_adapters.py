"""LoRA on extended vocabularies: which weights are trained, saved and loaded, compared with plain peft."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PhiConfig,
    PreTrainedModel,
    Qwen2Config,
)

from recbole_lcrec.config.settings import BackboneSettings, LoraSettings, ScratchSettings
from recbole_lcrec.decoding import PromptBatch, SharedReader, Trie, beam_search
from recbole_lcrec.llm.adapters import add_lora, check_lora, is_adapter_folder, load_adapter_weights, save_adapter
from recbole_lcrec.llm.backbone import Backbone, check_base_model, load_backbone, load_saved, merge_adapter_folder
from recbole_lcrec.llm.scratch import train_tokenizer

ROPE = {"llama": LlamaConfig, "qwen2": Qwen2Config, "mistral": MistralConfig, "phi": PhiConfig}
FAMILIES = ["llama", "qwen2", "mistral", "gpt2"]
TOKENS = ["<a_0>", "<a_1>", "<b_0>", "<b_1>"]
SCRATCH = ScratchSettings(None, 300, 16, 32, 2, 2, 0.0, True)
DRAWS = {"llama": "q_proj", "qwen2": "q_proj", "mistral": "q_proj", "gpt2": "c_attn"}


def lora(**changes: Any) -> LoraSettings:
    values: dict[str, Any] = {"r": 4, "alpha": 8, "dropout": 0.0, "targets": "all-linear", "merge": False}
    return LoraSettings(**values | changes)


def write_base(folder: Path, family: str = "llama", tied: bool = True, spare_rows: int = 0) -> str:
    """A tiny pretrained model without index tokens; ``spare_rows`` pad its vocabulary."""
    tokenizer = train_tokenizer(["A hammer for every nail, a lamp for every night"], 290)
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "tie_word_embeddings": tied}
    rows = len(tokenizer) + spare_rows
    config: Any
    if family == "gpt2":
        config = GPT2Config(vocab_size=rows, n_embd=16, n_layer=2, n_head=2, n_positions=64, **ends)
    else:
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = ROPE[family](
            vocab_size=rows, num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.1, **sizes, **ends
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def adapted(base: str, settings: LoraSettings | None = None, **options: Any) -> Backbone:
    return load_backbone(
        BackboneSettings(base, "sdpa"), SCRATCH, TOKENS, lambda: [], 1, lora=settings or lora(), **options
    )


def batch(backbone: Backbone) -> torch.Tensor:
    text = "A lamp <a_1><b_0>, a nail <a_0><b_1>."
    return torch.tensor([backbone.tokenizer(text, add_special_tokens=False)["input_ids"]])


def step(backbone: Backbone, steps: int = 1) -> None:
    """Plain gradient descent: weights without a gradient do not change at all."""
    ids = batch(backbone)
    trained = [parameter for parameter in backbone.model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.5)
    for _ in range(steps):
        optimizer.zero_grad()
        backbone.model(ids, labels=ids).loss.backward()
        optimizer.step()


def logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(ids).logits


def saved(backbone: Backbone, folder: Path) -> Path:
    folder.mkdir()
    model: Any = backbone.model
    save_adapter(model, folder)
    backbone.tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_one_step_changes_new_rows_and_lora_matrices_only(family: str, tied: bool, tmp_path: Path) -> None:
    backbone = adapted(write_base(tmp_path, family, tied))
    model: Any = backbone.model
    assert isinstance(model, PeftModel)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    old = plain.get_input_embeddings().num_embeddings
    ids = batch(backbone)
    new = backbone.tokenizer.convert_tokens_to_ids(TOKENS)
    assert min(new) >= old
    torch.testing.assert_close(
        logits(model, ids[:, :3])[..., :old], logits(plain, ids[:, :3])
    )  # initially the base model
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    embedding, head = (m.weight.detach().clone() for m in (model.get_input_embeddings(), model.get_output_embeddings()))
    step(backbone)
    new_embedding, new_head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    for was, now in ((embedding, new_embedding), (head, new_head)):
        assert torch.equal(was[:old], now[:old])
        assert ((was[new] - now[new]).abs().sum(dim=1) > 0).all()
    assert torch.equal(new_embedding, new_head) == tied
    torch.testing.assert_close(new_embedding[:old], plain.get_input_embeddings().weight)
    kinds = set()
    for name, value in model.named_parameters():
        moved = not torch.equal(before[name], value)
        if "lora_B" in name or "trainable_tokens" in name:
            assert moved, name
        else:  # the first matrix has no gradient while the second is zero
            assert not moved, name
        assert value.requires_grad == ("lora_" in name or "trainable_tokens" in name), name
        kinds.add(name.partition(".lora_")[0].rpartition(".")[2])
    assert not any("lm_head" in name and "lora_" in name for name in before)
    assert DRAWS[family] in kinds
    first = {name: value.detach().clone() for name, value in model.named_parameters() if "lora_A" in name}
    step(backbone)
    assert first and all(not torch.equal(value, dict(model.named_parameters())[name]) for name, value in first.items())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_saved_adapter_and_merged_model_give_same_logits(family: str, tied: bool, tmp_path: Path) -> None:
    backbone = adapted(write_base(tmp_path / "base", family, tied))
    step(backbone, 3)
    ids, expected = batch(backbone), logits(backbone.model, batch(backbone))
    folder = saved(backbone, tmp_path / "run")
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json"} <= {f.name for f in folder.iterdir()}
    torch.testing.assert_close(logits(AutoPeftModelForCausalLM.from_pretrained(folder), ids), expected)
    torch.testing.assert_close(logits(load_saved(folder, "sdpa"), ids), expected)
    merge_adapter_folder(folder, tmp_path / "merged")
    assert not is_adapter_folder(tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert type(merged) is type(AutoModelForCausalLM.from_pretrained(tmp_path / "base"))
    torch.testing.assert_close(logits(merged, ids), expected, rtol=1e-5, atol=1e-5)
    again = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert again("".join(TOKENS))["input_ids"] == backbone.tokenizer("".join(TOKENS))["input_ids"]
    assert torch.equal(logits(backbone.model, ids), expected)  # the model in memory is unchanged
    torch.testing.assert_close(logits(load_saved(tmp_path / "merged", "sdpa"), ids), expected, rtol=1e-5, atol=1e-5)


def test_only_new_vocabulary_rows_are_saved(tmp_path: Path) -> None:
    backbone = adapted(write_base(tmp_path / "base", tied=False))
    weights = load_file(saved(backbone, tmp_path / "run") / "adapter_model.safetensors")
    assert {tuple(value.shape) for name, value in weights.items() if "lora_" not in name} == {(4, 16)}
    assert sum("trainable_tokens" in name for name in weights) == 2


def test_padded_vocabulary_keeps_its_size(tmp_path: Path) -> None:
    backbone = adapted(write_base(tmp_path / "base", tied=False, spare_rows=9))
    rows = backbone.model.get_input_embeddings().weight.shape[0]
    assert rows == len(backbone.tokenizer) + 5  # four of the nine spare rows became index tokens
    step(backbone)
    folder = saved(backbone, tmp_path / "run")
    expected = logits(backbone.model, batch(backbone))
    torch.testing.assert_close(logits(AutoPeftModelForCausalLM.from_pretrained(folder), batch(backbone)), expected)


def test_index_rows_of_a_tuned_base_are_trained(tmp_path: Path) -> None:
    first = load_backbone(BackboneSettings(write_base(tmp_path / "base"), "sdpa"), SCRATCH, TOKENS, lambda: [], 1)
    first.model.save_pretrained(tmp_path / "run")
    first.tokenizer.save_pretrained(tmp_path / "run")
    backbone = adapted(str(tmp_path / "run"))
    rows = len(first.tokenizer)
    assert len(backbone.tokenizer) == rows == backbone.model.get_input_embeddings().weight.shape[0]
    step(backbone)
    torch.testing.assert_close(
        (backbone.model.get_input_embeddings().weight - first.model.get_input_embeddings().weight).abs().sum(1) > 0,
        torch.arange(rows) >= rows - 4,
    )


def test_rows_of_other_new_tokens_are_saved(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(["<extra>"])  # the model has no row for it, so each load fills it at random
    tokenizer.save_pretrained(base)
    backbone = adapted(base)
    ids = torch.tensor([backbone.tokenizer("<extra> a <a_0>")["input_ids"]])
    folder = saved(backbone, tmp_path / "run")
    torch.testing.assert_close(logits(load_saved(folder, "sdpa"), ids), logits(backbone.model, ids))


def test_head_with_a_bias_is_trained_whole(tmp_path: Path) -> None:
    backbone = adapted(write_base(tmp_path / "base", "phi", tied=False))
    old = len(backbone.tokenizer) - 4
    model: Any = backbone.model
    embedding = model.get_input_embeddings().weight.detach().clone()
    ids, plain = batch(backbone)[:, :3], AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    torch.testing.assert_close(logits(model, ids)[..., :old], logits(plain, ids))  # with the bias
    step(backbone)
    assert torch.equal(embedding[:old], model.get_input_embeddings().weight[:old])
    assert not torch.equal(embedding[old:], model.get_input_embeddings().weight[old:])
    head = {name for name, value in model.named_parameters() if "lm_head" in name and value.requires_grad}
    assert {name.rpartition(".")[2] for name in head} == {"weight", "bias"}
    folder = saved(backbone, tmp_path / "run")
    expected = logits(model, batch(backbone))
    torch.testing.assert_close(logits(AutoPeftModelForCausalLM.from_pretrained(folder), batch(backbone)), expected)
    step(backbone)
    assert not torch.equal(logits(model, batch(backbone)), expected)
    load_adapter_weights(model, folder)
    assert torch.equal(logits(model, batch(backbone)), expected)
    merge_adapter_folder(folder, tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(merged, batch(backbone)), expected, rtol=1e-5, atol=1e-5)


def test_tied_head_with_a_bias_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="PhiForCausalLM has an output head with a bias"):
        adapted(write_base(tmp_path / "base", "phi", tied=True))


def test_saved_adapter_weights_are_restored(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    backbone = adapted(base)
    model: Any = backbone.model
    step(backbone)
    best = logits(model, batch(backbone))
    folder = saved(backbone, tmp_path / "run")
    step(backbone)
    assert not torch.equal(logits(model, batch(backbone)), best)
    load_adapter_weights(model, folder)
    assert torch.equal(logits(model, batch(backbone)), best)
    other: Any = adapted(base, lora(r=3)).model
    with pytest.raises(ValueError, match="does not match this model's adapter"):
        load_adapter_weights(other, folder)
    other = adapted(base, lora(targets=("q_proj",))).model
    with pytest.raises(ValueError, match=r"only one of them has '.*lora_A.weight'"):
        load_adapter_weights(other, folder)


def test_initial_matrices_depend_on_the_seed_only(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    pairs = zip(adapted(base).model.parameters(), adapted(base).model.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)
    assert torch.rand(1) == expected


def test_named_targets_select_modules(tmp_path: Path) -> None:
    model = adapted(write_base(tmp_path / "base"), lora(targets=("q_proj", "mlp.up_proj"), dropout=0.3, r=2)).model
    reached = {name.split(".lora_A")[0].rpartition(".")[2] for name, _ in model.named_parameters() if "lora_A" in name}
    assert reached == {"q_proj", "up_proj"}
    shapes = {tuple(value.shape) for name, value in model.named_parameters() if "lora_A" in name}
    assert shapes == {(2, 16)}


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("q_porj", "no linear module 'q_porj' in its layers, only .*o_proj, q_proj.*; did you mean 'q_proj'"),
        ("lm_head", "no linear module 'lm_head'"),
        ("embed_tokens", "no linear module 'embed_tokens'"),
        ("proj", "no linear module 'proj'"),
    ],
)
def test_missing_target_is_named_before_loading(target: str, words: str, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    with pytest.raises(ValueError, match=words):
        adapted(base, lora(targets=("v_proj", target)))
    (tmp_path / "base" / "model.safetensors").unlink()  # the check needs the configuration only
    with pytest.raises(ValueError, match=words):
        check_lora(lora(targets=("v_proj", target)), base)
    check_lora(lora(targets=("v_proj", "down_proj")), base)


def test_scratch_model_rejects_lora() -> None:
    with pytest.raises(ValueError, match="lora_r = 4 with base_model = 'scratch' would freeze random, untrained"):
        check_lora(lora(), "scratch")
    with pytest.raises(ValueError, match="untrained weights"):
        adapted("scratch")
    check_lora(lora(r=None), "scratch")
    backbone = load_backbone(
        BackboneSettings("scratch", "sdpa"), SCRATCH, TOKENS, lambda: ["a lamp"], 1, lora=lora(r=None)
    )
    assert isinstance(backbone.model, PreTrainedModel)


def test_new_tokens_must_be_embedding_rows(tmp_path: Path) -> None:
    for ids in ([], [0, 9999]):
        with pytest.raises(ValueError, match="new_token_ids"):
            add_lora(AutoModelForCausalLM.from_pretrained(write_base(tmp_path)), lora(), ids)
    with pytest.raises(RuntimeError, match="lora_r is not set"):
        add_lora(AutoModelForCausalLM.from_pretrained(write_base(tmp_path)), lora(r=None), [1])


def test_base_model_that_was_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_base(tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    backbone = adapted("base")  # a path relative to this folder
    step(backbone)
    folder = saved(backbone, tmp_path / "run")
    expected, ids = logits(backbone.model, batch(backbone)), batch(backbone)
    monkeypatch.chdir(folder)
    torch.testing.assert_close(logits(load_saved(folder, "sdpa"), ids), expected)
    shutil.move(tmp_path / "base", tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"an adapter tuned on '.*base'.* set base_model to where that model is now"):
        load_saved(folder, "sdpa")
    with pytest.raises(ValueError, match=r"'/nowhere' cannot be loaded; set base_model"):
        load_saved(folder, "sdpa", "/nowhere")
    elsewhere = str(tmp_path / "elsewhere")
    torch.testing.assert_close(logits(load_saved(folder, "sdpa", elsewhere), ids), expected)
    merge_adapter_folder(folder, tmp_path / "merged", elsewhere)
    torch.testing.assert_close(logits(load_saved(tmp_path / "merged", "sdpa"), ids), expected, rtol=1e-5, atol=1e-5)


def test_adapter_on_a_different_model(tmp_path: Path) -> None:
    folder = saved(adapted(write_base(tmp_path / "base")), tmp_path / "run")
    other = write_base(tmp_path / "other", "gpt2")
    with pytest.raises(ValueError, match="does not fit GPT2LMHeadModel"):
        load_saved(folder, "sdpa", other)


def test_damaged_adapter_folders(tmp_path: Path) -> None:
    folder = saved(adapted(write_base(tmp_path / "base")), tmp_path / "run")
    with pytest.raises(ValueError, match="holds an adapter, not a whole model"):
        check_base_model(str(folder))
    with pytest.raises(ValueError, match="no adapter to merge"):
        merge_adapter_folder(tmp_path / "base", tmp_path / "merged")
    (folder / "adapter_model.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"adapter_model.safetensors cannot be read"):
        load_saved(folder, "sdpa")
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"adapter_model.safetensors cannot be read"):
        load_saved(folder, "sdpa")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": None}))
    with pytest.raises(ValueError, match="does not name the model"):
        load_saved(folder, "sdpa")
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"adapter_config\.json cannot be read"):
        load_saved(folder, "sdpa")


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_reaches_the_first_layer(reentrant: bool, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    gradients = []
    for checkpointing in (False, True):
        backbone = adapted(base)
        if checkpointing:
            backbone.model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        ids = torch.tensor(
            [backbone.tokenizer("a lamp for a nail", add_special_tokens=False)["input_ids"]]
        )  # no new token
        backbone.model.train()
        backbone.model(ids, labels=ids).loss.backward()
        gradients.append({name: value.grad for name, value in backbone.model.named_parameters() if value.requires_grad})
    for name, plain in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], plain, msg=name)
        assert "lora_B" not in name or plain.abs().sum() > 0, name


def test_adapter_and_merged_model_rank_the_same(tmp_path: Path) -> None:
    backbone = adapted(write_base(tmp_path / "base", tied=False))
    step(backbone, 3)
    a, b, c, d = backbone.tokenizer.convert_tokens_to_ids(TOKENS)
    trie = Trie.from_token_ids(torch.tensor([[a, c], [a, d], [b, c], [b, d]]))
    ids = batch(backbone)
    prompts = PromptBatch.of(ids.tolist())
    beams = beam_search(SharedReader(backbone.model.eval()), prompts, trie, beam_size=4)
    merge_adapter_folder(saved(backbone, tmp_path / "run"), tmp_path / "merged")
    plain = beam_search(SharedReader(load_saved(tmp_path / "merged", "sdpa").eval()), prompts, trie, beam_size=4)
    assert beams.items.equal(plain.items)
    torch.testing.assert_close(beams.log_probs, plain.log_probs, rtol=1e-5, atol=1e-5)
    generated = backbone.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=2)
    assert generated.shape[1] <= ids.shape[1] + 2
