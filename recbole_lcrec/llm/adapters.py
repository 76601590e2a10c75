"""Low-rank adapters (LoRA; Hu et al., ICLR 2022) on a language model whose vocabulary has grown by index tokens.

Knows peft, and which modules and rows of a model train. Refuses to know how base models are found, how they are tuned
and which tokens are new.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import (
    LoraConfig,
    PeftConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    load_peft_weights,
    set_peft_model_state_dict,
)
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from recbole_lcrec.config.settings import SCRATCH, LoraSettings
from recbole_lcrec.config.values import did_you_mean

__all__ = [
    "adapter_base",
    "adapter_dtype",
    "add_lora",
    "attach_adapter",
    "check_lora",
    "is_adapter_folder",
    "load_adapter_weights",
    "save_adapter",
]

_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"


@contextmanager
def _without_deprecations() -> Iterator[None]:
    """Without a warning of transformers about how peft asks it for an attribute: the user cannot mend that."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        yield


def check_lora(settings: LoraSettings, base_model: str) -> None:
    """Makes sure, before any weights are loaded, that LoRA suits the model and its targets exist.

    Args:
        settings: LoRA; without ``r`` there is nothing to check.
        base_model: a name or path that ``backbone.check_base_model`` has let through.

    Raises:
        ValueError: the base model is initialised from nothing, or lacks a target.
    """
    if settings.r is None:
        return
    if base_model == SCRATCH:
        raise ValueError(
            f"lora_r = {settings.r} with base_model = {SCRATCH!r} would freeze weights that nobody has trained; "
            "leave lora_r out, or name a pretrained base_model"
        )
    if settings.targets != "all-linear":
        with torch.device("meta"):  # the model's shape alone, no weights
            skeleton = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base_model))
        _checked_targets(skeleton, settings.targets)


def _linear_modules(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Full name -> module of everything that LoRA can go beside: linear layers except the output head."""
    head = model.get_output_embeddings()
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and module is not head
    }


def _checked_targets(model: PreTrainedModel, targets: str | Sequence[str]) -> dict[str, nn.Module]:
    """The modules that the targets name.

    Raises:
        ValueError: a target names none.
    """
    linear = _linear_modules(model)
    if targets == "all-linear":
        return linear
    chosen: dict[str, nn.Module] = {}
    for target in targets:
        found = {name: module for name, module in linear.items() if f".{name}".endswith(f".{target}")}
        if not found:
            names = sorted({name.rpartition(".")[2] for name in linear})
            raise ValueError(
                f"lora_targets: {type(model).__name__} has no linear module {target!r} within its layers, but "
                f"{', '.join(names)}{did_you_mean(target, names)}"
            )
        chosen |= found
    return chosen


def _name_of(model: PreTrainedModel, wanted: nn.Module) -> str:
    return next(name for name, module in model.named_modules() if module is wanted)


def _rows_can_train(module: nn.Module) -> bool:
    """Whether peft can train rows of the module: it computes ``x W`` of a linear layer and leaves a bias out."""
    return isinstance(module, nn.Embedding) or (isinstance(module, nn.Linear) and module.bias is None)


def _vocabulary_training(model: PreTrainedModel, new_token_ids: Sequence[int]) -> dict[str, Any]:
    """How peft trains the new tokens: rows of embedding and head, or those of the two whole where rows cannot."""
    embedding: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()
    if head is None:
        raise ValueError(f"{type(model).__name__} has no output head that LoRA could be fitted around")
    tied = head.weight is embedding.weight
    if tied and not _rows_can_train(head):
        raise ValueError(
            f"{type(model).__name__} has an output head with a bias that shares its matrix with the input embedding, "
            "which peft cannot train by rows; leave lora_r out, or use another base_model"
        )
    modules = [embedding] if tied else [embedding, head]
    ids = sorted(set(map(int, new_token_ids)))
    rows = {_name_of(model, each): ids for each in modules if _rows_can_train(each)}
    whole = [_name_of(model, each) for each in modules if not _rows_can_train(each)]
    return {"trainable_token_indices": rows or None, "modules_to_save": whole or None}


def add_lora(model: PreTrainedModel, settings: LoraSettings, new_token_ids: Sequence[int]) -> PeftModel:
    """Freezes a model, puts low-rank matrices beside its linear layers and lets the new tokens' rows train.

    The update of a layer is ``alpha / r`` times the product of its two matrices; the second starts at zero, so the
    wrapped model gives the same logits at first. Rows of new tokens train in the input embedding and in the output
    head; where the two are one matrix they stay so. All other rows are frozen. Only an output head with a bias of its
    own (as in Phi and GPT-J), which peft cannot train by rows, trains whole, old rows included.

    The embedding's output needs a gradient, because its rows train, so gradient checkpointing reaches every layer.
    What trains is held in float32 beside a model in half precision, or small updates would be lost.

    Args:
        model: with an embedding row for every new token; it is changed.
        settings: with ``r``.
        new_token_ids: ids of the tokens that the base model has not learned.

    Raises:
        ValueError: the model lacks a target or a token, or its head cannot be trained.
        RuntimeError: ``r`` is not set.
    """
    if settings.r is None:
        raise RuntimeError("lora_r is not set, so there is nothing to add")
    embedding: Any = model.get_input_embeddings()
    rows = embedding.weight.shape[0]
    beyond = [token for token in new_token_ids if not 0 <= token < rows]
    if beyond or not len(new_token_ids):
        raise ValueError(f"new_token_ids must name some of the {rows} embedding rows, found {beyond or 'none'}")
    targets = _checked_targets(model, settings.targets)
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=sorted(targets),  # full names: a short one could reach the head, or what is not linear
        fan_in_fan_out=all(isinstance(module, Conv1D) for module in targets.values()),
        task_type="CAUSAL_LM",
        **_vocabulary_training(model, new_token_ids),
    )
    with _without_deprecations():
        wrapped: Any = get_peft_model(model, config)
    return wrapped


def save_adapter(model: PeftModel, folder: Path, state_dict: Mapping[str, torch.Tensor] | None = None) -> None:
    """Writes ``adapter_model.safetensors`` and ``adapter_config.json``, which plain peft reads.

    The base model's place is written as an absolute path if it is a folder, so that the adapter loads from anywhere.
    With the tokenizer in the same folder, peft gives the base model the rows that it lacks before it fills them.

    Args:
        model: the adapted model.
        folder: existing.
        state_dict: the model's full state where processes share it (DeepSpeed); None: it is taken from the model.
    """
    config = model.peft_config["default"]
    base = Path(str(config.base_model_name_or_path)).expanduser()
    if base.is_dir():
        config.base_model_name_or_path = str(base.resolve())
    # without False, peft would store both vocabulary matrices whole: it takes grown ones for trained
    model.save_pretrained(str(folder), state_dict=state_dict, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # a form of a model card with nothing filled in


def is_adapter_folder(folder: Path) -> bool:
    """Whether a folder holds an adapter, not a whole model."""
    return (folder / _CONFIG).is_file()


def adapter_base(folder: Path) -> str:
    """The base model, name or path, that an adapter was tuned on.

    Raises:
        ValueError: the adapter's configuration cannot be read or names none.
    """
    try:
        name = PeftConfig.from_pretrained(str(folder)).base_model_name_or_path
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise ValueError(f"{folder / _CONFIG} cannot be read as an adapter's configuration: {err}") from err
    if not name:
        raise ValueError(f"{folder / _CONFIG} does not name the model that it was tuned on; name it by base_model")
    return str(name)


def adapter_dtype(folder: Path) -> torch.dtype:
    """The number format of an adapter's weights, float32 also beside a base model in half precision.

    Raises:
        ValueError: the weights cannot be read.
    """
    try:
        with safe_open(str(folder / _WEIGHTS), framework="pt") as weights:
            return weights.get_tensor(next(iter(weights.keys()))).dtype
    except (OSError, SafetensorError, StopIteration) as err:
        raise ValueError(f"{folder / _WEIGHTS} cannot be read as an adapter's weights: {err}") from err


def attach_adapter(model: PreTrainedModel, folder: Path) -> PeftModel:
    """Puts a saved adapter on its base model, whose vocabulary has been grown to the tokenizer's.

    Raises:
        ValueError: the adapter was tuned on a model of other sizes or names.
    """
    try:
        with _without_deprecations():
            wrapped = PeftModel.from_pretrained(model, str(folder))
    except (RuntimeError, ValueError, IndexError, KeyError) as err:
        raise ValueError(f"the adapter in {folder} does not fit {type(model).__name__}: {err}") from err
    return wrapped


def load_adapter_weights(model: PeftModel, folder: Path) -> None:
    """Puts a saved adapter's weights into a model that has the same adapter; the base model is not read again.

    Raises:
        ValueError: the folder's adapter is another one, or cannot be read.
    """
    adapter_dtype(folder)  # raises on unreadable weights
    weights = load_peft_weights(str(folder), device="cpu")
    own = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    if own != set(weights):
        one = sorted(own ^ set(weights))[0]
        raise ValueError(f"the adapter in {folder} is not the one of this model: only one of them has {one!r}")
    try:
        set_peft_model_state_dict(model, weights)
    except RuntimeError as err:
        raise ValueError(f"the adapter in {folder} is not the one of this model: {err}") from err
