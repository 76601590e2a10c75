"""The causal language model that is tuned: loaded by name or path, or initialised small, with or without LoRA.

Knows Hugging Face models and the folders that runs save. Refuses to know instructions and training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as hf_logging

from recbole_lcrec.config.settings import SCRATCH, BackboneSettings, LoraSettings, ScratchSettings
from recbole_lcrec.config.values import first_line
from recbole_lcrec.llm.adapters import (
    adapter_base,
    adapter_dtype,
    add_lora,
    attach_adapter,
    check_lora,
    is_adapter_folder,
    load_adapter_weights,
)
from recbole_lcrec.llm.loading import load_model, load_part
from recbole_lcrec.llm.scratch import initialise, train_tokenizer
from recbole_lcrec.llm.tokens import add_index_tokens
from recbole_lcrec.runtime.causal_models import causal_lm_error

__all__ = [
    "Backbone",
    "check_base_model",
    "is_partitioned",
    "load_backbone",
    "load_saved",
    "merge_adapter_folder",
    "quiet",
]


@dataclass(frozen=True)
class Backbone:
    """A causal language model and the tokenizer that goes with it, index tokens included.

    Under LoRA the model is a :class:`peft.PeftModel`, which is called, decoded and moved as the model within.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def is_partitioned(model: torch.nn.Module) -> bool:
    """Return whether DeepSpeed ZeRO-3 has split the model's parameters across processes.

    All processes must then take part in every forward pass, and no process holds the whole weights.
    """
    return any(hasattr(parameter, "ds_id") for parameter in model.parameters())


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
    if is_adapter_folder(Path(name)):
        raise ValueError(
            f"base_model = {name!r} holds an adapter, not a whole model; tune that run with lora_merge=True, or merge "
            "the adapter, and name the merged model"
        )
    try:
        config = AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as err:
        raise ValueError(
            f"base_model = {name!r} is neither a folder with a Hugging Face model nor a model that can be fetched "
            f"from the hub; use {SCRATCH!r} to train a small model from nothing ({first_line(err)})"
        ) from err
    problem = causal_lm_error(config)
    if problem:
        raise ValueError(f"base_model = {name!r} {problem}; give the name or the folder of one")


def _pretrained(name: str, attention: str, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    tokenizer = load_part(AutoTokenizer, name)
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise ValueError(f"the tokenizer of base_model = {name!r} has neither a padding nor an end token")
        tokenizer.pad_token = tokenizer.eos_token
    return load_model(name, attention, dtype), tokenizer


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


def _grow(model: PreTrainedModel, rows: int, **options: Any) -> range:
    """Gives the vocabulary as many rows as the tokenizer has tokens, never fewer than it has.

    Returns:
        The new rows.
    """
    embeddings: Any = model.get_input_embeddings()
    before = embeddings.num_embeddings
    if rows > before:
        model.resize_token_embeddings(rows, **options)
    return range(before, max(rows, before))


def _adapted(folder: Path, attention: str, base_model: str | None, dtype: torch.dtype | None) -> Any:
    """The base model of a saved adapter with the adapter on it."""
    name = base_model or adapter_base(folder)
    own = adapter_dtype(folder)
    try:
        model = load_model(name, attention, dtype or own)
    except ValueError as err:
        raise ValueError(
            f"{folder} holds an adapter tuned on {adapter_base(folder)!r}, and {name!r} cannot be loaded; say by "
            f"base_model where that model is now ({err})"
        ) from err
    with torch.random.fork_rng():  # what the new rows start with does not matter: the adapter fills them
        _grow(model, len(load_part(AutoTokenizer, str(folder), saved=True)), mean_resizing=False)
    adapted = attach_adapter(model, folder)
    load_adapter_weights(adapted, folder)  # peft only warns of what the file lacks
    return adapted


def load_saved(
    folder: Path, attention: str, base_model: str | None = None, dtype: torch.dtype | None = None
) -> PreTrainedModel:
    """The model in a folder that a run has saved.

    Args:
        folder: a whole model, or an adapter with its tokenizer.
        attention: implementation, as transformers names it.
        base_model: where the adapter's base model is now; None: where it was. A whole model needs none.
        dtype: number format of an adapter's base model; None: that of the adapter's weights, which are float32 beside
            a base model in half precision. A whole model keeps its own.

    Returns:
        A plain model, or a :class:`peft.PeftModel` that is not set to train.

    Raises:
        ValueError: the folder holds no causal language model, its weights are damaged or not exactly those of its
            ``config.json``, or the adapter's base model cannot be loaded.
    """
    with quiet():
        if is_adapter_folder(folder):
            return _adapted(folder, attention, base_model, dtype)
        return load_model(str(folder), attention, "auto", saved=True)


def merge_adapter_folder(
    folder: Path, into: Path, base_model: str | None = None, dtype: torch.dtype | None = None
) -> None:
    """Writes a plain model and its tokenizer from a saved adapter; nothing that is in memory is touched.

    The base model is read once more, so both must fit in memory for as long as it takes.

    Args:
        folder: an adapter with its tokenizer.
        into: folder of the merged model; made if it is not there.
        base_model: where the adapter's base model is now; None: where it was.
        dtype: number format of the merged model; None: that of the adapter.

    Raises:
        ValueError: the folder holds no adapter, or its base model cannot be loaded.
    """
    if not is_adapter_folder(folder):
        raise ValueError(f"{folder} holds no adapter that could be merged")
    with quiet():
        merged = _adapted(folder, "eager", base_model, dtype).merge_and_unload(safe_merge=True)
        merged.save_pretrained(into)
        load_part(AutoTokenizer, str(folder), saved=True).save_pretrained(into)


def load_backbone(
    settings: BackboneSettings,
    scratch: ScratchSettings,
    index_tokens: Sequence[str],
    texts: Callable[[], Iterable[str]],
    seed: int,
    dtype: torch.dtype = torch.float32,
    lora: LoraSettings | None = None,
) -> Backbone:
    """Loads or initialises the model, appends the index tokens to its vocabulary and adds LoRA where it is asked for.

    Under LoRA the rows of all index tokens train, also where the base model has them already, and those of any other
    token that the base model lacked a row for.

    Args:
        settings: which model.
        scratch: its sizes, if it is initialised.
        index_tokens: every index token of every level.
        texts: gives what a tokenizer from scratch learns from; called only then.
        seed: of the initial weights.
        dtype: number format that a pretrained model is held in.
        lora: low-rank adaptation; None or without ``r``: all weights train.

    Raises:
        ValueError: the model cannot be loaded, lacks weights, or does not have what LoRA is to reach.
        RunAborted: memory does not suffice to load it.
    """
    if lora is not None and settings.base_model == SCRATCH:
        check_lora(lora, SCRATCH)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: Any
        if settings.base_model == SCRATCH:
            tokenizer: PreTrainedTokenizerBase = train_tokenizer(texts(), scratch.vocab_size)
            add_index_tokens(tokenizer, index_tokens)
            model = initialise(tokenizer, scratch, settings.attention, seed)
            new, origin = range(0), "initialised"
        else:
            model, tokenizer = _pretrained(settings.base_model, settings.attention, dtype)
            added = add_index_tokens(tokenizer, index_tokens)
            new, origin = _grow(model, len(tokenizer)), f"loaded from {settings.base_model}, {added} index tokens new"
        if lora is not None and lora.r is not None:
            vocabulary = tokenizer.get_vocab()
            model = add_lora(model, lora, [*(vocabulary[token] for token in index_tokens), *new])
    name = type(model.get_base_model() if isinstance(model, PeftModel) else model).__name__
    count = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    share = "" if trained == count else f", {trained:,} of them train"
    getLogger().info(f"Language model: {name}, {count:,} parameters{share}, vocabulary {len(tokenizer):,}, {origin}")
    return Backbone(model, tokenizer)
