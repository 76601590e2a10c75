"""Eight instructions, and settings for tuning a tiny model on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from recbole_lcrec.config.settings import TuningSettings
from recbole_lcrec.instructions.templates import Instruction
from recbole_lcrec.llm.finetune import TuningRun

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Source:
    """Eight instructions of unequal length whose wording changes with the epoch."""

    def size(self, epoch: int) -> int:
        return 8

    def instruction(self, epoch: int, datum: int) -> Instruction:
        words = "after the lamp " * (datum % 3 + 1)
        return Instruction(f"{epoch} {words}<a_{datum % 4}><b_{datum % 3}>", f"<a_{(datum + 1) % 4}>" * (datum % 2 + 1))


def tuning_settings(**changes: Any) -> TuningSettings:
    """Settings for two epochs of four rows per step at a constant learning rate, with changes."""
    values: dict[str, Any] = {
        "tasks": ("seq",),
        "samples_per_task": None,
        "seq_format": "instruction",
        "index_start": "random",
        "stream_epochs": 0,
        "template_file": None,
        "text_tokens": 40,
        "general_file": None,
        "max_length": 64,
        "batch_tokens": None,
        "accumulation_steps": 1,
        "scheduler": "constant",
        "warmup_ratio": 0.0,
        "precision": "fp32",
        "deepspeed": None,
        "gradient_checkpointing": False,
        "workers": 0,
        "checkpoint_steps": None,
        "resume": None,
        "epochs": 2,
        "batch_size": 4,
        "learning_rate": 0.01,
        "weight_decay": 0.0,
        "valid_sample_users": None,
    }
    return TuningSettings(**{**values, **changes})


def tuning_run(settings: TuningSettings, source: Any = None, **changes: Any) -> TuningRun:
    """Tuning on the CPU without DeepSpeed, with changes."""
    values = {"source": source or Source(), "deepspeed": None, "device": CPU, "seed": 5, "max_grad_norm": 1.0}
    return TuningRun(settings=settings, **{**values, **changes})
