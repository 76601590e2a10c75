"""LoRA on a base model in bf16: trained weights are float32, and scoring needs no autocast."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from recbole_lcrec.config.settings import LoraSettings
from recbole_lcrec.llm.adapters import add_lora
from recbole_lcrec.llm.backbone import Backbone, load_saved, merge_adapter_folder
from recbole_lcrec.llm.finetune import EpochReport, finetune
from tests.llm.plain_tuning import tuning_run, tuning_settings


@pytest.mark.parametrize("tied", [False, True])
def test_lora_on_a_base_in_bf16(backbone: Backbone, tmp_path: Path, tied: bool) -> None:
    base = copy.deepcopy(backbone.model)
    if tied:
        base.config.tie_word_embeddings = True
        base.lm_head.weight = base.model.embed_tokens.weight
    base = base.to(torch.bfloat16)
    base.save_pretrained(tmp_path / "base")
    base.name_or_path = str(tmp_path / "base")
    new = backbone.tokenizer.convert_tokens_to_ids(["<a_0>", "<a_1>", "<a_2>", "<a_3>", "<b_0>", "<b_1>", "<b_2>"])
    model = add_lora(base, LoraSettings(r=2, alpha=4, dropout=0.0, targets="all-linear", merge=False), new)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {torch.bfloat16}
    losses = []

    def after_epoch(report: EpochReport) -> bool:
        losses.append(report.loss)
        report.save(tmp_path / "saved")
        return False

    (tmp_path / "saved").mkdir()
    adapted = Backbone(model, backbone.tokenizer)
    finetune(adapted, tuning_run(tuning_settings(precision="bf16", epochs=6)), after_epoch)
    assert losses[-1] < losses[0]
    ids = torch.tensor([[3, 4, 5, *new]])
    with torch.no_grad():
        trained = model.eval()(ids).logits.float()
        loaded = load_saved(tmp_path / "saved", "sdpa", dtype=torch.bfloat16).eval()(ids).logits.float()
    assert torch.equal(trained, loaded)
    merge_adapter_folder(tmp_path / "saved", tmp_path / "merged", dtype=torch.bfloat16)
    with torch.no_grad():
        merged = load_saved(tmp_path / "merged", "sdpa").eval()(ids).logits.float()
    assert torch.allclose(merged, trained, atol=0.1)  # bf16 keeps 8 bits
