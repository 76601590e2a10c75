"""LoRA adapters (Hu et al., ICLR 2022).

They are set on a language model whose vocabulary was extended by index tokens.
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
    """Suppress a transformers warning about an attribute that peft uses, which users cannot fix."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        yield


def check_lora(settings: LoraSettings, base_model: str) -> None:
    """Check, before any weights are loaded, that LoRA can be used on the model and that its targets exist.

    Args:
        settings: the LoRA settings; without ``r`` nothing is checked.
        base_model: a name or path that ``backbone.check_base_model`` accepts.

    Raises:
        ValueError: the base model is initialised at random, or lacks a target.
    """
    if settings.r is None:
        return
    if base_model == SCRATCH:
        raise ValueError(
            f"lora_r = {settings.r} with base_model = {SCRATCH!r} would freeze random, untrained weights; "
            "remove lora_r, or use a pretrained base_model"
        )
    if settings.targets != "all-linear":
        with torch.device("meta"):  # the model's shape, without weights
            skeleton = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base_model))
        _checked_targets(skeleton, settings.targets)


def _linear_modules(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Return the modules that LoRA can adapt by full name: linear layers except the output head."""
    head = model.get_output_embeddings()
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and module is not head
    }


def _checked_targets(model: PreTrainedModel, targets: str | Sequence[str]) -> dict[str, nn.Module]:
    """Return the modules that the targets name.

    Raises:
        ValueError: a target names no module.
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
                f"lora_targets: {type(model).__name__} has no linear module {target!r} in its layers, only "
                f"{', '.join(names)}{did_you_mean(target, names)}"
            )
        chosen |= found
    return chosen


def _name_of(model: PreTrainedModel, target: nn.Module) -> str:
    return next(name for name, module in model.named_modules() if module is target)


def _rows_can_train(module: nn.Module) -> bool:
    """Return whether peft can train single rows of the module; for a linear layer it would ignore a bias."""
    return isinstance(module, nn.Embedding) or (isinstance(module, nn.Linear) and module.bias is None)


def _vocabulary_training(model: PreTrainedModel, new_token_ids: Sequence[int]) -> dict[str, Any]:
    """Return peft's options that train the new tokens' rows, or a whole matrix where rows cannot be trained."""
    embedding: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()
    if head is None:
        raise ValueError(
            f"{type(model).__name__} has no output head, so index tokens cannot be trained; use another base_model"
        )
    tied = head.weight is embedding.weight
    if tied and not _rows_can_train(head):
        raise ValueError(
            f"{type(model).__name__} has an output head with a bias that shares its matrix with the input embedding, "
            "which peft cannot train by rows; remove lora_r, or use another base_model"
        )
    modules = [embedding] if tied else [embedding, head]
    ids = sorted(set(map(int, new_token_ids)))
    rows = {_name_of(model, each): ids for each in modules if _rows_can_train(each)}
    whole = [_name_of(model, each) for each in modules if not _rows_can_train(each)]
    return {"trainable_token_indices": rows or None, "modules_to_save": whole or None}


def add_lora(model: PreTrainedModel, settings: LoraSettings, new_token_ids: Sequence[int]) -> PeftModel:
    """Freeze a model, add low-rank matrices to its linear layers and make the new tokens' rows trainable.

    The update of a layer is ``alpha / r`` times the product of its two matrices. The second one is initialised with
    zeros, so the wrapped model returns the same logits at first. Rows of new tokens are trained in the input embedding
    and in the output head; tied matrices stay tied. All other rows are frozen, except where the output head has a bias
    (as in Phi and GPT-J): peft cannot train its rows, so the whole head is trained.

    The embedding's output requires a gradient, because its rows are trained, so gradient checkpointing reaches every
    layer. Trained weights are float32 even in a half-precision model, or small updates would be lost.

    Args:
        model: a model with an embedding row for every new token; it is changed.
        settings: the LoRA settings, with ``r``.
        new_token_ids: ids of the tokens that the base model was not trained on.

    Raises:
        ValueError: the model lacks a target or a token, or its head cannot be trained.
        RuntimeError: ``r`` is not set.
    """
    if settings.r is None:
        raise RuntimeError("lora_r is not set, so there is no adapter to add; call add_lora only with r")
    embedding: Any = model.get_input_embeddings()
    rows = embedding.weight.shape[0]
    invalid = [token for token in new_token_ids if not 0 <= token < rows]
    if invalid or not len(new_token_ids):
        raise ValueError(f"new_token_ids must be rows of the embedding, 0 to {rows - 1}; found {invalid or 'none'}")
    targets = _checked_targets(model, settings.targets)
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=sorted(targets),  # full names: a short one could match the head, or a module that is not linear
        fan_in_fan_out=all(isinstance(module, Conv1D) for module in targets.values()),
        task_type="CAUSAL_LM",
        **_vocabulary_training(model, new_token_ids),
    )
    with _without_deprecations():
        wrapped: Any = get_peft_model(model, config)
    return wrapped


def save_adapter(model: PeftModel, folder: Path, state_dict: Mapping[str, torch.Tensor] | None = None) -> None:
    """Write ``adapter_model.safetensors`` and ``adapter_config.json``, which plain peft can load.

    A base model in a folder is written as an absolute path, so that the adapter loads from any working directory. With
    the tokenizer in the same folder, peft extends the base model's vocabulary before it fills the new rows.

    Args:
        model: the adapted model.
        folder: an existing folder.
        state_dict: the model's full state where processes share it (DeepSpeed); None: it is taken from the model.
    """
    config = model.peft_config["default"]
    base = Path(str(config.base_model_name_or_path)).expanduser()
    if base.is_dir():
        config.base_model_name_or_path = str(base.resolve())
    # by default peft would save both vocabulary matrices whole, because an extended one looks trained
    model.save_pretrained(str(folder), state_dict=state_dict, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # a model card template without content


def is_adapter_folder(folder: Path) -> bool:
    """Return whether a folder holds an adapter, not a whole model."""
    return (folder / _CONFIG).is_file()


def adapter_base(folder: Path) -> str:
    """Return the name or path of the base model that an adapter was tuned on.

    Raises:
        ValueError: the adapter's configuration cannot be read or names no base model.
    """
    try:
        name = PeftConfig.from_pretrained(str(folder)).base_model_name_or_path
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise ValueError(f"{folder / _CONFIG} cannot be read as an adapter's configuration: {err}") from err
    if not name:
        raise ValueError(f"{folder / _CONFIG} does not name the model that it was tuned on; set base_model")
    return str(name)


def adapter_dtype(folder: Path) -> torch.dtype:
    """Return the dtype of an adapter's weights, which is float32 even for a half-precision base model.

    Raises:
        ValueError: the weights cannot be read.
    """
    try:
        with safe_open(str(folder / _WEIGHTS), framework="pt") as weights:
            return weights.get_tensor(next(iter(weights.keys()))).dtype
    except (OSError, SafetensorError, StopIteration) as err:
        raise ValueError(f"{folder / _WEIGHTS} cannot be read as an adapter's weights: {err}") from err


def attach_adapter(model: PreTrainedModel, folder: Path) -> PeftModel:
    """Attach a saved adapter to its base model, whose vocabulary has been extended to the tokenizer's.

    Raises:
        ValueError: the adapter was tuned on a model with other shapes or module names.
    """
    try:
        with _without_deprecations():
            wrapped = PeftModel.from_pretrained(model, str(folder))
    except (RuntimeError, ValueError, IndexError, KeyError) as err:
        raise ValueError(f"the adapter in {folder} does not fit {type(model).__name__}: {err}") from err
    return wrapped


def load_adapter_weights(model: PeftModel, folder: Path) -> None:
    """Load a saved adapter's weights into a model that has the same adapter; the base model is not read again.

    Raises:
        ValueError: the folder's adapter is a different one, or cannot be read.
    """
    adapter_dtype(folder)  # raises on unreadable weights
    weights = load_peft_weights(str(folder), device="cpu")
    expected = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    if expected != set(weights):
        key = sorted(expected ^ set(weights))[0]
        raise ValueError(f"the adapter in {folder} does not match this model's adapter: only one of them has {key!r}")
    try:
        set_peft_model_state_dict(model, weights)
    except RuntimeError as err:
        raise ValueError(f"the adapter in {folder} does not match this model's adapter: {err}") from err
