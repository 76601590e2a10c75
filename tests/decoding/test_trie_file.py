"""A saved trie is loaded unchanged, or loading fails."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from recbole_lcrec.decoding.trie import Trie
from recbole_lcrec.decoding.trie_file import load_trie, save_trie
from tests.decoding.catalogues import Ids, catalogues


@settings(max_examples=40, deadline=None)
@given(catalogues, st.data())
def test_round_trip(ids: Ids, data: st.DataObject) -> None:
    trie = Trie.from_token_ids(ids)
    if data.draw(st.booleans()):
        trie = trie.restricted([*data.draw(st.sets(st.integers(0, len(ids) - 1), min_size=1))])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trie.safetensors"
        save_trie(trie, path, "abc")
        loaded = load_trie(path, "abc")
        written = path.read_bytes()
        save_trie(loaded, path, "abc")
        assert path.read_bytes() == written
        assert [file.name for file in Path(folder).iterdir()] == ["trie.safetensors"]
    for field in dataclasses.fields(Trie):
        before, after = getattr(trie, field.name), getattr(loaded, field.name)
        if isinstance(before, torch.Tensor):
            assert after.equal(before) and after.dtype == before.dtype, field.name
        elif field.name == "tokens_below":
            assert [tokens.tolist() for tokens in after] == [tokens.tolist() for tokens in before]
        else:
            assert after == before, field.name


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The trie of three items, whose nodes are 1, 2; 1 6, 2 3, 2 5."""
    path = tmp_path / "trie.safetensors"
    save_trie(Trie.from_token_ids([[2, 5], [1, 6], [2, 3]]), path, "abc")
    return path


def test_trie_of_another_index_is_an_error(saved: Path) -> None:
    with pytest.raises(
        ValueError, match=r"index or the tokenizer has changed since this trie was saved: .* abc, .* abd; restore"
    ) as caught:
        load_trie(saved, "abd")
    assert "delete" not in str(caught.value)


def test_caller_supplies_the_remedies(saved: Path) -> None:
    with pytest.raises(ValueError, match=r"abd; restore it$"):
        load_trie(saved, "abd", rebuild="rebuild it", put_back="restore it")
    saved.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"\); rebuild it$"):
        load_trie(saved, "abd", rebuild="rebuild it", put_back="restore it")


@pytest.mark.parametrize("kept", [0, 4, 60, -1])
def test_damaged_file_is_an_error(saved: Path, kept: int) -> None:
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"trie\.safetensors cannot be read as a saved trie .*; delete it"):
        load_trie(saved, "abc")


def test_missing_and_other_files_are_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.safetensors", tmp_path):
        with pytest.raises(ValueError, match=f"{path.name} cannot be read as a saved trie"):
            load_trie(path, "abc")
    save_file({"weight": np.zeros(3, dtype=np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors is not a saved trie"):
        load_trie(tmp_path / "model.safetensors", "abc")


def test_failed_write_keeps_the_existing_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError("no more")

    monkeypatch.setattr("recbole_lcrec.decoding.trie_file.os.replace", fail)
    with pytest.raises(OSError, match="no more"):
        save_trie(Trie.from_token_ids([[7]]), saved, "abd")
    assert saved.read_bytes() == before
    assert [file.name for file in saved.parent.iterdir()] == [saved.name]


def tampered(path: Path, change: Callable[[dict[str, Any]], Any], **about: Any) -> None:
    """Write the file again with changed arrays or metadata; None removes an entry."""
    arrays = load_file(path)
    with safe_open(str(path), framework="numpy") as file:
        described = {**json.loads(file.metadata()["recbole_lcrec.trie"]), **about}
    change(arrays)
    kept = {name: value for name, value in described.items() if value is not None}
    save_file(arrays, path, metadata={"recbole_lcrec.trie": json.dumps(kept)})


def entry(name: str, place: int, value: int) -> Callable[[dict[str, Any]], Any]:
    return lambda arrays: arrays[name].__setitem__(place, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (entry("n_children", 1, 2), "the numbers of children"),
        (entry("n_children", 1, 0), "the numbers of children"),
        (entry("token", 1, 1), "do not ascend"),
        (entry("token", 4, 3), "do not ascend"),
        (entry("token", 2, -1), "do not ascend"),
        (entry("leaf_items", 0, 3), "item rows are not all below 3"),
        (entry("leaf_items", 0, -1), "item rows are not all below 3"),
        (entry("leaf_items", 0, 2), "an item has two leaves"),
        (lambda arrays: arrays.pop("token"), "arrays are not int32 of the lengths"),
        (lambda arrays: arrays.update(token=arrays["token"][:-1]), "arrays are not int32 of the lengths"),
        (lambda arrays: arrays.update(token=arrays["token"].astype(np.int64)), "arrays are not int32 of the lengths"),
    ],
)
def test_inconsistent_arrays_are_errors(saved: Path, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    tampered(saved, lambda arrays: None)
    assert load_trie(saved, "abc").token.tolist() == [-1, 1, 2, 6, 3, 5]
    tampered(saved, change)
    with pytest.raises(ValueError, match=f"is inconsistent: .*{message}"):
        load_trie(saved, "abc")


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"version": 1, "digest": None, "fingerprint": "abd"}, "restore the item index"),
        ({"version": 3}, "has format version 3, but this package reads version 2; delete it"),
        ({"digest": None}, "does not say what it holds"),
        ({"digest": 1}, "digest does not match its content; delete it"),
        ({"n_rows": 4}, "digest does not match its content; delete it"),
        ({"n_rows": None}, "does not say what it holds"),
        ({"level_offsets": ["a"]}, "does not say what it holds"),
        ({"level_offsets": [0, 1]}, r"level offsets \[0, 1\]"),
        ({"level_offsets": [0, 1, 1, 6]}, r"level offsets \[0, 1, 1, 6\]"),
        ({"n_rows": 2}, "item rows are not all below 2"),
    ],
)
def test_inconsistent_metadata_is_an_error(saved: Path, about: dict[str, Any], message: str) -> None:
    tampered(saved, lambda arrays: None, **about)
    with pytest.raises(ValueError, match=message):
        load_trie(saved, "abc")


def test_files_without_a_digest_stay_readable(saved: Path) -> None:
    tampered(saved, lambda arrays: None, version=1, digest=None)
    assert load_trie(saved, "abc").token.tolist() == [-1, 1, 2, 6, 3, 5]
    tampered(saved, entry("n_children", 1, 2))
    with pytest.raises(ValueError, match="is inconsistent"):
        load_trie(saved, "abc")


def swapped(arrays: dict[str, Any]) -> None:
    """Swap the leaves of two items; the trie stays valid."""
    arrays["leaf_items"][:2] = arrays["leaf_items"][[1, 0]]


@pytest.mark.parametrize("change", [swapped, entry("token", 4, 7)], ids=["other items", "another token"])
def test_valid_but_altered_arrays_are_errors(saved: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    tampered(saved, change)
    with pytest.raises(ValueError, match=r"trie\.safetensors is inconsistent: .*digest does not match .*; delete"):
        load_trie(saved, "abc")
