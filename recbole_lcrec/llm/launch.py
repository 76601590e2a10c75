"""What tuning runs on: number formats, DeepSpeed's configuration and its environment.

Knows devices, DeepSpeed files and the settings' names for them. Refuses to know models, instructions and the training
loop. A DeepSpeed file says how a model is divided; what is trained, and how fast, the settings say.
"""

from __future__ import annotations

import copy
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from recbole_lcrec.config.settings import TuningSettings
from recbole_lcrec.runtime.processes import process_count

__all__ = [
    "check_deepspeed",
    "deepspeed_asked",
    "deepspeed_config",
    "launched",
    "require_one_gpu",
    "resolve_precision",
    "weight_dtype",
]

_ACCUMULATION = "gradient_accumulation_steps"
_BATCH = ("train_batch_size", "train_micro_batch_size_per_gpu", _ACCUMULATION)
_GATHER = "stage3_gather_16bit_weights_on_model_save"
_REMEDY = 'write "auto", or leave it out'


def resolve_precision(precision: str, device: torch.device) -> str:
    """fp32, bf16 or fp16; ``auto`` takes bf16 on a GPU that computes in it, else fp32.

    Raises:
        ValueError: fp16 without a GPU.
    """
    if precision == "fp16" and device.type != "cuda":
        raise ValueError("tuning_precision = 'fp16' needs a GPU; use fp32 or bf16 here")
    if precision != "auto":
        return precision
    # PyTorch counts a slow emulation as support unless told otherwise
    native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if native else "fp32"


def deepspeed_asked(name: str | None) -> bool:
    """Whether DeepSpeed trains: when a file is named, or several processes run."""
    return name is not None or process_count() > 1


def weight_dtype(precision: str, device: torch.device, deepspeed: bool, lora: bool = False) -> torch.dtype:
    """The number format to load a pretrained model's weights in.

    Weights that an optimizer moves need float32, or updates smaller than half precision resolves are lost. DeepSpeed
    keeps float32 copies of its own; under LoRA the loaded weights stay as they are, and peft holds the adapter in
    float32 beside them. Both can load in the half precision that the tuning computes in, at half the memory.

    Args:
        precision: ``tuning_precision``.
        device: where the model is tuned.
        deepspeed: whether DeepSpeed trains.
        lora: whether an adapter is trained and the loaded weights are frozen.
    """
    resolved = resolve_precision(precision, device)
    halves = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return halves.get(resolved, torch.float32) if deepspeed or lora else torch.float32


def deepspeed_config(name: str | None, folder: Path) -> dict[str, Any] | None:
    """The DeepSpeed configuration to train with, or None for training without DeepSpeed.

    What the settings decide and the file leaves out becomes ``auto``, which transformers' Trainer fills in: DeepSpeed's
    own defaults there are a learning rate of 1e-3 and no gradient clipping.

    Args:
        name: a file, the name of one in ``folder`` (``zero2``), or None: zero2 when several processes run, else none.
        folder: holds the package's own files.

    Raises:
        ValueError: there is no such file, or it is no JSON object.
    """
    if not deepspeed_asked(name):
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
    """The content with ``auto`` wherever the settings decide; sections of the wrong shape are left to the check."""
    whole = {**dict.fromkeys((*_BATCH, "gradient_clipping"), "auto"), **copy.deepcopy(content)}
    for name in ("bf16", "fp16"):
        if isinstance(section := whole.setdefault(name, {}), dict):
            section.setdefault("enabled", "auto")
    # DeepSpeed's own Adam is compiled when it is first used; PyTorch's needs no compiler
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
    """Makes sure that a DeepSpeed file leaves to the settings what they decide, and that DeepSpeed can read it.

    Args:
        content: of the file, as :func:`deepspeed_config` returns it.
        settings: how to tune.
        max_grad_norm: gradients are scaled down to this norm; 0 leaves them.
        path: names the file in the message.
        device: where the model is tuned; it settles ``tuning_precision = auto``.

    Raises:
        ValueError: names every entry that contradicts a setting, with both values, and what DeepSpeed refuses.
    """
    problems = [*_contradictions(content, settings, max_grad_norm, device), *_refusals(content, device)]
    if problems:
        raise ValueError(f"tuning_deepspeed: {path} cannot be used:\n" + "\n".join(f"  - {each}" for each in problems))


def _entry(content: dict[str, Any], name: str) -> Any:
    """The value at a dotted name; ``auto`` where there is none."""
    value: Any = content
    for part in name.split("."):
        value = value.get(part, "auto") if isinstance(value, dict) else "auto"
    return value


def _contradictions(
    content: dict[str, Any], settings: TuningSettings, max_grad_norm: float, device: torch.device
) -> list[str]:
    """One sentence for every explicit entry that a setting decides otherwise."""
    precision = resolve_precision(settings.precision, device)
    rows = (
        f"train_batch_size = {settings.batch_size} rows per process and step and tuning_accumulation_steps = "
        f"{settings.accumulation_steps} make an optimizer step's batch"
    )
    problems = [
        f"{name} = {value!r}, but {rows}, which is parted here and not by DeepSpeed; {_REMEDY}"
        for name in _BATCH
        if (value := _entry(content, name)) != "auto" and not (name == _ACCUMULATION and value == 1)
    ]
    decided = {
        "optimizer.params.lr": ("learning_rate", settings.learning_rate),
        "optimizer.params.weight_decay": ("weight_decay", settings.weight_decay),
        "gradient_clipping": ("clip_grad_norm", max_grad_norm),
    }
    for name, (key, ours) in decided.items():
        if (value := _entry(content, name)) not in ("auto", ours):
            problems.append(f"{name} = {value!r}, but {key} = {ours!r}; {_REMEDY}")
    for name in ("bf16", "fp16"):
        value = _entry(content, f"{name}.enabled")
        if value not in ("auto", precision == name):
            asked = settings.precision if settings.precision == precision else f"auto, here {precision}"
            problems.append(f"{name}.enabled = {value!r}, but tuning_precision = {asked}; {_REMEDY}")
    if _entry(content, "torch_autocast.enabled") is True:
        problems.append(f"torch_autocast.enabled = True, but tuning_precision = {precision}; leave it out")
    if "scheduler" in content:
        problems.append(f"scheduler is set, but tuning_scheduler = {settings.scheduler!r}; leave it out")
    return problems + _optimizer_problems(content, max_grad_norm)


def _optimizer_problems(content: dict[str, Any], max_grad_norm: float) -> list[str]:
    """What keeps the file's optimizer from being the AdamW that the settings are for."""
    problems = []
    kind = _entry(content, "optimizer.type")
    if str(kind).lower() not in ("adamw", "adam") or _entry(content, "optimizer.params.adam_w_mode") is False:
        problems.append(f"optimizer.type = {kind!r}, but learning_rate and weight_decay are AdamW's; set 'AdamW'")
    for name, ours in {"betas": [0.9, 0.999], "eps": 1e-8}.items():
        if (value := _entry(content, f"optimizer.params.{name}")) not in ("auto", ours):
            problems.append(f"optimizer.params.{name} = {value!r}, but AdamW runs with {ours!r}; {_REMEDY}")
    if (value := _entry(content, "optimizer.params.max_grad_norm")) != "auto":
        problems.append(
            f"optimizer.params.max_grad_norm = {value!r}, but clip_grad_norm = {max_grad_norm!r}; leave it out"
        )
    return problems


def _refusals(content: dict[str, Any], device: torch.device) -> list[str]:
    """What DeepSpeed or transformers would stop at after the data are read and the model is loaded."""
    zero = content.get("zero_optimization")
    if not isinstance(zero, dict) or not isinstance(zero.get("stage"), int):
        return [f"zero_optimization = {zero!r} must be an object with a stage from 0 to 3"]
    problems = []
    if zero["stage"] == 3 and zero.get(_GATHER, True) is not True:
        problems.append(f"zero_optimization.{_GATHER} = {zero[_GATHER]!r}, but the model is saved whole; set true")
    if zero["stage"] != 3 and zero.get("offload_param"):
        problems.append(f"zero_optimization.offload_param needs stage 3, not {zero['stage']}; leave it out")
    with _accelerator(device):
        deepspeed = import_module("deepspeed")
    # a batch of one stands for ours, so that the rest of the file is read by DeepSpeed itself
    stand_in = {key: value for key, value in copy.deepcopy(content).items() if key not in _BATCH and value != "auto"}
    try:
        deepspeed.DeepSpeedConfig({**stand_in, "train_micro_batch_size_per_gpu": 1, _ACCUMULATION: 1})
    except import_module("pydantic").ValidationError as err:  # it comes with DeepSpeed
        problems += [
            f"{'.'.join(map(str, each['loc']))} = {each['input']!r}: DeepSpeed says {each['msg']!r}"
            for each in err.errors()
        ]
    except (deepspeed.DeepSpeedConfigError, AssertionError, AttributeError, KeyError, TypeError, ValueError) as err:
        problems.append(f"DeepSpeed cannot read it: {err}")
    return problems


@contextmanager
def _accelerator(device: torch.device) -> Iterator[None]:
    """Tells DeepSpeed, which chooses once when it is imported, to leave alone a GPU that the run does not use.

    The environment is put back in the end, with all that others wrote into it meanwhile.
    """
    before = dict(os.environ)
    if device.type != "cuda":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _no_compiled_reduction(device: torch.device) -> Iterator[None]:
    """Keeps DeepSpeed from compiling an all-reduce over shared memory; gloo does as well for a few processes."""
    if device.type == "cuda":
        yield
        return
    compatible = import_module("deepspeed.ops").__compatible_ops__
    before = {name: value for name, value in compatible.items() if "shm" in name}
    compatible.update(dict.fromkeys(before, False))
    try:
        yield
    finally:
        compatible.update(before)


@contextmanager
def launched(device: torch.device) -> Iterator[None]:
    """Lets DeepSpeed train in this process: what it reads from the environment, and a rendezvous where there is none.

    A later run of the same Python process finds the environment, DeepSpeed's list of what it may compile and
    transformers' note of DeepSpeed's configuration as they were. Three things stay, which nobody can undo while a
    process lives: the accelerator that DeepSpeed chose when it was imported, what it made of its list when it opened
    its process group, and this group, which the processes still talk over and later runs use again.

    Args:
        device: where the model is tuned.
    """
    with _accelerator(device), _no_compiled_reduction(device):
        if "RANK" not in os.environ:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            single = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
            os.environ.update(single, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        try:
            yield
        finally:
            unset_hf_deepspeed_config()


def require_one_gpu(device: torch.device) -> None:
    """Refuses several GPUs in one process, which transformers' Trainer would share in its own, slower way.

    Raises:
        ValueError: this process sees more than one GPU and no launcher started it.
    """
    if device.type == "cuda" and process_count() == 1 and torch.cuda.device_count() > 1:
        count = torch.cuda.device_count()
        raise ValueError(
            f"gpu_id names {count} GPUs for one process; start one process each with "
            f"torchrun --nproc_per_node {count}, or name one GPU"
        )
