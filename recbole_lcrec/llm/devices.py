"""Number formats and devices for tuning."""

from __future__ import annotations

import torch

from recbole_lcrec.runtime.processes import process_count

__all__ = ["require_one_gpu", "resolve_precision", "weight_dtype"]


def resolve_precision(precision: str, device: torch.device) -> str:
    """Return fp32, bf16 or fp16; ``auto`` is bf16 on a GPU with native support for it, else fp32.

    Raises:
        ValueError: fp16 without a GPU.
    """
    if precision == "fp16" and device.type != "cuda":
        raise ValueError("tuning_precision = 'fp16' needs a GPU; use fp32 or bf16 here")
    if precision != "auto":
        return precision
    # by default PyTorch counts slow emulation as support
    native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if native else "fp32"


def weight_dtype(precision: str, device: torch.device, deepspeed: bool, lora: bool = False) -> torch.dtype:
    """Return the dtype to load a pretrained model's weights in.

    Weights that an optimizer updates must be float32, because half precision would lose small updates. DeepSpeed keeps
    its own float32 copies, and under LoRA the loaded weights are frozen while peft holds the adapter in float32. In
    both cases the weights can be loaded in the half precision of the tuning, with half the memory.

    Args:
        precision: ``tuning_precision``.
        device: the device to tune on.
        deepspeed: whether DeepSpeed is used.
        lora: whether an adapter is trained and the loaded weights are frozen.
    """
    resolved = resolve_precision(precision, device)
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return half.get(resolved, torch.float32) if deepspeed or lora else torch.float32


def require_one_gpu(device: torch.device) -> None:
    """Check that the process uses one GPU; with several, transformers would use its slower data parallelism.

    Raises:
        ValueError: this process sees more than one GPU and was not started by a launcher.
    """
    if device.type == "cuda" and process_count() == 1 and torch.cuda.device_count() > 1:
        count = torch.cuda.device_count()
        raise ValueError(
            f"gpu_id names {count} GPUs for one process; start one process per GPU with "
            f"torchrun --nproc_per_node {count}, or name one GPU"
        )
