"""Files of a run for recommending: written, read back, and refused if they do not fit together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from recbole_lcrec.config.resources import properties_dir
from recbole_lcrec.data.item_choice import read_allowed
from recbole_lcrec.decoding import Trie
from recbole_lcrec.indexing.item_index import ItemIndex, save_index
from recbole_lcrec.instructions.template_file import load_templates
from recbole_lcrec.runs.saved import (
    ALLOWED_FILE,
    TEMPLATE_FILE,
    TRIE_FILE,
    SavedCatalogue,
    allowed_file,
    index_fingerprint,
    lacks_files,
    load_for_recommending,
    load_titles,
    require_own_index,
    run_items,
    save_for_recommending,
)

CODES = np.array([[0, 1], [2, 0], [0, 3]])
IDS = ("B1", "A1", 'he"llo')
INDEX = ItemIndex(CODES, (4, 4))
VOCABULARY = {token: 100 + number for number, token in enumerate(t for level in INDEX.tokens_by_level() for t in level)}
TOKENS = np.array([[VOCABULARY[token] for token in row] for row in INDEX.item_tokens()])
TEMPLATES = load_templates(properties_dir() / "instructions" / "lcrec.yaml")


def write(folder: Path, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    given = {"index": INDEX, "item_ids": IDS, "titles": ["Böse: one", "", "three"], "templates": TEMPLATES, **changes}
    save_index(given["index"], given["item_ids"], folder / "shop.index.json")
    allowed = given.pop("allowed", None)
    titles = tuple(given.pop("titles") or [""] * len(given["item_ids"]))
    catalogue = SavedCatalogue(trie=Trie.from_token_ids(TOKENS), titles=titles, **given)
    save_for_recommending(folder, "shop", catalogue, VOCABULARY, allowed)
    return folder


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    assert lacks_files(folder, "shop")
    found = load_for_recommending(write(folder), "shop", VOCABULARY)
    assert not lacks_files(folder, "shop")
    assert {path.name for path in folder.iterdir()} == {"shop.index.json", "shop.titles.json", TRIE_FILE, TEMPLATE_FILE}
    assert found.item_ids == IDS and found.titles == ("Böse: one", None, "three")
    np.testing.assert_array_equal(found.index.codes, CODES)
    assert found.trie.n_items == 3
    leaves = found.trie.leaves(found.trie.leaf_items)
    for leaf, row in zip(found.trie.ancestors(leaves).tolist(), found.trie.leaf_items.tolist(), strict=True):
        assert [int(found.trie.token[node]) for node in leaf] == TOKENS[row].tolist()
    assert found.templates.frame == TEMPLATES.frame and dict(found.templates.tasks) == dict(TEMPLATES.tasks)


def test_a_data_set_without_titles(tmp_path: Path) -> None:
    assert load_for_recommending(write(tmp_path / "run", titles=None), "shop", VOCABULARY).titles == (None,) * 3


@pytest.mark.parametrize("name", ["shop.index.json", "shop.titles.json", TRIE_FILE, TEMPLATE_FILE])
def test_a_file_that_is_missing_is_named_with_a_remedy(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "run")
    (folder / name).unlink()
    with pytest.raises(ValueError, match=rf"{name} is missing: ") as caught:
        load_for_recommending(folder, "shop", VOCABULARY)
    assert ("--extend" in str(caught.value)) == (name != "shop.index.json")


def changed_index(change: str) -> tuple[ItemIndex, tuple[str, ...], dict[str, int]]:
    if change == "code":
        codes = CODES.copy()
        codes[1, 1] = 2
        return ItemIndex(codes, (4, 4)), IDS, VOCABULARY
    if change == "names":
        return INDEX, (IDS[1], IDS[0], IDS[2]), VOCABULARY
    if change == "items":
        return ItemIndex(CODES[:2], (4, 4)), IDS[:2], VOCABULARY
    return INDEX, IDS, {**VOCABULARY, "<a_0>": VOCABULARY["<a_2>"], "<a_2>": VOCABULARY["<a_0>"]}


@pytest.mark.parametrize("change", ["code", "names", "items", "tokens"])
def test_an_index_or_tokenizer_that_has_changed_is_refused(tmp_path: Path, change: str) -> None:
    folder = write(tmp_path / "run")
    index, ids, vocabulary = changed_index(change)
    save_index(index, ids, folder / "shop.index.json")
    assert index_fingerprint(index, ids, vocabulary) != index_fingerprint(INDEX, IDS, VOCABULARY)
    for refusing in (load_for_recommending, require_own_index):
        with pytest.raises(
            ValueError, match="item index or the tokenizer has changed since this trie was saved"
        ) as err:
            refusing(folder, "shop", vocabulary)
        assert "restore the run's own index and tokenizer, or tune again" in str(err.value)
        assert "delete" not in str(err.value)  # a rebuilt trie would make the wrong index the run's own


def test_a_runs_own_index_is_accepted(tmp_path: Path, caplog: Any) -> None:
    folder = write(tmp_path / "run")
    require_own_index(folder, "shop", VOCABULARY)
    assert not caplog.text
    (folder / TRIE_FILE).unlink()
    require_own_index(folder, "shop", VOCABULARY)
    assert f"contains no {TRIE_FILE}" in caplog.text


def test_tokens_that_no_item_uses_may_be_missing(tmp_path: Path) -> None:
    folder = write(tmp_path / "run")
    load_for_recommending(folder, "shop", {**VOCABULARY, "<a_1>": 7, "<b_2>": 8, "other": 9})


def test_a_tokenizer_without_an_index_token(tmp_path: Path) -> None:
    folder = write(tmp_path / "run")
    with pytest.raises(ValueError, match=r"lacks 1 of 5 index tokens, first \['<b_3>'\]"):
        load_for_recommending(folder, "shop", {token: i for token, i in VOCABULARY.items() if token != "<b_3>"})


def test_titles_of_other_items_and_malformed_titles(tmp_path: Path) -> None:
    folder = write(tmp_path / "run")
    path = folder / "shop.titles.json"
    path.write_text(json.dumps({"B1": "one", "C9": "strange"}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"1 titles are of items that are not in the item index, first \['C9'\]"):
        load_for_recommending(folder, "shop", VOCABULARY)
    for text, message in (("[1]", "not a JSON object"), ('{"B1": 1}', "not a JSON object"), ('{"B1": "on', "damaged")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            load_titles(folder, "shop")


def test_a_truncated_trie(tmp_path: Path) -> None:
    folder = write(tmp_path / "run")
    content = (folder / TRIE_FILE).read_bytes()
    (folder / TRIE_FILE).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=f"{TRIE_FILE} cannot be read .*; delete it: if the data set .*--extend="):
        load_for_recommending(folder, "shop", VOCABULARY)


def test_a_trie_with_other_items_at_its_leaves(tmp_path: Path) -> None:
    path = write(tmp_path / "run") / TRIE_FILE
    with safe_open(str(path), framework="numpy") as file:
        described = file.metadata()
    arrays = load_file(path)
    save_file({**arrays, "leaf_items": arrays["leaf_items"][::-1].copy()}, path, metadata=described)
    for refusing in (load_for_recommending, require_own_index):
        with pytest.raises(ValueError, match=f"{TRIE_FILE} is inconsistent: .*; delete it: if .*--extend="):
            refusing(path.parent, "shop", VOCABULARY)


def test_numbers_of_items_must_agree(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be equal"):
        write(tmp_path / "run", titles=["one"])
    assert not (tmp_path / "run" / TRIE_FILE).exists()


def test_allowed_items_are_saved_with_the_run(tmp_path: Path) -> None:
    folder = write(tmp_path / "run")
    assert not (folder / ALLOWED_FILE).exists()
    assert allowed_file(folder, None) is None and allowed_file(folder, "stock.txt") == "stock.txt"
    write(folder, allowed=[IDS[2], IDS[0]])
    assert read_allowed(folder / ALLOWED_FILE) == [IDS[2], IDS[0]]
    assert allowed_file(folder, "stock.txt") == str(folder / ALLOWED_FILE)
    assert allowed_file(folder, None) is None  # the run may recommend all items
    for allowed, message in (
        ([], "the list is empty"),
        (["B1", "C9"], r"1 of 2 are not in the catalogue, first \['C9'\]"),
    ):
        with pytest.raises(ValueError, match=f"allowed items: {message}"):
            write(folder, allowed=allowed)


def test_the_items_of_a_run(tmp_path: Path) -> None:
    folder = write(tmp_path / "run")
    with pytest.raises(ValueError, match=r"config\.yaml is missing"):
        run_items(folder)
    (folder / "config.yaml").write_text("dataset: shop\n", encoding="utf-8")
    assert run_items(folder) == list(IDS)
    with pytest.raises(ValueError, match="no such folder"):
        run_items(tmp_path / "nowhere")
