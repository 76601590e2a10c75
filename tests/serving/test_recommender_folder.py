"""Recommending from a saved folder alone: missing files, changed files, and what is saved with the run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_lcrec import Recommender, load_data_and_model
from recbole_lcrec.runs.saved import ALLOWED_FILE, TEMPLATE_FILE, TRIE_FILE
from tests.conftest import N_ITEMS, SHOP
from tests.llm.test_adapters import write_base
from tests.saved_runs import (
    configured,
    copied,
    limited,
    make_run,
    prompt,
    require_alike,
    require_exhaustive,
    swap_indices,
)

HISTORIES = [["i1", "i2", "i3"], ["i29"], ["i4", "i4", "i5", "i9", "i1"]]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run tuned on instructions, whose data set is deleted."""
    root = tmp_path_factory.mktemp("words")
    folder = copied(make_run(root), tmp_path_factory.mktemp("alone"))
    shutil.rmtree(root)
    return folder


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"decoding_beam": 5}, "decoding_beam is not a decoding setting; did you mean 'decoding_beam_size'"),
        ({"epochs": 5}, "epochs is not a decoding setting"),
        ({"decoding_beam_size": 0}, "decoding_beam_size = 0: expected an integer of at least 1"),
        ({"decoding_beam_size": 2**64}, "expected an integer of at least 1 and at most 2147483647"),
        ({"decoding_template": 99}, "decoding_template = 99: there are 12 SEQ templates"),
        ({"device": "gpu7"}, "device = 'gpu7' is not a device"),
        ({"device": "meta"}, "device = 'meta': models run on the CPU or a GPU; give cpu, cuda or cuda:1"),
        ({"base_model": "x"}, "contains a full model, not an adapter"),
    ],
)
def test_settings_that_cannot_be_loaded(alone: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recommender.load(alone, **given)


def test_a_missing_gpu(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="device = 'cuda:2': PyTorch sees 2 GPUs, numbered from 0"):
        Recommender.load(alone, device="cuda:2")


@pytest.mark.parametrize(
    "name",
    [
        "config.yaml",
        f"{SHOP}.index.json",
        f"{SHOP}.titles.json",
        TRIE_FILE,
        TEMPLATE_FILE,
        "config.json",
        "model.safetensors",
        "tokenizer_config.json",
        "tokenizer.json",
    ],
)
def test_a_folder_that_lacks_a_file(alone: Path, tmp_path: Path, name: str) -> None:
    folder = copied(alone, tmp_path)
    (folder / name).unlink()
    with pytest.raises(ValueError, match=name):
        Recommender.load(folder)


def test_a_folder_whose_index_has_changed(alone: Path, tmp_path: Path) -> None:
    folder = copied(alone, tmp_path)
    swap_indices(folder)
    with pytest.raises(ValueError, match="item index or the tokenizer has changed") as caught:
        Recommender.load(folder)
    assert "restore the run's own index and tokenizer, or tune again" in str(caught.value)
    assert "delete" not in str(caught.value)
    with pytest.raises(ValueError, match="no such folder"):
        Recommender.load(tmp_path / "nowhere")


def test_custom_templates_are_saved_with_the_run(alone: Path, tmp_path: Path) -> None:
    """The templates of the tuning are used even if tuning_template_file no longer exists."""
    folder = copied(alone, tmp_path)
    text = (folder / TEMPLATE_FILE).read_text(encoding="utf-8")
    (folder / TEMPLATE_FILE).write_text(text.replace("A customer chose", "Somebody took"), encoding="utf-8")
    configured(folder, tuning_template_file="/gone.yaml")
    recommender = Recommender.load(folder, decoding_beam_size=N_ITEMS)
    assert "Somebody took" in prompt(folder, "seq", history=["i1"])
    require_exhaustive(recommender, recommender.recommend([["i1"]], 5)[0], [prompt(folder, "seq", history=["i1"])])


def test_an_adapter_and_its_merged_model_answer_equally(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", "llama", tied=False)
    lora: dict[str, Any] = {"base_model": base, "lora_r": 4, "learning_rate": 0.02, "tuning_seq_format": "stream"}
    adapter = make_run(tmp_path / "a", **lora)
    merged = make_run(tmp_path / "m", **lora, lora_merge=True)
    assert (adapter / "adapter_model.safetensors").is_file() and (merged / "model.safetensors").is_file()
    found = Recommender.load(adapter, decoding_beam_size=N_ITEMS).recommend(HISTORIES, N_ITEMS)
    whole = Recommender.load(merged, decoding_beam_size=N_ITEMS).recommend(HISTORIES, N_ITEMS)
    for answer, other in zip(found, whole, strict=True):
        require_alike(answer, other)
    _, model, *_ = load_data_and_model(adapter)
    assert model.llm.dtype == Recommender.load(adapter).answering.ranker.reader._model.dtype  # type: ignore[attr-defined]
    moved = shutil.move(base, tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="set base_model to where that model is now"):
        Recommender.load(adapter)
    again = Recommender.load(adapter, base_model=str(moved), decoding_beam_size=N_ITEMS)
    assert again.recommend(HISTORIES, N_ITEMS) == found


def test_the_runs_allowed_items_hold_until_others_are_given(alone: Path, tmp_path: Path) -> None:
    (tmp_path / "stock.txt").write_text("i1\ni2\ni3\n", encoding="utf-8")
    recommender = Recommender.load(alone, decoding_allowed_items=str(tmp_path / "stock.txt"))
    (answer,) = recommender.recommend([["i1"]], 3)
    assert {one.item for one in answer} == {"i1", "i2", "i3"}
    (answer,) = recommender.recommend([["i1"]], 2, allowed_items=["i8", "i9"])
    assert {one.item for one in answer} == {"i8", "i9"}
    with pytest.raises(ValueError, match="k = 4 items are requested, but only 3 are allowed"):
        recommender.recommend([["i1"]], 4)
    for text, message in (("i1\nB7\n", "B7"), (None, "no such file")):
        path = tmp_path / "other.txt"
        if text:
            path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=message) as caught:
            Recommender.load(alone, decoding_allowed_items=str(path))
        assert "decoding_allowed_items=None" in str(caught.value)
        path.unlink(missing_ok=True)


def test_the_list_in_the_folder_holds_the_allowed_items(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the working directory is, and whichever file now has the path given to the tuning."""
    folder = copied(alone, tmp_path)
    limited(folder, ["i1", "i2", "i3"], "stock.txt")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path("stock.txt").write_text("i8\ni9\n", encoding="utf-8")

    def items(k: int, **changes: Any) -> set[str]:
        return {one.item for one in Recommender.load(folder, **changes).recommend([["i1"]], k)[0]}

    assert items(3) == {"i1", "i2", "i3"}
    assert items(2, decoding_allowed_items="stock.txt") == {"i8", "i9"}
    everything = items(N_ITEMS, decoding_allowed_items=None, decoding_beam_size=N_ITEMS)
    assert len(everything) == N_ITEMS
    (folder / ALLOWED_FILE).write_text("i1\nB7\n", encoding="utf-8")
    with pytest.raises(ValueError, match=rf"{ALLOWED_FILE}.*B7.*decoding_allowed_items=None"):
        Recommender.load(folder)
