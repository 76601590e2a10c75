"""An interrupted tuning resumes to the same weights, and never from a different run's checkpoint."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

from recbole_lcrec.llm.backbone import Backbone
from recbole_lcrec.llm.checkpoints import Checkpoints, latest_checkpoint, read_progress
from recbole_lcrec.llm.finetune import EpochReport, finetune
from recbole_lcrec.llm.tuner import DivergedError
from tests.llm.plain_tuning import Source, tuning_run, tuning_settings

IDENTITY = {"item index": "abc", "vocabulary": 12, "epochs": 3}


class Killed(BaseException):
    """Interrupts a run."""


def tune(backbone: Backbone, folder: Path, resume: bool = False, kill_at: int = -1, **changes: Any) -> dict[int, float]:
    """Epoch -> loss; 3 epochs of 4 steps of 2 rows, a checkpoint after every step."""
    losses: dict[int, float] = {}
    progress = None
    checkpoints = Checkpoints(folder, 1, IDENTITY, lambda: {"losses": list(losses.items())})
    if resume:
        newest = latest_checkpoint(folder)
        assert newest is not None
        progress = read_progress(newest, IDENTITY)
        losses.update((int(epoch), loss) for epoch, loss in progress.caller["losses"])

    class Killing(Source):
        served = 0

        def instruction(self, epoch: int, datum: int) -> Any:
            Killing.served += 1
            if Killing.served == kill_at:
                raise Killed
            return super().instruction(epoch, datum)

    def after_epoch(report: EpochReport) -> bool:
        losses[report.epoch] = report.loss
        return False

    settings = tuning_settings(**{"epochs": 3, "batch_size": 2, "scheduler": "cosine", **changes})
    finetune(backbone, tuning_run(settings, Killing(), checkpoints=checkpoints, resume=progress), after_epoch)
    return losses


def with_dropout(backbone: Backbone) -> Backbone:
    for layer in backbone.model.model.layers:
        layer.mlp.register_forward_hook(lambda m, i, out: torch.nn.functional.dropout(out, 0.3, m.training))
    return backbone


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("kill_at", [4, 9, 21])
def test_resumed_run_equals_an_uninterrupted_one(backbone: Backbone, tmp_path: Path, kill_at: int, lora: bool) -> None:
    def fresh() -> Backbone:
        one = with_dropout(copy.deepcopy(backbone))
        if not lora:
            return one
        torch.manual_seed(0)
        adapted = get_peft_model(one.model, LoraConfig(r=2, target_modules=["q_proj"], lora_dropout=0.2))
        return Backbone(adapted, one.tokenizer)

    whole, broken = fresh(), fresh()
    expected = tune(whole, tmp_path / "whole")
    with pytest.raises(Killed):
        tune(broken, tmp_path / "broken", kill_at=kill_at)
    resumed = fresh()
    assert tune(resumed, tmp_path / "broken", resume=True) == expected
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_only_the_latest_complete_checkpoint_is_kept(backbone: Backbone, tmp_path: Path) -> None:
    tune(backbone, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["step-12"]
    (tmp_path / "run" / "step-99").mkdir()  # incomplete: it has no progress.json
    newest = latest_checkpoint(tmp_path / "run")
    assert newest is not None and newest.name == "step-12"
    assert latest_checkpoint(tmp_path / "none") is None


def test_failed_write_keeps_the_previous_checkpoint(backbone: Backbone, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "run", 1, IDENTITY, dict)
    with checkpoints.keep(1, {"loss": 1.0}, True, lambda: None) as folder:
        (folder / "weights").write_text("first", encoding="utf-8")
    with pytest.raises(Killed), checkpoints.keep(2, {"loss": 1.0}, True, lambda: None) as folder:
        (folder / "weights").write_text("second", encoding="utf-8")
        raise Killed
    newest = latest_checkpoint(tmp_path / "run")
    assert newest is not None and (newest / "weights").read_text(encoding="utf-8") == "first"


def test_checkpoint_of_a_different_run_is_rejected(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "run", 1, IDENTITY, dict)
    with checkpoints.keep(1, {"loss": 1.0}, True, lambda: None):
        pass
    newest = latest_checkpoint(tmp_path / "run")
    assert newest is not None
    assert read_progress(newest, IDENTITY).step == 1
    with pytest.raises(ValueError, match=r"item index was 'abc' and is 'xyz'.*remove resume"):
        read_progress(newest, {**IDENTITY, "item index": "xyz"})
    with pytest.raises(ValueError, match="vocabulary was 12 and is 13; epochs was 3 and is 4"):
        read_progress(newest, {**IDENTITY, "vocabulary": 13, "epochs": 4})
    assert json.loads((newest / "progress.json").read_text(encoding="utf-8"))["identity"] == IDENTITY


def test_half_deleted_checkpoint_is_ignored(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path / "run", 1, IDENTITY, dict)
    with checkpoints.keep(1, {"loss": 1.0}, True, lambda: None):
        pass

    def die(*args: Any, **options: Any) -> None:
        raise Killed

    monkeypatch.setattr("recbole_lcrec.llm.checkpoints.shutil.rmtree", die)
    with pytest.raises(Killed):
        checkpoints.remove()
    assert (tmp_path / "run" / "step-1").is_dir() and latest_checkpoint(tmp_path / "run") is None


def test_non_finite_weights_do_not_replace_a_checkpoint(backbone: Backbone, tmp_path: Path) -> None:
    """Weights become infinite after the fifth step without affecting the loss."""
    broken = copy.deepcopy(backbone)
    steps = []

    def break_weights(module: Any, inputs: Any) -> None:
        steps.append(None)
        if len(steps) == 5:
            unused = broken.tokenizer.convert_tokens_to_ids("<b_2>")
            broken.model.model.embed_tokens.weight.data[unused, 0] = float("inf")

    class FewData(Source):
        def instruction(self, epoch: int, datum: int) -> Any:
            return super().instruction(epoch, 3 * (datum % 2))

    broken.model.register_forward_pre_hook(lambda module, inputs: break_weights(module, inputs))
    checkpoints = Checkpoints(tmp_path / "run", 1, IDENTITY, dict)
    settings = tuning_settings(epochs=3, batch_size=2)
    with pytest.raises(DivergedError, match="weights after the previous step is nan at step 5"):
        finetune(broken, tuning_run(settings, FewData(), checkpoints=checkpoints), lambda report: False)
    newest = latest_checkpoint(tmp_path / "run")
    assert newest is not None and newest.name == "step-4"
    weights = load_file(newest / "checkpoint-4" / "model.safetensors")
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights.values())
