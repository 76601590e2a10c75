"""Tuning: the loss of Eq. 7 by hand, reproducible losses, accumulation, and reports after epochs."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_lcrec.config.settings import BackboneSettings, LoraSettings, ScratchSettings
from recbole_lcrec.instructions.templates import Instruction
from recbole_lcrec.llm.adapters import is_adapter_folder
from recbole_lcrec.llm.backbone import Backbone, load_backbone, load_saved, merge_adapter_folder
from recbole_lcrec.llm.collator import InstructionCollator
from recbole_lcrec.llm.finetune import EpochReport, finetune
from recbole_lcrec.llm.tuner import DivergedError
from tests.llm.plain_tuning import Source, tuning_run, tuning_settings
from tests.tiny_llama import save_tiny_llama


def tune(backbone: Backbone, stop_after: int = 99, source: Any = None, **changes: Any) -> list[EpochReport]:
    reports: list[EpochReport] = []

    def after_epoch(report: EpochReport) -> bool:
        reports.append(report)
        return report.epoch >= stop_after

    settings = tuning_settings(**changes)
    finetune(backbone, tuning_run(settings, source), after_epoch)
    return reports


def plain_loss(backbone: Backbone, instructions: list[Instruction]) -> float:
    """Negative log-likelihood per response token, row by row, from all logits."""
    collate = InstructionCollator(backbone.tokenizer, 64)
    total, count = 0.0, 0
    backbone.model.eval()
    for instruction in instructions:
        batch = collate([instruction])
        with torch.no_grad():
            log_probs = backbone.model(batch["input_ids"][None]).logits.log_softmax(-1)
        for position, label in enumerate(batch["labels"].tolist()):
            if label >= 0:
                total -= float(log_probs[0, position - 1, label])
                count += 1
    return total / count


def test_first_epoch_loss_is_the_mean_over_response_tokens(backbone: Backbone) -> None:
    expected = plain_loss(backbone, [Source().instruction(0, datum) for datum in range(8)])
    (report,) = tune(backbone, epochs=1, batch_size=8)
    assert report.loss == pytest.approx(expected, rel=1e-5)


def test_report_counts_rows_and_tokens(backbone: Backbone) -> None:
    collate = InstructionCollator(backbone.tokenizer, 64)
    lengths = [len(collate([Source().instruction(0, datum)])["input_ids"]) for datum in range(8)]
    (report,) = tune(backbone, epochs=1, batch_size=4, batch_tokens=1)
    assert (report.rows, report.tokens, report.places) == (8, sum(lengths), sum(lengths))  # one pass per row
    assert report.peak_memory > 2**20
    assert "padding 0.0%" in report.in_words()


def test_losses_fall_and_are_reproducible(backbone: Backbone) -> None:
    again = copy.deepcopy(backbone)
    first, second = tune(backbone, epochs=6), tune(again, epochs=6)
    assert [r.epoch for r in first] == list(range(6))
    assert [r.loss for r in first] == [r.loss for r in second]
    assert first[-1].loss < 0.7 * first[0].loss


@pytest.mark.parametrize(
    "changes",
    [{"batch_size": 2, "accumulation_steps": 4}, {"batch_size": 8, "batch_tokens": 24}],
    ids=["accumulated", "split by length"],
)
def test_split_steps_equal_one_large_batch(backbone: Backbone, changes: dict[str, int]) -> None:
    """Rows have unequal numbers of response tokens, so a mean of means would differ."""
    again = copy.deepcopy(backbone)
    whole = tune(backbone, batch_size=8, batch_tokens=10_000, epochs=3)
    parts = tune(again, **changes, epochs=3)
    assert [r.loss for r in parts] == pytest.approx([r.loss for r in whole], rel=1e-4)


def test_workers_do_not_change_losses(backbone: Backbone) -> None:
    again = copy.deepcopy(backbone)
    alone, with_workers = tune(backbone, epochs=2), tune(again, epochs=2, workers=2)
    assert [r.loss for r in alone] == [r.loss for r in with_workers]


def test_epochs_may_differ_in_size(backbone: Backbone) -> None:
    class Growing(Source):
        def size(self, epoch: int) -> int:
            return 3 + 5 * epoch

    first, second = tune(backbone, source=Growing(), epochs=2, batch_size=2)
    assert (first.rows, second.rows) == (3, 8)


def test_stopping_and_saving(backbone: Backbone, tmp_path: Path) -> None:
    seen: list[int] = []

    def after_epoch(report: EpochReport) -> bool:
        seen.append(report.epoch)
        report.save(tmp_path / f"{report.epoch}")
        return report.epoch == 1

    finetune(backbone, tuning_run(tuning_settings(epochs=5)), after_epoch)
    assert seen == [0, 1]
    assert {p.name for p in (tmp_path / "1").iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}


@pytest.mark.parametrize("lora", [None, LoraSettings(2, 4, 0.0, "all-linear", False)], ids=["full", "lora"])
@pytest.mark.parametrize("content", ['{"max_length": 4096, "temperature": 0.9}', '{"max_new_tokens": -3}', "[1]"])
def test_base_model_with_sampling_config_is_tuned_and_saved(
    content: str, lora: LoraSettings | None, tmp_path: Path
) -> None:
    """Some values that transformers refuses to read, or to write."""
    base, run = tmp_path / "base", tmp_path / "run"
    save_tiny_llama(base, tied=False)
    (base / "generation_config.json").write_text(content, encoding="utf-8")
    scratch = ScratchSettings(None, 300, 16, 32, 2, 2, 0.0, True)
    tokens = [f"<{level}_{code}>" for level in "ab" for code in range(4)]
    backbone = load_backbone(BackboneSettings(str(base), "sdpa"), scratch, tokens, lambda: [], 1, lora=lora)
    run.mkdir()

    def after_epoch(report: EpochReport) -> bool:
        report.save(run)
        return True

    finetune(backbone, tuning_run(tuning_settings(epochs=1)), after_epoch)
    assert is_adapter_folder(run) == (lora is not None)
    ids = backbone.tokenizer("<a_1><b_2> lamp", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        tuned = backbone.model.eval()(ids).logits
        if lora is not None:
            torch.testing.assert_close(load_saved(run, "sdpa").eval()(ids).logits, tuned)
            merge_adapter_folder(run, tmp_path / "merged")
            shutil.move(run, tmp_path / "adapter")
            shutil.move(tmp_path / "merged", run)
        (run / "generation_config.json").write_text(content, encoding="utf-8")
        torch.testing.assert_close(load_saved(run, "sdpa").eval()(ids).logits, tuned, rtol=1e-5, atol=1e-5)


def test_no_autocast_in_after_epoch_or_after_tuning(backbone: Backbone) -> None:
    ids = torch.tensor([[3, 4, 5]])

    def plain_logits() -> torch.Tensor:
        with torch.no_grad():
            return backbone.model.eval().lm_head(backbone.model.model(ids).last_hidden_state)

    unchanged = []

    def after_epoch(report: EpochReport) -> bool:
        with torch.no_grad():
            unchanged.append(torch.equal(backbone.model.eval()(ids).logits, plain_logits()))
        return False

    settings = tuning_settings(precision="bf16", epochs=2)
    finetune(backbone, tuning_run(settings), after_epoch)
    assert unchanged == [True, True]
    with torch.no_grad():
        assert torch.equal(backbone.model.eval()(ids).logits, plain_logits())


def test_no_data_to_tune_on(backbone: Backbone) -> None:
    class Empty(Source):
        def size(self, epoch: int) -> int:
            return 0

    with pytest.raises(ValueError, match="nothing to tune on"):
        tune(backbone, source=Empty())


def test_non_finite_loss_stops_and_names_step_and_data(backbone: Backbone) -> None:
    """The head's weights make the third step's loss NaN."""
    seen: list[int] = []

    class Breaking(Source):
        def instruction(self, epoch: int, datum: int) -> Instruction:
            seen.append(datum)
            if len(seen) == 5:
                backbone.model.lm_head.weight.data.fill_(float("nan"))
            return super().instruction(epoch, datum)

    stops = pytest.raises(DivergedError, match=r"the loss is nan at step 2 \(epoch 0, 2 instructions.*learning_rate")
    with torch.autograd.set_detect_anomaly(True), stops:  # as importing RecBole's SINE sets it globally
        tune(backbone, source=Breaking(), batch_size=2)
