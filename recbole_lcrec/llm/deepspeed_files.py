"""Read DeepSpeed configuration files and check them against the settings.

A DeepSpeed file defines how a model is split across processes and memory; batch size, optimizer, schedule and precision
come from the settings.
"""

from __future__ import annotations

import copy
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from recbole_lcrec.config.settings import TuningSettings
from recbole_lcrec.llm.deepspeed_environment import deepspeed_accelerator
from recbole_lcrec.llm.devices import resolve_precision
from recbole_lcrec.runtime.processes import process_count

__all__ = ["check_deepspeed", "deepspeed_config", "uses_deepspeed"]

_ACCUMULATION = "gradient_accumulation_steps"
_BATCH = ("train_batch_size", "train_micro_batch_size_per_gpu", _ACCUMULATION)
_GATHER = "stage3_gather_16bit_weights_on_model_save"
_REMEDY = 'set it to "auto", or remove it'


def uses_deepspeed(name: str | None) -> bool:
    """Return whether a run uses DeepSpeed: if ``tuning_deepspeed`` names a file, or several processes run."""
    return name is not None or process_count() > 1


def deepspeed_config(name: str | None, folder: Path) -> dict[str, Any] | None:
    """Return the DeepSpeed configuration of a run, or None for a run without DeepSpeed.

    Entries that the settings define and the file omits become ``auto``, which transformers' Trainer fills in;
    DeepSpeed's own defaults would be a learning rate of 1e-3 and no gradient clipping.

    Args:
        name: a file, the name of one in ``folder`` (``zero2``), or None: zero2 if several processes run, else no
            DeepSpeed.
        folder: folder of the package's own files.

    Raises:
        ValueError: there is no such file, or it is not a JSON object.
    """
    if not uses_deepspeed(name):
        return None
    name = name or "zero2"
    own = folder / f"{name}.json"
    path = own if own.is_file() else Path(name)
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.json")))
        raise ValueError(f"tuning_deepspeed = {name!r} is neither a file nor one of {known}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as err:
        raise ValueError(f"tuning_deepspeed: {path} is not valid JSON: {err}") from err
    if not isinstance(content, dict):
        raise ValueError(f"tuning_deepspeed: {path} must hold a JSON object")
    return _with_auto(content)


def _with_auto(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content with ``auto`` for entries that the settings define; malformed sections are left unchanged."""
    whole = {**dict.fromkeys((*_BATCH, "gradient_clipping"), "auto"), **copy.deepcopy(content)}
    for name in ("bf16", "fp16"):
        if isinstance(section := whole.setdefault(name, {}), dict):
            section.setdefault("enabled", "auto")
    # DeepSpeed's own Adam is compiled on first use; PyTorch's needs no compiler
    params = whole.setdefault("optimizer", {"type": "AdamW", "params": {"torch_adam": True}})
    if isinstance(params, dict) and isinstance(params := params.setdefault("params", {}), dict):
        params.update({name: params.get(name, "auto") for name in ("lr", "weight_decay")})
    zero = whole.get("zero_optimization")
    if isinstance(zero, dict) and zero.get("stage") == 3:
        zero.setdefault(_GATHER, True)
    return whole


def check_deepspeed(
    content: dict[str, Any], settings: TuningSettings, max_grad_norm: float, path: Path | str, device: torch.device
) -> None:
    """Check that a DeepSpeed file does not contradict the settings and that DeepSpeed accepts it.

    Args:
        content: the file's content, as :func:`deepspeed_config` returns it.
        settings: the settings of the tuning.
        max_grad_norm: gradients are clipped to this norm; 0: no clipping.
        path: the file, for the message.
        device: the device to tune on, which decides ``tuning_precision = auto``.

    Raises:
        ValueError: an entry contradicts a setting, or DeepSpeed rejects the file; the message lists all problems.
    """
    problems = [*_contradictions(content, settings, max_grad_norm, device), *_rejections(content, device)]
    if problems:
        raise ValueError(f"tuning_deepspeed: {path} cannot be used:\n" + "\n".join(f"  - {each}" for each in problems))


def _entry(content: dict[str, Any], name: str) -> Any:
    """Return the value at a dotted name; ``auto`` if there is none."""
    value: Any = content
    for part in name.split("."):
        value = value.get(part, "auto") if isinstance(value, dict) else "auto"
    return value


def _contradictions(
    content: dict[str, Any], settings: TuningSettings, max_grad_norm: float, device: torch.device
) -> list[str]:
    """Return one sentence for each entry that contradicts a setting."""
    precision = resolve_precision(settings.precision, device)
    rows = (
        f"train_batch_size = {settings.batch_size} rows per process and step and tuning_accumulation_steps = "
        f"{settings.accumulation_steps} make an optimizer step's batch"
    )
    problems = [
        f"{name} = {value!r}, but {rows}, which is split here and not by DeepSpeed; {_REMEDY}"
        for name in _BATCH
        if (value := _entry(content, name)) != "auto" and not (name == _ACCUMULATION and value == 1)
    ]
    required = {
        "optimizer.params.lr": ("learning_rate", settings.learning_rate),
        "optimizer.params.weight_decay": ("weight_decay", settings.weight_decay),
        "gradient_clipping": ("clip_grad_norm", max_grad_norm),
    }
    for name, (key, ours) in required.items():
        if (value := _entry(content, name)) not in ("auto", ours):
            problems.append(f"{name} = {value!r}, but {key} = {ours!r}; {_REMEDY}")
    for name in ("bf16", "fp16"):
        value = _entry(content, f"{name}.enabled")
        if value not in ("auto", precision == name):
            setting = settings.precision if settings.precision == precision else f"auto, here {precision}"
            problems.append(f"{name}.enabled = {value!r}, but tuning_precision = {setting}; {_REMEDY}")
    if _entry(content, "torch_autocast.enabled") is True:
        problems.append(f"torch_autocast.enabled = True, but tuning_precision = {precision}; remove it")
    if "scheduler" in content:
        problems.append(f"scheduler is set, but tuning_scheduler = {settings.scheduler!r}; remove it")
    return problems + _optimizer_problems(content, max_grad_norm)


def _optimizer_problems(content: dict[str, Any], max_grad_norm: float) -> list[str]:
    """Return what makes the file's optimizer differ from the AdamW that the settings describe."""
    problems = []
    kind = _entry(content, "optimizer.type")
    if str(kind).lower() not in ("adamw", "adam") or _entry(content, "optimizer.params.adam_w_mode") is False:
        problems.append(f"optimizer.type = {kind!r}, but learning_rate and weight_decay are AdamW's; set 'AdamW'")
    for name, ours in {"betas": [0.9, 0.999], "eps": 1e-8}.items():
        if (value := _entry(content, f"optimizer.params.{name}")) not in ("auto", ours):
            problems.append(f"optimizer.params.{name} = {value!r}, but AdamW runs with {ours!r}; {_REMEDY}")
    if (value := _entry(content, "optimizer.params.max_grad_norm")) != "auto":
        problems.append(
            f"optimizer.params.max_grad_norm = {value!r}, but clip_grad_norm = {max_grad_norm!r}; remove it"
        )
    return problems


def _rejections(content: dict[str, Any], device: torch.device) -> list[str]:
    """Return what DeepSpeed or transformers would reject later, when the data are read and the model is loaded."""
    zero = content.get("zero_optimization")
    if not isinstance(zero, dict) or not isinstance(zero.get("stage"), int):
        return [f"zero_optimization = {zero!r} must be an object with a stage from 0 to 3"]
    problems = []
    if zero["stage"] == 3 and zero.get(_GATHER, True) is not True:
        problems.append(
            f"zero_optimization.{_GATHER} = {zero[_GATHER]!r}, but the whole model is saved; set it to true"
        )
    if zero["stage"] != 3 and zero.get("offload_param"):
        problems.append(f"zero_optimization.offload_param needs stage 3, not {zero['stage']}; remove it")
    with deepspeed_accelerator(device):
        deepspeed = import_module("deepspeed")
    # with a batch of one in place of the run's, DeepSpeed itself reads the rest of the file
    stand_in = {key: value for key, value in copy.deepcopy(content).items() if key not in _BATCH and value != "auto"}
    try:
        deepspeed.DeepSpeedConfig({**stand_in, "train_micro_batch_size_per_gpu": 1, _ACCUMULATION: 1})
    except import_module("pydantic").ValidationError as err:  # pydantic is installed with DeepSpeed
        problems += [
            f"{'.'.join(map(str, each['loc']))} = {each['input']!r}: DeepSpeed says {each['msg']!r}"
            for each in err.errors()
        ]
    except (deepspeed.DeepSpeedConfigError, AssertionError, AttributeError, KeyError, TypeError, ValueError) as err:
        problems.append(f"DeepSpeed cannot read it: {err}")
    return problems
