"""The causal language model that is tuned: loaded by name or path, or initialised small.

Knows Hugging Face models and the sizes in the settings. Refuses to know instructions and training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.utils import logging as hf_logging

from recbole_lcrec.llm.tokens import add_index_tokens
from recbole_lcrec.settings import SCRATCH, BackboneSettings, ScratchSettings

__all__ = ["Backbone", "check_base_model", "load_backbone", "load_saved", "quiet", "train_tokenizer"]

CONTEXT = 2048
"""Tokens that a model from scratch can read; rotary positions cost nothing."""


@dataclass(frozen=True)
class Backbone:
    """A causal language model and the tokenizer that goes with it, index tokens included."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def check_base_model(name: str) -> None:
    """Makes sure, before any long work, that ``base_model`` can be loaded and is a causal language model.

    Args:
        name: ``scratch``, a folder, or a model's name on the Hugging Face hub.

    Raises:
        ValueError: there is no such model, or it is no causal language model.
    """
    if name == SCRATCH:
        return
    looks_like_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    if looks_like_path and not Path(name).is_dir():
        raise ValueError(f"base_model = {name!r}: there is no such folder; give a Hugging Face model folder or name")
    try:
        config = AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as err:
        raise ValueError(
            f"base_model = {name!r} is neither a folder with a Hugging Face model nor a model that can be fetched "
            f"from the hub; use {SCRATCH!r} to train a small model from nothing ({_first_line(err)})"
        ) from err
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or getattr(config, "is_encoder_decoder", False):
        raise ValueError(
            f"base_model = {name!r} is of type {config.model_type!r}, which is no causal language model; "
            "LLaMA, Qwen2, Qwen3, Mistral and GPT-2 are"
        )
    architectures = getattr(config, "architectures", None) or []
    if architectures and not any(each.endswith(("ForCausalLM", "LMHeadModel")) for each in architectures):
        raise ValueError(
            f"base_model = {name!r} was saved as {', '.join(architectures)}, which is no causal language model"
        )


def _first_line(err: Exception) -> str:
    return next(iter(str(err).splitlines()), type(err).__name__)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer learned from texts; it can write any text and puts ``<s>`` before a prompt.

    Args:
        texts: what to learn from.
        vocab_size: most tokens, the 256 bytes and 3 special tokens included.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<pad>"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=CONTEXT
    )


def _initialise(
    tokenizer: PreTrainedTokenizerBase, scratch: ScratchSettings, attention: str, seed: int
) -> PreTrainedModel:
    """A LLaMA of the settings' sizes with weights drawn from the seed."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=scratch.hidden_size,
        intermediate_size=scratch.intermediate_size,
        num_hidden_layers=scratch.layers,
        num_attention_heads=scratch.heads,
        num_key_value_heads=scratch.heads,
        max_position_embeddings=CONTEXT,
        attention_dropout=scratch.dropout,
        tie_word_embeddings=scratch.tie_embeddings,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    _add_dropout(model, scratch.dropout)
    return model


def _add_dropout(model: Any, rate: float) -> None:
    """Dropout after the embeddings and on every residual branch, while training.

    LLaMA has dropout on attention weights alone, too little for catalogues of a few thousand items. Hooks leave the
    saved model a plain LLaMA.
    """

    def drop(module: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(output, rate, training=module.training)

    branches = [part for layer in model.model.layers for part in (layer.self_attn.o_proj, layer.mlp.down_proj)]
    for module in (model.model.embed_tokens, *branches):
        module.register_forward_hook(drop)


def _load(loader: Any, name: str, **options: Any) -> Any:
    try:
        return loader.from_pretrained(name, **options)
    except (OSError, ValueError) as err:
        raise ValueError(f"base_model = {name!r} could not be loaded: {_first_line(err)}") from err


def _load_model(name: str, attention: str, dtype: torch.dtype | str) -> PreTrainedModel:
    return _load(AutoModelForCausalLM, name, attn_implementation=attention, dtype=dtype)


def _pretrained(name: str, attention: str, dtype: torch.dtype) -> Backbone:
    tokenizer = _load(AutoTokenizer, name)
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise ValueError(f"the tokenizer of base_model = {name!r} has neither a padding nor an end token")
        tokenizer.pad_token = tokenizer.eos_token
    return Backbone(_load_model(name, attention, dtype), tokenizer)


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars: a small model is read and written in an instant, after every epoch."""
    shown = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            hf_logging.enable_progress_bar()


def load_saved(folder: Path, attention: str) -> PreTrainedModel:
    """The model in a folder that a run has saved, in the number format that it was tuned in.

    Raises:
        ValueError: the folder holds no causal language model.
    """
    with quiet():
        return _load_model(str(folder), attention, "auto")


def load_backbone(
    settings: BackboneSettings,
    scratch: ScratchSettings,
    index_tokens: Sequence[str],
    texts: Callable[[], Iterable[str]],
    seed: int,
    dtype: torch.dtype = torch.float32,
) -> Backbone:
    """Loads or initialises the model and appends the index tokens to its vocabulary.

    Args:
        settings: which model.
        scratch: its sizes, if it is initialised.
        index_tokens: every index token of every level.
        texts: gives what a tokenizer from scratch learns from; called only then.
        seed: of the initial weights.
        dtype: number format that a pretrained model is held in.

    Raises:
        ValueError: the model cannot be loaded.
    """
    if settings.base_model == SCRATCH:
        tokenizer: PreTrainedTokenizerBase = train_tokenizer(texts(), scratch.vocab_size)
        add_index_tokens(tokenizer, index_tokens)
        model = _initialise(tokenizer, scratch, settings.attention, seed)
        origin = "initialised"
    else:
        pretrained = _pretrained(settings.base_model, settings.attention, dtype)
        model, tokenizer = pretrained.model, pretrained.tokenizer
        added = add_index_tokens(tokenizer, index_tokens)
        embeddings: Any = model.get_input_embeddings()
        if len(tokenizer) > embeddings.num_embeddings:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                model.resize_token_embeddings(len(tokenizer))
        origin = f"loaded from {settings.base_model}, {added} index tokens new"
    count = sum(parameter.numel() for parameter in model.parameters())
    getLogger().info(
        f"Language model: {type(model).__name__}, {count:,} parameters, vocabulary {len(tokenizer):,}, {origin}"
    )
    return Backbone(model, tokenizer)
