"""DeepSpeed files: defaults that are filled in, and contradictions with the settings."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_lcrec.config.resources import properties_dir
from recbole_lcrec.config.settings import TuningSettings
from recbole_lcrec.config.values import read_yaml
from recbole_lcrec.llm.deepspeed_files import check_deepspeed, deepspeed_config, uses_deepspeed

CPU, GPU = torch.device("cpu"), torch.device("cuda")
FILLED = {
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "bf16": {"enabled": "auto"},
    "fp16": {"enabled": "auto"},
    "optimizer": {"type": "AdamW", "params": {"torch_adam": True, "lr": "auto", "weight_decay": "auto"}},
}


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")


def settings(**changes: Any) -> TuningSettings:
    values = read_yaml(properties_dir() / "model/LCRec.yaml")
    known: dict[str, Any] = {"epochs": 2, "learning_rate": 0.001, "train_batch_size": 4, "tuning_accumulation_steps": 2}
    known["tuning_precision"] = "fp32"
    return TuningSettings.from_config({**values, **known, **changes})


def check(tmp_path: Path, content: dict[str, Any], device: torch.device = CPU, **changes: Any) -> None:
    """Read and check a file with this content."""
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"zero_optimization": {"stage": 2}, **content}), encoding="utf-8")
    read = deepspeed_config(str(path), tmp_path)
    assert read is not None
    check_deepspeed(read, settings(**changes), 1.0, path, device)


def test_which_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zero2.json").write_text('{"zero_optimization": {"stage": 2}}', encoding="utf-8")
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    (tmp_path / "list.json").write_text("[]", encoding="utf-8")
    assert not uses_deepspeed(None) and deepspeed_config(None, tmp_path) is None
    expected = {**FILLED, "zero_optimization": {"stage": 2}}
    assert deepspeed_config("zero2", tmp_path) == expected
    assert deepspeed_config(str(tmp_path / "zero2.json"), tmp_path / "none") == expected
    with pytest.raises(ValueError, match="'zero9' is neither a file nor one of broken, list, zero2"):
        deepspeed_config("zero9", tmp_path)
    with pytest.raises(ValueError, match="not valid JSON"):
        deepspeed_config("broken", tmp_path)
    with pytest.raises(ValueError, match="JSON object"):
        deepspeed_config("list", tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert uses_deepspeed(None) and deepspeed_config(None, tmp_path) == expected


def test_entries_of_a_file_are_kept(tmp_path: Path) -> None:
    """Only missing entries are filled in; a split model is gathered to be saved."""
    mine = {
        "zero_optimization": {"stage": 3},
        "bf16": {"check_grad_overflow": False},
        "optimizer": {"type": "Adam", "params": {"lr": 0.5}},
        "gradient_clipping": 2.0,
    }
    (tmp_path / "mine.json").write_text(json.dumps(mine), encoding="utf-8")
    assert deepspeed_config("mine", tmp_path) == {
        **FILLED,
        "zero_optimization": {"stage": 3, "stage3_gather_16bit_weights_on_model_save": True},
        "bf16": {"check_grad_overflow": False, "enabled": "auto"},
        "optimizer": {"type": "Adam", "params": {"lr": 0.5, "weight_decay": "auto"}},
        "gradient_clipping": 2.0,
    }


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"optimizer": {"type": "AdamW", "params": {"lr": 0.001, "betas": [0.9, 0.999], "eps": 1e-8}}},
        {"gradient_accumulation_steps": 1, "gradient_clipping": 1.0, "bf16": {"enabled": False}},
        {"train_batch_size": "auto", "optimizer": {"type": "Adam", "params": {"weight_decay": 0.01}}},
        {"zero_optimization": {"stage": 0}},
        {"zero_optimization": {"stage": 3, "offload_param": {"device": "cpu"}, "reduce_bucket_size": "auto"}},
    ],
)
def test_files_that_agree_with_the_settings_pass(tmp_path: Path, content: dict[str, Any]) -> None:
    check(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"train_batch_size": 8}, ["train_batch_size = 8", "tuning_accumulation_steps = 2", '"auto"']),
        (
            {"train_micro_batch_size_per_gpu": 4},
            ["train_micro_batch_size_per_gpu = 4", "train_batch_size = 4", '"auto"'],
        ),
        ({"gradient_accumulation_steps": 2}, ["gradient_accumulation_steps = 2", "remove it"]),
        ({"gradient_clipping": 0.5}, ["gradient_clipping = 0.5", "clip_grad_norm = 1.0"]),
        ({"bf16": {"enabled": True}}, ["bf16.enabled = True", "tuning_precision = fp32"]),
        ({"fp16": {"enabled": True}}, ["fp16.enabled = True", "tuning_precision = fp32"]),
        ({"torch_autocast": {"enabled": True}}, ["torch_autocast.enabled", "tuning_precision"]),
        ({"scheduler": {"type": "WarmupLR", "params": {}}}, ["scheduler", "tuning_scheduler = 'cosine'"]),
        ({"optimizer": {"type": "AdamW", "params": {"lr": 1}}}, ["optimizer.params.lr = 1", "learning_rate = 0.001"]),
        (
            {"optimizer": {"type": "AdamW", "params": {"weight_decay": 0}}},
            ["optimizer.params.weight_decay = 0", "weight_decay = 0.01"],
        ),
        ({"optimizer": {"type": "AdamW", "params": {"betas": [0.9, 0.95]}}}, ["betas = [0.9, 0.95]", "[0.9, 0.999]"]),
        ({"optimizer": {"type": "AdamW", "params": {"max_grad_norm": 1}}}, ["max_grad_norm = 1", "clip_grad_norm"]),
        ({"optimizer": {"type": "Lamb", "params": {}}}, ["optimizer.type = 'Lamb'", "AdamW"]),
        ({"optimizer": {"type": "Adam", "params": {"adam_w_mode": False}}}, ["optimizer.type = 'Adam'", "AdamW"]),
        ({"zero_optimization": {"stage": 4}}, ["stage = 4", "0, 1, 2, 3"]),
        ({"zero_optimization": {"stage": "auto"}}, ["zero_optimization", "stage from 0 to 3"]),
        ({"zero_optimization": True}, ["zero_optimization = True", "stage from 0 to 3"]),
        ({"zero_optimization": {"stage": 2, "overlap_com": True}}, ["overlap_com = True"]),
        ({"zero_optimization": {"stage": 2, "offload_param": {"device": "cpu"}}}, ["offload_param", "stage 3"]),
        (
            {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "gpu"}}},
            ["offload_optimizer.device = 'gpu'"],
        ),
        (
            {"zero_optimization": {"stage": 3, "stage3_gather_16bit_weights_on_model_save": False}},
            ["stage3_gather_16bit_weights_on_model_save = False", "set it to true"],
        ),
        ({"bf16": True}, ["DeepSpeed cannot read it"]),
        ({"optimizer": []}, ["optimizer.type", "DeepSpeed cannot read it"]),
    ],
)
def test_a_contradiction_names_entry_setting_and_remedy(
    tmp_path: Path, content: dict[str, Any], named: list[str]
) -> None:
    with pytest.raises(ValueError) as caught:
        check(tmp_path, content)
    message = str(caught.value)
    assert "mine.json" in message and message.startswith("tuning_deepspeed")
    assert all(words in message for words in named), message
    assert message.count("\n  - ") == (2 if content == {"optimizer": []} else 1), message


def test_all_contradictions_are_listed(tmp_path: Path) -> None:
    content = {
        "train_batch_size": 128,
        "gradient_accumulation_steps": 16,
        "optimizer": {"type": "AdamW", "params": {"lr": 0.01, "weight_decay": 0.5}},
        "scheduler": {"type": "WarmupLR"},
        "gradient_clipping": 3,
        "bf16": {"enabled": True},
        "zero_optimization": {"stage": 7},
    }
    with pytest.raises(ValueError) as caught:
        check(tmp_path, content)
    assert str(caught.value).count("\n  - ") == 8


def test_auto_precision_follows_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    check(tmp_path, {"bf16": {"enabled": True}}, device=GPU, tuning_precision="auto")
    with pytest.raises(ValueError, match=r"bf16\.enabled = True, but tuning_precision = auto, here fp32"):
        check(tmp_path, {"bf16": {"enabled": True}}, device=CPU, tuning_precision="auto")
    with pytest.raises(ValueError, match=r"bf16\.enabled = False, but tuning_precision = auto, here bf16"):
        check(tmp_path, {"bf16": {"enabled": False}}, device=GPU, tuning_precision="auto")


def test_fp16_uses_a_dynamic_loss_scale() -> None:
    """DeepSpeed's own defaults, which the files rely on: dynamic, starting at 2 ** 16, at least 1."""
    deepspeed = pytest.importorskip("deepspeed")
    for name in ("zero2", "zero2-offload", "zero3", "zero3-offload"):
        content = deepspeed_config(name, properties_dir() / "deepspeed")
        assert content is not None
        batch = {"train_batch_size": 1, "train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1}
        fp16 = deepspeed.DeepSpeedConfig(
            {**content, **batch, "fp16": {**content["fp16"], "enabled": True}}
        ).float16_config
        assert (fp16.loss_scale, fp16.initial_scale_power, fp16.min_loss_scale) == (0, 16, 1)


def test_checking_a_file_restores_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DS_ACCELERATOR")
    before = dict(os.environ)
    check(tmp_path, {})
    assert dict(os.environ) == before
