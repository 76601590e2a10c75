"""Tuning: the loss of Eq. 7 by hand, a fixed loss sequence, accumulation, and what it hands over."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_lcrec.instructions.templates import Instruction
from recbole_lcrec.llm.backbone import Backbone
from recbole_lcrec.llm.collator import InstructionCollator
from recbole_lcrec.llm.finetune import EpochReport, finetune
from recbole_lcrec.llm.launch import deepspeed_config, resolve_precision, weight_dtype
from recbole_lcrec.settings import TuningSettings

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Source:
    """Eight instructions of unequal length whose wording changes with the epoch."""

    def __len__(self) -> int:
        return 8

    def instruction(self, epoch: int, datum: int) -> Instruction:
        words = "after the lamp " * (datum % 3 + 1)
        return Instruction(f"{epoch} {words}<a_{datum % 4}><b_{datum % 3}>", f"<a_{(datum + 1) % 4}>" * (datum % 2 + 1))


def settings(**changes: Any) -> TuningSettings:
    values: dict[str, Any] = {
        "tasks": ("seq",),
        "seq_format": "instruction",
        "template_file": None,
        "max_length": 64,
        "accumulation_steps": 1,
        "scheduler": "constant",
        "warmup_ratio": 0.0,
        "precision": "fp32",
        "deepspeed": None,
        "gradient_checkpointing": False,
        "workers": 0,
        "epochs": 2,
        "batch_size": 4,
        "learning_rate": 0.01,
        "weight_decay": 0.0,
        "valid_sample_users": None,
    }
    return TuningSettings(**{**values, **changes})


def tune(backbone: Backbone, stop_after: int = 99, source: Any = None, **changes: Any) -> list[EpochReport]:
    reports: list[EpochReport] = []

    def after_epoch(report: EpochReport) -> bool:
        reports.append(report)
        return report.epoch >= stop_after

    finetune(
        backbone, Source() if source is None else source, settings(**changes), None, CPU, 5, 1.0, False, after_epoch
    )
    return reports


def test_first_epoch_loss_is_the_mean_over_response_tokens(backbone: Backbone) -> None:
    """One step over all rows: the reported loss is the negative log-likelihood per response token, computed plainly."""
    collate = InstructionCollator(backbone.tokenizer, 64)
    total, count = 0.0, 0
    backbone.model.eval()
    for datum in range(8):
        batch = collate([Source().instruction(0, datum)])
        with torch.no_grad():
            log_probs = backbone.model(batch["input_ids"]).logits.log_softmax(-1)
        for position, label in enumerate(batch["labels"][0].tolist()):
            if label >= 0:
                total -= float(log_probs[0, position - 1, label])
                count += 1
    (report,) = tune(backbone, epochs=1, batch_size=8)
    assert report.loss == pytest.approx(total / count, rel=1e-5)


def test_losses_fall_and_repeat_exactly(backbone: Backbone) -> None:
    again = copy.deepcopy(backbone)
    first, second = tune(backbone, epochs=6), tune(again, epochs=6)
    assert [r.epoch for r in first] == list(range(6))
    assert [r.loss for r in first] == [r.loss for r in second]
    assert first[-1].loss < 0.7 * first[0].loss


def test_accumulation_is_the_same_as_one_large_batch(backbone: Backbone) -> None:
    """Rows have unequal numbers of response tokens, so a mean of means would differ."""
    again = copy.deepcopy(backbone)
    whole = tune(backbone, batch_size=8, epochs=3)
    parts = tune(again, batch_size=2, accumulation_steps=4, epochs=3)
    assert [r.loss for r in parts] == pytest.approx([r.loss for r in whole], rel=1e-4)


def test_stopping_and_saving(backbone: Backbone, tmp_path: Path) -> None:
    seen: list[int] = []

    def after_epoch(report: EpochReport) -> bool:
        seen.append(report.epoch)
        report.save(tmp_path / f"{report.epoch}")
        return report.epoch == 1

    finetune(backbone, Source(), settings(epochs=5), None, CPU, 5, 1.0, False, after_epoch)
    assert seen == [0, 1]
    assert {p.name for p in (tmp_path / "1").iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}


def test_half_precision_is_off_while_an_epoch_is_judged_and_afterwards(backbone: Backbone) -> None:
    ids = torch.tensor([[3, 4, 5]])

    def plain_logits() -> torch.Tensor:
        with torch.no_grad():
            return backbone.model.eval().lm_head(backbone.model.model(ids).last_hidden_state)

    judged = []

    def after_epoch(report: EpochReport) -> bool:
        with torch.no_grad():
            judged.append(torch.equal(backbone.model.eval()(ids).logits, plain_logits()))
        return False

    finetune(backbone, Source(), settings(precision="bf16", epochs=2), None, CPU, 5, 1.0, False, after_epoch)
    assert judged == [True, True]
    with torch.no_grad():
        assert torch.equal(backbone.model.eval()(ids).logits, plain_logits())


def test_nothing_to_tune_on(backbone: Backbone) -> None:
    class Empty:
        def __len__(self) -> int:
            return 0

        def instruction(self, epoch: int, datum: int) -> Instruction:
            raise IndexError(datum)

    with pytest.raises(ValueError, match="nothing to tune on"):
        tune(backbone, source=Empty())


def test_precision() -> None:
    assert resolve_precision("auto", CPU) == "fp32"
    assert resolve_precision("bf16", CPU) == "bf16"
    with pytest.raises(ValueError, match="tuning_precision = 'fp16' needs a GPU"):
        resolve_precision("fp16", CPU)


def test_deepspeed_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zero2.json").write_text(json.dumps({"zero_optimization": {"stage": 2}}))
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert deepspeed_config(None, tmp_path) is None
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert deepspeed_config(None, tmp_path) == {"zero_optimization": {"stage": 2}}
    assert deepspeed_config(str(tmp_path / "zero2.json"), tmp_path / "none") == {"zero_optimization": {"stage": 2}}
    with pytest.raises(ValueError, match="'zero9' is neither a file nor one of broken, list, zero2"):
        deepspeed_config("zero9", tmp_path)
    with pytest.raises(ValueError, match="not valid JSON"):
        deepspeed_config("broken", tmp_path)
    with pytest.raises(ValueError, match="must hold a JSON object"):
        deepspeed_config("list", tmp_path)


def test_weights_are_loaded_in_half_precision_under_deepspeed_alone() -> None:
    assert weight_dtype("bf16", CPU, deepspeed=True) is torch.bfloat16
    assert weight_dtype("bf16", CPU, deepspeed=False) is torch.float32
    assert weight_dtype("auto", CPU, deepspeed=True) is torch.float32
