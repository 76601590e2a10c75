"""Loading and initialising language models, and errors for damaged or unsuitable ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertModel,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
    T5Config,
)

from recbole_lcrec.config.settings import BackboneSettings, LoraSettings, ScratchSettings
from recbole_lcrec.llm.adapters import save_adapter
from recbole_lcrec.llm.backbone import Backbone, check_base_model, is_partitioned, load_backbone, load_saved
from recbole_lcrec.llm.scratch import train_tokenizer

SIZES: dict[str, Any] = {
    "preset": None,
    "vocab_size": 300,
    "hidden_size": 16,
    "intermediate_size": 32,
    "layers": 2,
    "heads": 2,
    "dropout": 0.5,
    "tie_embeddings": True,
}
TOKENS = ["<a_0>", "<a_1>", "<b_0>", "<b_1>"]
TEXTS = ["A hammer for every nail", "A lamp for every night"]
FAMILIES: dict[str, Any] = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config, "mistral": MistralConfig}
WEIGHTS = "model.safetensors"
IDS = torch.tensor([[5, 9, 7, 6]])
LORA = LoraSettings(r=2, alpha=4, dropout=0.0, targets="all-linear", merge=False)
UNUSUAL_CONFIGS = [
    '{"bos_token_id": 7, "eos_token_id": 8, "max_length": 4096, "pad_token_id": 9, "temperature": 0.9, "top_p": 0.6}',
    '{"max_new_tokens": -3, "num_beams": 3, "num_return_sequences": 9}',
    '{"temperature": "hot"}',
    "[1]",
    "{bad",
]


def scratch(seed: int = 1, **changes: Any) -> Backbone:
    settings = ScratchSettings(**{**SIZES, **changes})
    return load_backbone(BackboneSettings("scratch", "sdpa"), settings, TOKENS, lambda: TEXTS, seed)


@pytest.mark.parametrize("tied", [True, False])
def test_scratch_model_has_the_configured_sizes(tied: bool) -> None:
    backbone = scratch(tie_embeddings=tied)
    config = backbone.model.config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (16, 2, 2)
    assert backbone.model.get_input_embeddings().weight.shape[0] == len(backbone.tokenizer)
    head, embedding = backbone.model.get_output_embeddings().weight, backbone.model.get_input_embeddings().weight
    assert (head.data_ptr() == embedding.data_ptr()) == tied
    assert all(len(backbone.tokenizer(token, add_special_tokens=False)["input_ids"]) == 1 for token in TOKENS)


def test_scratch_weights_depend_on_the_seed_only() -> None:
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    first, again, other = scratch(1), scratch(1), scratch(2)
    assert torch.rand(1) == expected
    weights = [b.model.get_input_embeddings().weight for b in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_dropout_is_on_in_training_only_and_not_saved(tmp_path: Path) -> None:
    backbone = scratch()
    ids = torch.arange(3, 13).unsqueeze(0)
    backbone.model.train()
    assert not torch.equal(backbone.model(ids).logits, backbone.model(ids).logits)
    backbone.model.eval()
    still = backbone.model(ids).logits
    assert torch.equal(still, backbone.model(ids).logits)
    backbone.model.save_pretrained(tmp_path)
    loaded = load_saved(tmp_path, "sdpa").eval()
    torch.testing.assert_close(loaded(ids).logits, still)


def test_new_rows_get_gradients_and_old_rows_are_loaded(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, 280)
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, n_positions=32)
    model = GPT2LMHeadModel(config)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    backbone = load_backbone(BackboneSettings(str(tmp_path), "sdpa"), ScratchSettings(**SIZES), TOKENS, lambda: [], 1)
    old = model.transformer.wte.weight
    new = backbone.model.get_input_embeddings().weight
    torch.testing.assert_close(new[: len(old)], old)
    assert len(backbone.tokenizer) == len(old) + 4
    ids = torch.tensor([backbone.tokenizer("".join(TOKENS), add_special_tokens=False)["input_ids"]])
    backbone.model(ids, labels=ids).loss.backward()
    gradient = backbone.model.get_input_embeddings().weight.grad
    assert (gradient[ids[0]].abs().sum(dim=1) > 0).all()


def test_saved_model_loads_with_plain_transformers(tmp_path: Path) -> None:
    backbone = scratch()
    backbone.model.save_pretrained(tmp_path)
    backbone.tokenizer.save_pretrained(tmp_path)
    tokenizer, model = AutoTokenizer.from_pretrained(tmp_path), AutoModelForCausalLM.from_pretrained(tmp_path)
    text = "A lamp <a_1><b_0>"
    assert tokenizer(text)["input_ids"] == backbone.tokenizer(text)["input_ids"]
    assert type(model).__name__ == "LlamaForCausalLM"


def test_base_model_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no such folder"):
        check_base_model(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="neither a folder with a Hugging Face model nor"):
        check_base_model("no-such-model-anywhere")
    with pytest.raises(ValueError, match="neither a folder with a Hugging Face model nor"):
        check_base_model(str(tmp_path))  # a folder without a model


def test_base_model_that_is_not_causal(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=20, **sizes)).save_pretrained(tmp_path / "bert")
    T5Config(vocab_size=20).save_pretrained(tmp_path / "t5")
    with pytest.raises(ValueError, match="not a causal language model"):
        check_base_model(str(tmp_path / "bert"))
    with pytest.raises(ValueError, match="not a causal language model"):
        check_base_model(str(tmp_path / "t5"))


def test_scratch_passes_the_check() -> None:
    check_base_model("scratch")


def write_model(folder: Path, family: str = "llama", tied: bool = False) -> Path:
    """A tiny model of a family, with its tokenizer."""
    tokenizer = train_tokenizer(TEXTS, 270)
    ends: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "tie_word_embeddings": tied}
    rows = len(tokenizer)
    config: Any
    if family == "gpt2":
        config = GPT2Config(vocab_size=rows, n_embd=16, n_layer=2, n_head=2, n_positions=32, **ends)
    else:
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = FAMILIES[family](vocab_size=rows, num_key_value_heads=2, max_position_embeddings=32, **sizes, **ends)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def load_base(folder: Path, lora: LoraSettings | None = None) -> Backbone:
    settings = BackboneSettings(str(folder), "sdpa")
    return load_backbone(settings, ScratchSettings(**SIZES), TOKENS, lambda: [], 1, lora=lora)


def saved_adapter(base: Path, folder: Path) -> Path:
    backbone = load_base(base, LORA)
    folder.mkdir()
    save_adapter(backbone.model, folder)  # type: ignore[arg-type]
    backbone.tokenizer.save_pretrained(folder)
    return folder


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits[..., :250]  # without new rows of the vocabulary


def write_weights(path: Path, weights: dict[str, torch.Tensor], *removed: str) -> None:
    save_file({name: weights[name] for name in weights.keys() - {*removed}}, path, metadata={"format": "pt"})


@pytest.mark.parametrize("content", UNUSUAL_CONFIGS)
def test_generation_config_is_ignored(content: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "base")
    expected = logits(AutoModelForCausalLM.from_pretrained(folder))
    adapter = saved_adapter(folder, tmp_path / "adapter")
    (folder / "generation_config.json").write_text(content, encoding="utf-8")
    check_base_model(str(folder))
    plain = GenerationConfig(bos_token_id=0, eos_token_id=1, pad_token_id=2)
    adapted: Any = load_saved(adapter, "sdpa")
    for model in (load_base(folder).model, load_saved(folder, "sdpa"), adapted.get_base_model()):
        assert torch.equal(logits(model), expected)
        assert model.generation_config.to_dict() == plain.to_dict()
        model.save_pretrained(tmp_path / "again")


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("family", [*FAMILIES, "gpt2"])
def test_weights_that_do_not_match_the_model(family: str, tied: bool, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "base", family, tied)
    whole, expected = load_file(folder / WEIGHTS), logits(AutoModelForCausalLM.from_pretrained(folder))
    inner = next(name for name in sorted(whole) if name.endswith("proj.weight"))
    embedding = next(name for name in whole if "embed_tokens" in name or "wte" in name)

    def weights(*removed: str, **others: torch.Tensor) -> None:
        write_weights(folder / WEIGHTS, {**whole, **others}, *removed)

    def require_rejected(message: str) -> None:
        with pytest.raises(ValueError, match=rf"base_model = .*/base' could not be loaded: .*{message}"):
            load_base(folder)
        with pytest.raises(ValueError, match=rf"the saved run .*/base could not be loaded: .*{message}") as caught:
            load_saved(folder, "sdpa")
        assert "restore the run's own files" in str(caught.value)

    def require_whole() -> None:
        assert torch.equal(logits(load_base(folder).model), expected)
        assert torch.equal(logits(load_saved(folder, "sdpa")), expected)

    require_whole()
    weights(inner)
    require_rejected(rf"\(1 missing, first \['{inner}'\]\)")
    weights(**{inner: whole[inner][:, :-1].contiguous()})
    rows, columns = whole[inner].shape
    require_rejected(
        rf"\(1 of the wrong shape, first \['{inner} \[{rows}, {columns - 1}\], not \[{rows}, {columns}\]'\]\)"
    )
    weights(embedding)
    require_rejected(f"{1 + tied} missing, first .*'{embedding}'")
    weights(*whole)
    require_rejected(f"{len(whole) + tied} missing, first ")
    weights(**{"old.buffer": torch.ones(2)})  # allowed in a base model, but not in a saved run
    assert torch.equal(logits(load_base(folder).model), expected)
    with pytest.raises(ValueError, match=r"\(1 unexpected, first \['old\.buffer'\]\); restore the run's own files"):
        load_saved(folder, "sdpa")
    if tied:  # one of the two suffices, under either name
        weights(embedding, **{"lm_head.weight": whole[embedding]})
        require_whole()


@pytest.mark.parametrize("family", [*FAMILIES, "gpt2"])
def test_checkpoint_without_output_head(family: str, tmp_path: Path) -> None:
    for tied in (True, False):
        folder = write_model(tmp_path / f"{tied}", family, tied)
        expected = logits(AutoModelForCausalLM.from_pretrained(folder))
        config = (folder / "config.json").read_bytes()  # still names the class with the head
        model: Any = AutoModelForCausalLM.from_pretrained(folder)
        model.base_model.save_pretrained(folder)
        (folder / "config.json").write_bytes(config)
        if tied:
            assert torch.equal(logits(load_base(folder).model), expected)
            continue
        with pytest.raises(ValueError, match=r"1 missing, first \['lm_head.weight'\]\); this model was saved without"):
            load_base(folder)


def test_adapter_and_base_must_be_complete(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base")
    run = saved_adapter(base, tmp_path / "run")
    load_saved(run, "sdpa")
    write_weights(base / WEIGHTS, {**(whole := load_file(base / WEIGHTS)), "old.buffer": torch.ones(2)})
    load_saved(run, "sdpa")
    file = run / "adapter_model.safetensors"
    adapter = load_file(file)
    for name in (next(name for name in adapter if part in name) for part in ("lora_A", "token")):
        write_weights(file, adapter, name)
        with pytest.raises(ValueError, match=f"the adapter in .*/run .*{name}"):
            load_saved(run, "sdpa")
    write_weights(file, adapter)
    write_weights(base / WEIGHTS, whole, "model.norm.weight")
    with pytest.raises(ValueError, match=r"/run holds an adapter .*\(1 missing, first \['model\.norm\.weight'\]\)"):
        load_saved(run, "sdpa")


@pytest.mark.parametrize("kept", [0, 4, 500, -1])
def test_damaged_file_of_weights(kept: int, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "base")
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"base_model = .* could not be loaded: .*; download or save the model again"):
        load_base(folder)
    with pytest.raises(ValueError, match=r"the saved run .* could not be loaded: .*; restore the run's own files"):
        load_saved(folder, "sdpa")


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"PK\x03\x04"])
def test_damaged_pickle_of_weights(content: bytes, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "base")
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(ValueError, match=r"base_model = .* could not be loaded"):
        load_base(folder)


def test_parameters_of_zero_3_are_recognised() -> None:
    """DeepSpeed marks each parameter that it splits with ``ds_id``."""
    model = scratch().model
    assert not is_partitioned(model)
    next(iter(model.parameters())).ds_id = 0  # type: ignore[attr-defined]
    assert is_partitioned(model)
