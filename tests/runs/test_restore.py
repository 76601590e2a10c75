"""A saved run back in RecBole: its own index, tokenizer and allowed items, or an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recbole_lcrec import load_data_and_model
from recbole_lcrec.runs.saved import ALLOWED_FILE, TRIE_FILE
from tests.llm.test_adapters import write_base
from tests.saved_runs import configured, copied, limited, make_run, swap_indices


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("made"), tuning_seq_format="stream")


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return copied(made, tmp_path)


def require_changed(run: Path) -> None:
    with pytest.raises(ValueError, match="item index or the tokenizer has changed since") as caught:
        load_data_and_model(run)
    assert "restore the run's own index and tokenizer, or tune again" in str(caught.value)
    assert "delete" not in str(caught.value)


def test_an_index_that_has_changed_is_refused(run: Path) -> None:
    load_data_and_model(run)
    swap_indices(run)
    require_changed(run)


def test_an_adapter_is_compared_too(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", "llama", tied=False)
    run = make_run(tmp_path / "adapter", base_model=base, lora_r=4, tuning_seq_format="stream")
    load_data_and_model(run)
    swap_indices(run)
    require_changed(run)


def test_a_truncated_trie_can_be_rebuilt(run: Path) -> None:
    content = (run / TRIE_FILE).read_bytes()
    (run / TRIE_FILE).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=rf"{TRIE_FILE} cannot be read .* delete it: if the data set .*--extend="):
        load_data_and_model(run)


def test_a_run_without_a_trie_is_loaded_with_a_warning(run: Path, caplog: Any) -> None:
    (run / TRIE_FILE).unlink()
    load_data_and_model(run)
    assert f"{run} contains no {TRIE_FILE}" in caplog.text


def test_a_run_without_its_tokenizer(run: Path) -> None:
    (run / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"tokenizer\.json is missing; restore the run's own tokenizer"):
        load_data_and_model(run)


def test_allowed_items_are_those_of_the_folder(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, other = [f"i{n}" for n in range(5)], [f"i{n}" for n in range(10, 20)]
    limited(run, own, "stock.txt")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path("stock.txt").write_text("\n".join(other), encoding="utf-8")
    config, model, *_ = load_data_and_model(run)
    assert config["decoding_allowed_items"] == str(run / ALLOWED_FILE)
    assert {model.item_ids[row] for row in model.candidates.leaf_items.tolist()} == set(own)
    configured(run, decoding_allowed_items=None)
    config, model, *_ = load_data_and_model(run)
    assert config["decoding_allowed_items"] is None and model.candidates.n_items == len(model.item_ids)


def test_a_folder_without_the_list_logs_what_it_reads(run: Path, tmp_path: Path, caplog: Any) -> None:
    limited(run, [], str(tmp_path / "stock.txt"))
    (run / ALLOWED_FILE).unlink()
    (tmp_path / "stock.txt").write_text("i1\ni2\ni3\ni4\ni5\n", encoding="utf-8")
    _, model, *_ = load_data_and_model(run)
    assert model.candidates.n_items == 5
    assert f"{run} contains no {ALLOWED_FILE}" in caplog.text and "stock.txt" in caplog.text
