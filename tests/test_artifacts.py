"""Fingerprints tell content apart; artifact folders are whole or absent."""

import dataclasses
import hashlib
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from recbole_lcrec.artifacts import ArtifactStore, fingerprint


@dataclasses.dataclass(frozen=True)
class Settings:
    size: int
    names: tuple[str, ...]


def write_numbers(folder: Path) -> None:
    np.save(folder / "numbers.npy", np.arange(10))
    (folder / "inner").mkdir()
    (folder / "inner" / "note.json").write_text('"written"')


def refuse(folder: Path) -> None:
    raise AssertionError(f"built {folder} although it was there")


def visible(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if not path.name.endswith(".lock"))


def test_fingerprint_is_a_known_constant():
    # SHA-256 of the canonical text, computed by hand: any process on any day must find the same folder
    text = '["mapping",[["a",1],["b",["sequence",["x",null]]]]]'
    assert fingerprint({"b": ("x", None), "a": 1}) == hashlib.sha256(text.encode()).hexdigest()


def test_fingerprint_same_content(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"same")
    two.write_bytes(b"same")
    array = np.arange(12.0).reshape(3, 4)
    left = {"p": one, "s": Settings(3, ("a",)), "x": array, "n": np.float64(0.5), "l": (1, 2)}
    right = {"l": [1, 2], "n": 0.5, "x": np.asfortranarray(array), "s": {"size": 3, "names": ["a"]}, "p": two}
    assert fingerprint(left) == fingerprint(right)


def test_fingerprint_tells_apart(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"content")
    values = [
        1, 1.0, True, "1", None, [], {}, [1], [[1]], {"a": 1}, [["a", 1]], b"1", file, str(file),
        np.array([1, 2]), np.array([[1, 2]]), np.array([1, 2], dtype=np.int32), np.array([1.0, 2.0]), [1, 2],
        np.array(["a", None], dtype=object), Settings(1, ()), Settings(1, ("a",)), Settings(2, ()),
    ]  # fmt: skip
    assert len({fingerprint({"value": value}) for value in values}) == len(values)


def test_fingerprint_of_a_folder_follows_its_files(tmp_path):
    (tmp_path / "a.txt").write_text("1")
    before = fingerprint({"folder": tmp_path})
    (tmp_path / "a.txt").rename(tmp_path / "b.txt")
    assert fingerprint({"folder": tmp_path}) != before


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), r"parts\.key = nan"),
        ({1: 2}, r"parts\.key has keys that are not strings"),
        ([object()], r"parts\.key\[0\] of type object"),
        (Path("nowhere/at/all"), r"no such file or folder"),
    ],
)
def test_fingerprint_refuses(value, message):
    with pytest.raises(ValueError, match=message):
        fingerprint({"key": value})


def test_builds_once_and_reuses(tmp_path):
    store = ArtifactStore(tmp_path / "root")
    first = store.get_or_build("numbers", {"n": 10}, write_numbers)
    assert not first.reused and first.path.name == f"numbers-{fingerprint({'n': 10})[:16]}"
    np.testing.assert_array_equal(np.load(first.path / "numbers.npy", allow_pickle=False), np.arange(10))
    again = store.get_or_build("numbers", {"n": 10}, refuse)
    assert again.reused and again.path == first.path
    other = store.get_or_build("numbers", {"n": 11}, write_numbers)
    assert not other.reused and other.path != first.path
    manifest = json.loads((first.path / "manifest.json").read_text())
    assert sorted(manifest["files"]) == ["inner/note.json", "numbers.npy"]
    assert manifest["parts"] == {"n": 10}


def truncate(folder):
    (folder / "numbers.npy").write_bytes((folder / "numbers.npy").read_bytes()[:-1])


def flip(folder):
    content = bytearray((folder / "numbers.npy").read_bytes())
    content[-1] ^= 1
    (folder / "numbers.npy").write_bytes(content)


@pytest.mark.parametrize(
    "tear",
    [
        truncate,
        flip,
        lambda folder: (folder / "inner" / "note.json").unlink(),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "manifest.json").write_text("{"),
        lambda folder: (folder / "manifest.json").write_text("[]"),
    ],
)
def test_a_torn_folder_is_built_again(tmp_path, tear):
    store = ArtifactStore(tmp_path)
    path = store.get_or_build("numbers", {"n": 1}, write_numbers).path
    tear(path)
    assert not store.get_or_build("numbers", {"n": 1}, write_numbers).reused
    assert store.get_or_build("numbers", {"n": 1}, refuse).reused


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_build_leaves_nothing(tmp_path, error):
    def fail(folder):
        write_numbers(folder)
        raise error

    store = ArtifactStore(tmp_path)
    with pytest.raises(type(error)):
        store.get_or_build("numbers", {}, fail)
    assert visible(tmp_path) == []
    assert not store.get_or_build("numbers", {}, write_numbers).reused


def _build_and_hang(root: Path) -> None:
    def hang(folder):
        write_numbers(folder)
        time.sleep(60)

    ArtifactStore(root).get_or_build("numbers", {}, hang)


def _killed_while_building(root: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_build_and_hang, args=(root,))
    process.start()
    while not list(root.glob(".*/inner/note.json")):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()


@pytest.mark.parametrize("parts", [{}, {"another": 1}])
def test_a_killed_build_is_swept_by_the_next_call(tmp_path, parts):
    _killed_while_building(tmp_path)
    assert len(visible(tmp_path)) == 1 and visible(tmp_path)[0].startswith(".")
    artifact = ArtifactStore(tmp_path).get_or_build("numbers", parts, write_numbers)
    assert not artifact.reused and visible(tmp_path) == [artifact.path.name]


def _count_builds(root: Path, log: Path) -> None:
    def build(folder):
        with log.open("a") as stream:
            stream.write("built\n")
        time.sleep(0.1)
        write_numbers(folder)

    for n in range(3):
        ArtifactStore(root).get_or_build("numbers", {"n": n}, build)


def test_processes_that_want_the_same_build_it_once(tmp_path):
    root, log = tmp_path / "root", tmp_path / "log"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_count_builds, args=(root, log)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert log.read_text() == "built\n" * 3
    assert len(visible(root)) == 3


def test_bad_calls(tmp_path):
    store = ArtifactStore(tmp_path)
    with pytest.raises(ValueError, match=r"kind = '\.\./up'"):
        store.get_or_build("../up", {}, write_numbers)
    with pytest.raises(RuntimeError, match="wrote no file"):
        store.get_or_build("empty", {}, lambda folder: None)
    assert visible(tmp_path) == []
