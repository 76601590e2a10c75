"""New items in a tuned run: index, trie and titles change together or not at all."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from recbole_lcrec import Recommender, index_new_items, load_data_and_model
from recbole_lcrec.cli.index import main
from recbole_lcrec.runs.saved import ALLOWED_FILE, TEMPLATE_FILE, TRIE_FILE
from recbole_lcrec.serving import new_items
from tests.cli.test_index import add_items
from tests.conftest import N_ITEMS, SHOP, shop_titles
from tests.saved_runs import limited, make_run

FILES = (f"{SHOP}.index.json", f"{SHOP}.titles.json", TRIE_FILE, TEMPLATE_FILE)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("learned"), given_index=False, decoding_beam_size=N_ITEMS + 20)


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A run with a learned index, and its own copy of the data set, to which a test may add items."""
    root = Path(shutil.copytree(made.parent.parent, tmp_path / "root"))
    folder = root / "saved" / made.name
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    moved = {"data_path": str(root / "data"), "checkpoint_dir": str(root / "saved")}
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, **moved}), encoding="utf-8")
    return folder


def data_of(run: Path) -> Path:
    return run.parent.parent / "data"


def contents(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in FILES if (run / name).exists()}


def test_new_items_are_recommended_by_their_titles(run: Path) -> None:
    names = add_items(data_of(run), 20)
    before = contents(run)
    old = Recommender.load(run).recommend([["i1", "i2"]], N_ITEMS)[0]
    assert index_new_items(run) == names
    recommender = Recommender.load(run)
    (answer,) = recommender.recommend([["i1", "new3"]], N_ITEMS + 20)
    assert {one.item for one in answer} == {*names, *shop_titles()}
    titles = {one.item: one.title for one in answer}
    assert titles["new3"] == "lamp number 3" and titles["i7"] == shop_titles()["i7"]
    scores = {one.item: one.log_prob for one in recommender.recommend([["i1", "i2"]], N_ITEMS + 20)[0]}
    assert [scores[one.item] for one in old] == pytest.approx([one.log_prob for one in old], abs=1e-4)
    _, model, *_ = load_data_and_model(run)
    assert model.item_ids == recommender.answering.catalogue.item_ids
    assert contents(run)[TEMPLATE_FILE] == before[TEMPLATE_FILE]
    assert not list(run.glob(".*"))
    after = contents(run)
    assert index_new_items(run) == [] and contents(run) == after


def test_a_list_of_allowed_items_stays_as_it_is(run: Path, caplog: Any) -> None:
    limited(run, ["i1", "i2"])
    names = add_items(data_of(run), 2)
    index_new_items(run)
    assert f"New items will be recommended only if their ids are added to {run / ALLOWED_FILE}" in caplog.text
    assert {one.item for one in Recommender.load(run).recommend([["i1"]], 2)[0]} == {"i1", "i2"}
    (run / ALLOWED_FILE).write_text("\n".join(names), encoding="utf-8")
    assert {one.item for one in Recommender.load(run).recommend([["i1"]], 2)[0]} == set(names)


@pytest.mark.parametrize("writer", ["save_for_recommending", "save_index"])
def test_a_failure_changes_nothing(run: Path, monkeypatch: Any, writer: str) -> None:
    add_items(data_of(run), 5)
    before, plain = contents(run), getattr(new_items, writer)

    def failing(*given: Any) -> None:
        plain(*given)
        raise OSError("broke")

    monkeypatch.setattr(new_items, writer, failing)
    with pytest.raises(OSError, match="broke"):
        index_new_items(run)
    assert contents(run) == before and not list(run.glob(".*"))
    Recommender.load(run)


def test_a_kill_between_two_files_is_repaired_by_the_next_call(run: Path, monkeypatch: Any) -> None:
    """The index is replaced last, so the next call finds the same new items."""
    names = add_items(data_of(run), 5)
    plain = os.replace

    def killed(source: Any, target: Any) -> None:
        if Path(target) == run / f"{SHOP}.index.json":
            raise KeyboardInterrupt
        plain(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        index_new_items(run)
    monkeypatch.setattr(os, "replace", plain)
    with pytest.raises(ValueError, match=r"item index or the tokenizer has changed.*--extend was interrupted"):
        Recommender.load(run)
    assert index_new_items(run) == names
    assert set(names) < set(Recommender.load(run).answering.catalogue.item_ids)


@pytest.mark.parametrize("name", [TRIE_FILE, TEMPLATE_FILE, f"{SHOP}.titles.json"])
def test_files_that_a_run_lacks_are_written_without_new_items(run: Path, caplog: Any, name: str) -> None:
    before = contents(run)
    (run / name).unlink()
    caplog.set_level(logging.INFO)
    assert main([f"--extend={run}"]) == 0
    assert "the run can recommend without data set" in caplog.text
    after = contents(run)
    assert after.keys() == before.keys()
    assert {key: after[key] for key in after if key != TRIE_FILE} == {
        key: before[key] for key in before if key != TRIE_FILE
    }
    Recommender.load(run)


def test_a_given_index_gets_the_files_too(tmp_path: Path) -> None:
    run = make_run(tmp_path / "given")
    (run / TRIE_FILE).unlink()
    assert index_new_items(run) == []
    assert len(Recommender.load(run).answering.catalogue.item_ids) == N_ITEMS


def test_an_index_changed_by_hand_is_an_error(run: Path) -> None:
    path = run / f"{SHOP}.index.json"
    index = json.loads(path.read_text(encoding="utf-8"))
    index["i1"], index["i2"] = index["i2"], index["i1"]
    path.write_text(json.dumps(index), encoding="utf-8")
    assert index_new_items(run) == []
    with pytest.raises(ValueError, match="has changed"):
        Recommender.load(run)


def test_removed_items_are_named(run: Path) -> None:
    add_items(data_of(run), 2)
    for file in (f"{SHOP}.item", f"{SHOP}.inter"):
        path = data_of(run) / SHOP / file
        lines = path.read_text(encoding="utf-8").splitlines()
        path.write_text("\n".join(line for line in lines if "i7" not in line.split("\t")) + "\n", encoding="utf-8")
    before = contents(run)
    with pytest.raises(ValueError, match=r"contains 1 items that are no longer in the data set, first \['i7'\]"):
        index_new_items(run)
    assert contents(run) == before
