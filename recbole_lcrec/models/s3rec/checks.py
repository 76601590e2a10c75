"""S3-Rec's own values: its two stages, and the file between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recbole_lcrec.config.value_checks import integer, one_of, text

__all__ = ["stage_problems"]


def stage_problems(values: dict[str, Any]) -> list[str]:
    """Return the problems of S3Rec's two stages and its pre-trained file, one sentence each."""
    checks = {"train_stage": one_of("pretrain", "finetune"), "pretrain_epochs": integer(1), "save_step": integer(1)}
    problems = [
        f"{key} = {values[key]!r}: expected {expected}"
        for key, check in checks.items()
        if (expected := check(values[key]))
    ]
    stage, path = values["train_stage"], values["pre_model_path"]
    if stage == "finetune" and (text(path) or not Path(path).is_file()):
        problems.append(
            f"train_stage = 'finetune' starts from the file pre_model_path, and pre_model_path = {path!r} is no file: "
            "give the '...-pretrained.pth' that a run has saved, or leave train_stage at 'pretrain', which does both"
        )
    if stage == "pretrain" and path:
        problems.append(
            f"pre_model_path = {path!r} is read only with train_stage = 'finetune': set it, or leave the path"
        )
    return problems
