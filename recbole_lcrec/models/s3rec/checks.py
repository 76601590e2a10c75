"""Checks of S3-Rec's parameters.

Its two training stages, and the file of pre-trained weights.
"""

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
            f"train_stage = 'finetune' starts from the file pre_model_path, but pre_model_path = {path!r} does not "
            "exist: give the '...-pretrained.pth' of an earlier run, or keep train_stage = 'pretrain', which does both"
        )
    if stage == "pretrain" and path:
        problems.append(
            f"pre_model_path = {path!r} is read only with train_stage = 'finetune': set that, or remove pre_model_path"
        )
    return problems
