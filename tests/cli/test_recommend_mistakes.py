"""Wrong requests and damaged runs, which the command that recommends reports in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from recbole_lcrec.cli.recommend import main
from tests.cli.test_recommend import USERS, error_of, many
from tests.conftest import SHOP
from tests.saved_runs import copied, make_run, no_model_calls


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("command"))


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """Eleven users as JSON lines."""
    path = tmp_path / "users.jsonl"
    path.write_text("".join(json.dumps(user) + "\n" for user in USERS), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not an object with the key user"),
        ('{"history": ["i1"]}', "not an object with the key user"),
        ('{"user": "a", "history": "i1"}', "history 'i1' is not a list of item ids"),
        ('{"user": "a", "history": [["i1"]]}', "is not a list of item ids"),
        ('{"user": true, "history": ["i1"]}', "user True is neither a text nor an integer"),
        ('{"user": "a", "histroy": ["i1"]}', "unknown key 'histroy'; did you mean 'history'?"),
        ('{"user": "a", "history": ["i1"], "intention": ""}', "intention '' is blank or not a text"),
        ('{"user": "a", "history": ["i1"], "intention": 3}', "intention 3 is blank or not a text"),
        ('{"user": "a", "history": []}', "the history is empty, and there is no intention"),
        ('{"user": "a"}', "the history is empty"),
        (r'{"user": "\ud800", "history": ["i1"]}', r"'\ud800' is half of a surrogate pair, not a character"),
        (r'{"user": "a", "intention": "lamp \udc00\ud83d"}', r"'\udc00' is half of a surrogate pair"),
        ('{"user": "a", "history": ["i1", "X"]}', "1 of 2 items are not in the run's item index, first ['X']"),
    ],
)
def test_a_bad_line_is_named_before_the_model_is_loaded(
    run: Path, users: Path, capsys: Any, line: str, message: str
) -> None:
    lines = users.read_text(encoding="utf-8").splitlines()
    users.write_text("\n".join([*lines[:5], line, *lines[5:]]) + "\n", encoding="utf-8")
    with no_model_calls():
        error = error_of(many(run, users), capsys)
    assert f"{users}, line 6: " in error and message in error
    assert not users.with_name("out.jsonl").exists()


def test_unknown_items_of_lines_can_be_dropped(run: Path, users: Path, capsys: Any) -> None:
    users.write_text('{"user": 1, "history": ["i1", "X"]}\n', encoding="utf-8")
    assert main(many(run, users, "--unknown_items=drop")) == 0
    capsys.readouterr()
    users.write_text('{"user": 1, "history": ["X"]}\n', encoding="utf-8")
    assert "none of the items is in the run's item index" in error_of(
        [f"--run={run}", f"--input={users}", "--output=other.jsonl", "--unknown_items=drop"], capsys
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--history=i1"], "no run is given"),
        (["--run=RUN"], "give either --history"),
        (["--run=RUN", "--history=i1", "--input=x", "--output=y"], "give either --history"),
        (["--run=RUN", "--input=x"], "give either --history"),
        (["--run=RUN", "--input=none.jsonl", "--output=y"], "none.jsonl: there is no such file"),
        (["--run=RUN", "--history=i1,,i2"], "contains an empty id"),
        (["--run=RUN", "--history=X"], "['X']"),
        (["--run=RUN", "--history=i1", "--k=0"], "k = 0"),
        (["--run=RUN", "--history=i1", "--k=many"], "k = 'many'"),
        (["--run=RUN", "--history=i1", "--k=11"], "decoding_beam_size = 10"),
        (["--run=RUN", "--history=i1", "--k=1", "--k=2"], "--k is given twice"),
        (["--run=RUN", "--history=i1", "--exclude_history=maybe"], "expected True or False"),
        (["--run=RUN", "--history=i1", "--unknown_items=skip"], "unknown_items = 'skip'"),
        (["--run=RUN", "--history=i1", "--allowed_items=none.txt"], "none.txt"),
        (["--run=RUN", "--history=i1", "--decoding_beams=5"], "decoding_beams is not a decoding setting"),
        (["--run=RUN", "--history=i1", "--LCRec.decoding_beam_size=5"], "a saved run has one model"),
        (["--run=RUN", "--history=i1", "--allowed_items=RUN"], "is a folder; give a file with one item id per line"),
        (["--run=RUN", "--history=i1", "--decoding_allowed_items=RUN"], "is a folder; give a file with one item id"),
        (["--run=RUN", "--input=RUN", "--output=y"], "is a folder; give a file with a JSON object per line"),
        (["--run=RUN", "--history=i1", "--device=meta"], "give cpu, cuda or cuda:1"),
        (["--run=RUN", "stray", "--history=i1"], "'stray'"),
        (["--run=nowhere", "--history=i1"], "no such folder"),
        (["--run=nowhere", "--input=x", "--output=y"], "no such folder"),
    ],
)
def test_mistakes_are_reported_in_one_line(run: Path, capsys: Any, flags: list[str], message: str) -> None:
    assert message in error_of([flag.replace("RUN", str(run)) for flag in flags], capsys)


def test_a_run_that_lacks_a_file(run: Path, tmp_path: Path, users: Path, capsys: Any) -> None:
    folder = copied(run, tmp_path)
    (folder / "trie.safetensors").unlink()
    assert "trie.safetensors is missing" in error_of([f"--run={folder}", "--history=i1"], capsys)
    (folder / f"{SHOP}.index.json").unlink()
    assert f"{SHOP}.index.json is missing" in error_of(many(folder, users), capsys)


def test_a_model_of_nan_weights(run: Path, tmp_path: Path, users: Path, capsys: Any) -> None:
    folder = copied(run, tmp_path)
    weights = load_file(folder / "model.safetensors")
    next(value for name, value in weights.items() if "norm" in name).fill_(torch.nan)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    for flags in ([f"--run={folder}", "--history=i1"], many(folder, users, "--state=debug")):
        assert main(flags) == 2
        text = capsys.readouterr().err
        assert "error: the language model's logits are NaN or infinite" in text
        assert ("Traceback" in text) == ("--state=debug" in flags)


def test_too_little_memory_for_one_user(run: Path, capsys: Any, monkeypatch: Any) -> None:
    def lacking(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("recbole_lcrec.decoding.ranker.beam_search", lacking)
    assert "not enough memory to decode a single user" in error_of([f"--run={run}", "--history=i1"], capsys)


def test_the_output_is_not_the_input_and_needs_a_folder(run: Path, users: Path, capsys: Any) -> None:
    assert "is the input" in error_of([f"--run={run}", f"--input={users}", f"--output={users}"], capsys)
    assert "there is no folder" in error_of([f"--run={run}", f"--input={users}", "--output=no/out.jsonl"], capsys)
    error = error_of([f"--run={run}", f"--input={users}", f"--output={users.parent}"], capsys)
    assert f"{users.parent} is a folder; name a file for the answers" in error and "remove" not in error
    users.write_text("\n\n", encoding="utf-8")
    assert "contains no users" in error_of(many(run, users), capsys)
