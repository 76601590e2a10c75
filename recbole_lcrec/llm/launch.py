"""What tuning runs on: number formats, DeepSpeed's configuration and its environment.

Knows devices, DeepSpeed files and the settings' names for them. Refuses to know models, instructions and the training
loop.
"""

from __future__ import annotations

import json
import os
import socket
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from recbole_lcrec.processes import process_count

__all__ = [
    "deepspeed_asked",
    "deepspeed_config",
    "prepare_launch",
    "require_one_gpu",
    "resolve_precision",
    "weight_dtype",
]


def resolve_precision(precision: str, device: torch.device) -> str:
    """fp32, bf16 or fp16; ``auto`` takes bf16 on a GPU that computes in it, else fp32.

    Raises:
        ValueError: fp16 without a GPU.
    """
    if precision == "fp16" and device.type != "cuda":
        raise ValueError("tuning_precision = 'fp16' needs a GPU; use fp32 or bf16 here")
    if precision != "auto":
        return precision
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def deepspeed_asked(name: str | None) -> bool:
    """Whether DeepSpeed trains: when a file is named, or several processes run."""
    return name is not None or process_count() > 1


def weight_dtype(precision: str, device: torch.device, deepspeed: bool) -> torch.dtype:
    """The number format to load weights in: DeepSpeed keeps its own float32 copies, PyTorch alone trains on float32."""
    resolved = resolve_precision(precision, device)
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(resolved, torch.float32) if deepspeed else torch.float32


def deepspeed_config(name: str | None, folder: Path) -> dict[str, Any] | None:
    """The DeepSpeed configuration to train with, or None for training without DeepSpeed.

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
    return content


def prepare_launch(device: torch.device) -> None:
    """What DeepSpeed reads from the environment: the accelerator, and a rendezvous for a single process."""
    if device.type != "cuda":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        # DeepSpeed would compile an all-reduce over shared memory for a minute; gloo does as well for a few processes
        compatible = import_module("deepspeed.ops").__compatible_ops__
        compatible.update({name: False for name in compatible if "shm" in name})
    if "RANK" in os.environ:
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))


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
