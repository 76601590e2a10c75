"""The causal language model to tune.

It is loaded by name or path, or initialised small, with or without LoRA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
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
from recbole_lcrec.llm.added_tokens import start_added_tokens
from recbole_lcrec.llm.loading import load_model, load_pretrained
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
    "without_progress_bars",
]


@dataclass(frozen=True)
class Backbone:
    """A causal language model and its tokenizer, index tokens included.

    Under LoRA the model is a :class:`peft.PeftModel`, which is used in the same way as a plain model.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def is_partitioned(model: torch.nn.Module) -> bool:
    """Return whether DeepSpeed ZeRO-3 has split the model's parameters across processes.

    All processes must then take part in every forward pass, and no process holds the whole weights.
    """
    return any(hasattr(parameter, "ds_id") for parameter in model.parameters())


def check_base_model(name: str) -> None:
    """Check, before any long computation, that ``base_model`` can be loaded and is a causal language model.

    Args:
        name: ``scratch``, a folder, or a model's name on the Hugging Face hub.

    Raises:
        ValueError: there is no such model, or it is not a causal language model.
    """
    if name == SCRATCH:
        return
    looks_like_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    if looks_like_path and not Path(name).is_dir():
        raise ValueError(f"base_model = {name!r}: there is no such folder; give a Hugging Face model folder or name")
    if is_adapter_folder(Path(name)):
        raise ValueError(
            f"base_model = {name!r} holds an adapter, not a whole model; tune that run with lora_merge=True, or merge "
            "the adapter, and use the merged model"
        )
    try:
        config = AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as err:
        raise ValueError(
            f"base_model = {name!r} is neither a folder with a Hugging Face model nor a model that can be downloaded "
            f"from the hub; use {SCRATCH!r} to train a small model from scratch ({first_line(err)})"
        ) from err
    problem = causal_lm_error(config)
    if problem:
        raise ValueError(f"base_model = {name!r} {problem}; give the name or the folder of one")


def _pretrained(name: str, attention: str, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    tokenizer = load_pretrained(AutoTokenizer, name)
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise ValueError(
                f"the tokenizer of base_model = {name!r} has neither a padding nor an end token; use another one"
            )
        tokenizer.pad_token = tokenizer.eos_token
    return load_model(name, attention, dtype), tokenizer


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Hide transformers' progress bars; small models are loaded and saved often, and quickly."""
    shown = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            hf_logging.enable_progress_bar()


def _extend_vocabulary(model: PreTrainedModel, rows: int, **options: Any) -> range:
    """Extend the vocabulary matrices to as many rows as the tokenizer has tokens; they are never cut.

    Returns:
        The new rows.
    """
    embeddings: Any = model.get_input_embeddings()
    before = embeddings.num_embeddings
    if rows > before:
        model.resize_token_embeddings(rows, **options)
    return range(before, max(rows, before))


def _load_adapted(folder: Path, attention: str, base_model: str | None, dtype: torch.dtype | None) -> Any:
    """Load the base model of a saved adapter and attach the adapter."""
    name = base_model or adapter_base(folder)
    own = adapter_dtype(folder)
    try:
        model = load_model(name, attention, dtype or own)
    except ValueError as err:
        raise ValueError(
            f"{folder} holds an adapter tuned on {adapter_base(folder)!r}, and {name!r} cannot be loaded; set "
            f"base_model to where that model is now ({err})"
        ) from err
    with torch.random.fork_rng():  # initial values of the new rows do not matter: the adapter overwrites them
        _extend_vocabulary(model, len(load_pretrained(AutoTokenizer, str(folder), saved=True)), mean_resizing=False)
    adapted = attach_adapter(model, folder)
    load_adapter_weights(adapted, folder)  # peft itself only warns about missing weights
    return adapted


def load_saved(
    folder: Path, attention: str, base_model: str | None = None, dtype: torch.dtype | None = None
) -> PreTrainedModel:
    """Load the model that a run has saved.

    Args:
        folder: folder of a whole model, or of an adapter with its tokenizer.
        attention: name of the attention implementation in transformers.
        base_model: where the adapter's base model is now; None: where it was. Ignored for a whole model.
        dtype: dtype of an adapter's base model; None: that of the adapter's weights, which is float32 even for a
            half-precision base model. A whole model keeps its own dtype.

    Returns:
        A plain model, or a :class:`peft.PeftModel` that is not trainable.

    Raises:
        ValueError: the folder holds no causal language model, its weights are damaged or do not match its
            ``config.json``, or the adapter's base model cannot be loaded.
    """
    with without_progress_bars():
        if is_adapter_folder(folder):
            return _load_adapted(folder, attention, base_model, dtype)
        return load_model(str(folder), attention, "auto", saved=True)


def merge_adapter_folder(
    folder: Path, into: Path, base_model: str | None = None, dtype: torch.dtype | None = None
) -> None:
    """Merge a saved adapter into its base model and write the plain model and its tokenizer.

    The base model is loaded again, so it must fit in memory beside models that are already loaded.

    Args:
        folder: folder of an adapter with its tokenizer.
        into: folder of the merged model; created if needed.
        base_model: where the adapter's base model is now; None: where it was.
        dtype: dtype of the merged model; None: that of the adapter.

    Raises:
        ValueError: the folder holds no adapter, or its base model cannot be loaded.
    """
    if not is_adapter_folder(folder):
        raise ValueError(f"{folder} holds no adapter to merge; give the folder of a run with lora_r")
    with without_progress_bars():
        merged = _load_adapted(folder, "eager", base_model, dtype).merge_and_unload(safe_merge=True)
        merged.save_pretrained(into)
        load_pretrained(AutoTokenizer, str(folder), saved=True).save_pretrained(into)


Directions = Callable[[Sequence[str], int], np.ndarray | None]
"""``(tokens, width) -> float [tokens, width or fewer]``; see :func:`start_added_tokens`. None: at random."""


def _start(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    added: Sequence[str],
    new: range,
    directions: Directions | None,
    seed: int,
) -> None:
    """Set the rows of the index tokens that were added to the tokenizer, and any other row that the model lacked."""
    vocabulary = tokenizer.get_vocab()
    ids = [vocabulary[token] for token in added]
    others = sorted(set(new) - set(ids))
    if not ids and not others:
        return
    known = sorted(set(vocabulary.values()) - set(ids) - set(new))
    given = directions(added, model.get_input_embeddings().embedding_dim) if directions and ids else None
    if given is not None:
        given = np.concatenate([given, np.zeros((len(others), given.shape[1]))])
    start_added_tokens(model, [*ids, *others], known, given, seed)


def load_backbone(
    settings: BackboneSettings,
    scratch: ScratchSettings,
    index_tokens: Sequence[str],
    texts: Callable[[], Iterable[str]],
    seed: int,
    dtype: torch.dtype = torch.float32,
    lora: LoraSettings | None = None,
    directions: Directions | None = None,
) -> Backbone:
    """Load or initialise the model, add the index tokens to its vocabulary, and add LoRA if configured.

    Under LoRA the rows of all index tokens are trained, even if the base model already has them, and the rows of any
    other token that the base model had no row for.

    Args:
        settings: which model to load.
        scratch: sizes of a model that is initialised at random.
        index_tokens: every index token of every level.
        texts: returns the training texts of a tokenizer from scratch; called only if there is one.
        seed: seeds the initial weights.
        dtype: dtype of a pretrained model.
        lora: LoRA settings; None or without ``r``: all weights are trained.
        directions: returns where the rows of added tokens start; None: at random.

    Raises:
        ValueError: the model cannot be loaded, lacks weights, or lacks a target of LoRA.
        RunAborted: the model does not fit in memory.
    """
    if lora is not None and settings.base_model == SCRATCH:
        check_lora(lora, SCRATCH)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: Any
        if settings.base_model == SCRATCH:
            tokenizer: PreTrainedTokenizerBase = train_tokenizer(texts(), scratch.vocab_size)
            added = add_index_tokens(tokenizer, index_tokens)
            model = initialise(tokenizer, scratch, settings.attention, seed)
            new, origin = range(0), "initialised"
        else:
            model, tokenizer = _pretrained(settings.base_model, settings.attention, dtype)
            added = add_index_tokens(tokenizer, index_tokens)
            new = _extend_vocabulary(model, len(tokenizer), mean_resizing=False)
            origin = f"loaded from {settings.base_model}, {len(added)} new index tokens"
        _start(model, tokenizer, added, new, directions, seed)
        if lora is not None and lora.r is not None:
            vocabulary = tokenizer.get_vocab()
            model = add_lora(model, lora, [*(vocabulary[token] for token in index_tokens), *new])
    name = type(model.get_base_model() if isinstance(model, PeftModel) else model).__name__
    count = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    share = "" if trained == count else f", {trained:,} trainable"
    getLogger().info(f"Language model: {name}, {count:,} parameters{share}, vocabulary {len(tokenizer):,}, {origin}")
    return Backbone(model, tokenizer)
