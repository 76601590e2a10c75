"""Runs of the trainer: adapters saved, loaded and merged; streams first; diverging losses; the log."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from recbole_lcrec import load_data_and_model, quick_start, run_recbole_lcrec
from recbole_lcrec.llm import tuner
from recbole_lcrec.models.lcrec.trainer import LCRecTrainer
from tests.conftest import N_ITEMS, SHOP, shop_index, shop_sequences
from tests.llm.test_adapters import write_base

Parameters = Callable[..., dict[str, Any]]


def evaluated_again(folder: Path) -> tuple[Any, dict[str, float], dict[str, float]]:
    """Return the model loaded from a folder, and its metrics on validation and test users."""
    config, model, _, _, valid, test = load_data_and_model(folder)
    trainer = LCRecTrainer(config, model)
    by_split = [dict(trainer.evaluate(split, load_best_model=False)) for split in (valid, test)]
    return model, by_split[0], by_split[1]


def prompt_ids(folder: Path) -> torch.Tensor:
    text = "".join("".join(tokens) for tokens in list(shop_index().values())[:3])
    return AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")["input_ids"]


@pytest.fixture
def lora(indexed_shop: Path, tiny: Parameters, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Parameters of a LoRA run on a pretrained model that has never seen an index token."""
    base = write_base(tmp_path / "base", "llama", tied=False)

    def parameters(**changes: Any) -> dict[str, Any]:
        values = {"base_model": base, "lora_r": 4, "learning_rate": 0.02, "epochs": 3}
        return tiny(indexed_shop, **{**values, **changes})

    return parameters


def test_an_adapter_is_saved_and_loaded_to_the_same_numbers(lora: Parameters) -> None:
    result = run_recbole_lcrec("LCRec", SHOP, config_dict=lora())
    folder = Path(result["saved_model_file"])
    names = {path.name for path in folder.iterdir()}
    assert names >= {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "config.yaml"}
    assert "model.safetensors" not in names
    model, valid, test = evaluated_again(folder)
    assert valid == dict(result["best_valid_result"]) and test == dict(result["test_result"])
    ids = prompt_ids(folder)
    assert ids.shape[1] == 1 + 9  # start token, 3 indices of 3 tokens
    with torch.no_grad():
        by_peft = AutoPeftModelForCausalLM.from_pretrained(folder).eval()(ids).logits
        torch.testing.assert_close(model.llm(ids).logits, by_peft, rtol=1e-5, atol=1e-5)


def test_a_merged_run_is_a_plain_model_with_the_same_numbers(lora: Parameters) -> None:
    alone = run_recbole_lcrec("LCRec", SHOP, config_dict=lora())
    result = run_recbole_lcrec("LCRec", SHOP, config_dict=lora(lora_merge=True))
    folder = Path(result["saved_model_file"])
    names = {path.name for path in folder.iterdir()}
    assert names >= {"model.safetensors", "config.json", "tokenizer.json", "config.yaml", "results.json"}
    assert not [name for name in names if name.startswith("adapter_")]
    assert json.loads((folder / f"{SHOP}.index.json").read_text()) == shop_index()
    model, valid, test = evaluated_again(folder)
    assert valid == dict(result["best_valid_result"]) and test == dict(result["test_result"])
    stored = json.loads((folder / "results.json").read_text())
    assert stored["test_result"] == test and stored["best_valid_result"] == valid
    ids = prompt_ids(folder)
    with torch.no_grad():
        plain = AutoModelForCausalLM.from_pretrained(folder).eval()(ids).logits
        torch.testing.assert_close(model.llm(ids).logits, plain)
        unmerged = AutoPeftModelForCausalLM.from_pretrained(alone["saved_model_file"]).eval()(ids).logits
    torch.testing.assert_close(plain, unmerged, rtol=1e-4, atol=1e-4)  # the same tuning, merged or not


def test_the_base_model_is_only_read(lora: Parameters, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in (tmp_path / "base").iterdir()}
    run_recbole_lcrec("LCRec", SHOP, config_dict=lora(epochs=1, lora_merge=True))
    assert {path.name: path.read_bytes() for path in (tmp_path / "base").iterdir()} == before


def targets() -> list[int]:
    """Return the number of training targets of each user: all items but the first and the two held-out ones."""
    return [len(items) - 3 for items in shop_sequences().values()]


def windows() -> int:
    """Return the number of rows of an epoch of streams, each with at most six targets."""
    return sum(math.ceil(count / 6) for count in targets())


def messages(caplog: pytest.LogCaptureFixture, part: str) -> list[str]:
    return [record.message for record in caplog.records if part in record.message]


def test_epochs_of_streams_come_first_and_are_not_validated(
    indexed_shop: Path, tiny: Parameters, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    parameters = tiny(indexed_shop, tuning_seq_format="instruction", tuning_stream_epochs=1, epochs=2)
    result = run_recbole_lcrec("LCRec", SHOP, config_dict=parameters)
    (validated,) = messages(caplog, "evaluating")
    assert "epoch 1 evaluating" in validated
    assert len(messages(caplog, "train loss")) == 2
    stored = json.loads((Path(result["saved_model_file"]) / "results.json").read_text())
    assert stored["best_epoch"] == 1 and set(stored["train_loss"]) == {"0", "1"}
    assert messages(caplog, f"Tuning on {windows()}, then {sum(targets())} instructions per epoch")


def test_the_log_accounts_for_the_work(indexed_shop: Path, tiny: Parameters, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run_recbole_lcrec("LCRec", SHOP, config_dict=tiny(indexed_shop))
    lines = messages(caplog, "samples/s")
    assert len(lines) == 2
    for line in lines:
        found = re.search(
            r"\[([\d.,]+) samples/s, ([\d,]+) tokens/s, padding ([\d.]+)%, peak memory ([\d.]+) GiB\]", line
        )
        assert found, line
        samples, tokens, padding, memory = (float(number.replace(",", "")) for number in found.groups())
        assert tokens > samples > 0 and 0 <= padding < 100 and 0.05 < memory < 100


@pytest.fixture
def diverging(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make the loss NaN from a certain forward pass of the tuning on."""

    def after(passes: int) -> None:
        plain, made = tuner.response_loss, []

        def loss(*args: Any, **options: Any) -> torch.Tensor:
            made.append(None)
            return plain(*args, **options) * (math.nan if len(made) > passes else 1.0)

        monkeypatch.setattr(tuner, "response_loss", loss)

    return after


def test_a_diverging_loss_is_one_line_and_keeps_the_best_epoch(
    indexed_shop: Path, tiny: Parameters, diverging: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    steps = math.ceil(windows() / 8)  # of one forward pass each, for the rows are short
    parameters = tiny(indexed_shop, epochs=3)
    diverging(steps + 1)
    flags = [f"--{key}={value}" for key, value in parameters.items()]
    assert quick_start.main(["--model=LCRec", f"--dataset={SHOP}", *flags]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert line.startswith(f"error: the loss is nan at step {steps + 1} (epoch 1, 8 instructions, numbers ")
    assert "the best epoch and the last checkpoint are kept. Lower learning_rate (0.01)" in line
    folders = [path for path in Path(parameters["checkpoint_dir"]).glob("LCRec-*") if (path / "results.json").is_file()]
    assert json.loads((folders[0] / "results.json").read_text())["best_epoch"] == 0 and len(folders) == 1
    _, valid, _ = evaluated_again(folders[0])
    assert valid == json.loads((folders[0] / "results.json").read_text())["best_valid_result"]


def test_a_learning_rate_that_is_far_too_high(indexed_shop: Path, tiny: Parameters) -> None:
    with pytest.raises(ValueError, match=r"is (nan|inf) at step \d+ \(epoch 0, .*Lower learning_rate"):
        run_recbole_lcrec("LCRec", SHOP, config_dict=tiny(indexed_shop, learning_rate=1e30))


def test_auto_tunes_on_every_task_that_the_data_support(
    indexed_shop: Path, tiny: Parameters, caplog: pytest.LogCaptureFixture
) -> None:
    """From the texts on disk to a ranking, with intentions extracted from descriptions."""
    caplog.set_level(logging.INFO)
    parameters = tiny(
        indexed_shop, tuning_tasks="paper", tuning_seq_format="instruction", epochs=1, train_batch_size=32
    )
    result = run_recbole_lcrec("LCRec", SHOP, config_dict=parameters)
    (counted,) = messages(caplog, "instructions per epoch: ")
    count, users = sum(targets()), len(shop_sequences())
    # one intention of each user, with and without the history
    assert counted.endswith(f"seq {count}, mut {4 * N_ITEMS}, asy {3 * count}, ite {2 * users}, per {users}")
    assert 0 <= result["test_result"]["hit@1"] <= result["test_result"]["hit@5"] <= 1


def test_a_long_run_says_early_how_long_it_will_take(
    indexed_shop: Path, tiny: Parameters, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    parameters = tiny(indexed_shop, epochs=5, eval_step=2, train_batch_size=2)
    result = run_recbole_lcrec("LCRec", SHOP, config_dict=parameters)
    (estimate,) = messages(caplog, "Estimated duration: ")
    assert "per validation (3 to come)" in estimate
    unvalidated = run_recbole_lcrec("LCRec", SHOP, config_dict={**parameters, "eval_step": 0})
    assert "validation" not in messages(caplog, "Estimated duration: ")[1]
    assert result["test_result"].keys() == unvalidated["test_result"].keys()


@pytest.mark.parametrize(("epochs", "eval_step", "validated"), [(5, 2, [1, 3, 4]), (2, 3, [1]), (4, 2, [1, 3])])
def test_the_last_epoch_is_always_validated(
    indexed_shop: Path, tiny: Parameters, caplog: Any, epochs: int, eval_step: int, validated: list[int]
) -> None:
    caplog.set_level(logging.INFO)
    run_recbole_lcrec("LCRec", SHOP, config_dict=tiny(indexed_shop, epochs=epochs, eval_step=eval_step))
    found = [int(epoch) for epoch in re.findall(r"epoch (\d+) evaluating", re.sub(r"\x1b\[[\d;]*m", "", caplog.text))]
    assert found == validated
