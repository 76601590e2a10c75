"""Tiny tuned runs on disk, for tests that only read them or copy them first."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_lcrec import run_recbole_lcrec
from tests.conftest import SHOP, TINY, write_index, write_shop

WORDED: dict[str, Any] = {"tuning_seq_format": "instruction", "epochs": 1, "use_gpu": False}


def make_run(root: Path, given_index: bool = True, **changes: Any) -> Path:
    """Tunes a tiny model on the shop under ``root / "data"``; returns the run's folder."""
    data = root / "data"
    if not data.exists():
        write_shop(data)
        if given_index:
            write_index(data)
    values = {**TINY, **WORDED, "data_path": str(data), "checkpoint_dir": str(root / "saved"), **changes}
    root.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        return Path(run_recbole_lcrec("LCRec", SHOP, config_dict=values)["saved_model_file"])


def copied(run: Path, into: Path) -> Path:
    """A copy of a run that a test may damage."""
    return Path(shutil.copytree(run, into / run.name))


@contextmanager
def no_model_calls() -> Iterator[None]:
    """Any forward pass of a module is an error."""

    def called(*_: Any) -> None:
        raise AssertionError("the model was called")

    handle = torch.nn.modules.module.register_module_forward_pre_hook(called)
    try:
        yield
    finally:
        handle.remove()


def exhaustive_scores(model: Any, tokenizer: Any, prompt: str, items: list[str]) -> dict[str, float]:
    """Log-probability of each item's index after a prompt, by one plain forward pass each; items as index texts."""
    start = tokenizer(prompt)["input_ids"]
    start = start[:-1] if start[-1] == tokenizer.eos_token_id else start
    scores = {}
    for item in items:
        ids = tokenizer(item, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([start + ids])).logits[0].float().log_softmax(-1)
        scores[item] = sum(float(logits[len(start) - 1 + place, token]) for place, token in enumerate(ids))
    return scores
