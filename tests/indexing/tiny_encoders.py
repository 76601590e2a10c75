"""Tiny encoders on disk with random weights, saved in the usual formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers import PreTrainedTokenizerFast as FastTokenizer

WORDS = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", *"abcdefgh"]
_SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def tokenizer(special: bool, **arguments: Any) -> FastTokenizer:
    """A word-level tokenizer, with BERT's special tokens if ``special``."""
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    if special:
        words.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
    return FastTokenizer(tokenizer_object=words, unk_token="[UNK]", **arguments)


def _save(folder: Path, model: PreTrainedModel, words: FastTokenizer) -> str:
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return str(folder)


def bert(folder: Path, positions: int = 32) -> str:
    torch.manual_seed(0)
    model = BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=positions, **_SIZES))
    return _save(folder, model, tokenizer(True, pad_token="[PAD]"))


def roberta(folder: Path) -> str:
    """Positions 4 to 11 for tokens, after padding index 3: room for 8, though the configuration says 12."""
    torch.manual_seed(0)
    config = RobertaConfig(vocab_size=len(WORDS), max_position_embeddings=12, pad_token_id=3, **_SIZES)
    return _save(folder, RobertaModel(config), tokenizer(True, pad_token="[PAD]"))


def llama(folder: Path) -> str:
    torch.manual_seed(0)
    words = tokenizer(False, eos_token="[SEP]", padding_side="left", truncation_side="left")
    return _save(folder, LlamaForCausalLM(LlamaConfig(vocab_size=len(WORDS), **_SIZES)), words)


def gpt2(folder: Path) -> str:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(WORDS), n_embd=16, n_layer=2, n_head=2, n_positions=32)
    return _save(folder, GPT2LMHeadModel(config), tokenizer(False, eos_token="[SEP]"))


def t5(folder: Path) -> str:
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    config = T5Config(vocab_size=len(WORDS), pad_token_id=3, decoder_start_token_id=3, **sizes)
    return _save(folder, T5ForConditionalGeneration(config), tokenizer(False, eos_token="[SEP]", pad_token="[PAD]"))


def sentence(folder: Path, pooling: str, max_length: int = 12, prompt: str = "") -> str:
    """BERT, pooling (``cls``, ``mean``, ``lasttoken``), a dense layer 16 -> 8 and normalising, as the library saves."""
    bert(folder)
    kinds = ["Transformer", "Pooling", "Dense", "Normalize"]
    places = ["", "1_Pooling", "2_Dense", "3_Normalize"]
    _write(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": place, "type": f"sentence_transformers.models.{kind}"}
            for i, (kind, place) in enumerate(zip(kinds, places, strict=True))
        ],
    )
    _write(folder / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})
    if prompt:
        prompts = {"prompts": {"item": prompt}, "default_prompt_name": "item"}
        _write(folder / "config_sentence_transformers.json", prompts)
    modes = {"cls": "cls_token", "mean": "mean_tokens", "lasttoken": "lasttoken"}
    flags = {f"pooling_mode_{flag}": mode == pooling for mode, flag in modes.items()}
    _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 16, **flags})
    activation = {"activation_function": "torch.nn.modules.activation.Tanh"}
    _write(folder / "2_Dense" / "config.json", {"in_features": 16, "out_features": 8, "bias": True, **activation})
    torch.manual_seed(1)
    save_file(
        {"linear.weight": torch.randn(8, 16), "linear.bias": torch.randn(8)}, folder / "2_Dense" / "model.safetensors"
    )
    (folder / "3_Normalize").mkdir()
    return str(folder)


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
