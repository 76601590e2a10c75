"""Fingerprints distinguish content; artifact folders are complete or absent, and processes share the work on them."""

import dataclasses
import errno
import hashlib
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError

from recbole_lcrec.runtime.artifacts import ArtifactStore, DiskFullError, fingerprint, put_back, whole_folder


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
    # SHA-256 of the canonical text, computed by hand: every process must find the same folder
    text = '["mapping",[["a",1],["b",["sequence",["x",null]]]]]'
    assert fingerprint({"b": ("x", None), "a": 1}) == hashlib.sha256(text.encode()).hexdigest()


def test_fingerprint_is_equal_for_equal_content(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"same")
    two.write_bytes(b"same")
    array = np.arange(12.0).reshape(3, 4)
    left = {"p": one, "s": Settings(3, ("a",)), "x": array, "n": np.float64(0.5), "l": (1, 2)}
    right = {"l": [1, 2], "n": 0.5, "x": np.asfortranarray(array), "s": {"size": 3, "names": ["a"]}, "p": two}
    assert fingerprint(left) == fingerprint(right)


def test_fingerprint_differs_for_different_content(tmp_path):
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
def test_fingerprint_rejects(value, message):
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
def test_an_incomplete_folder_is_rebuilt(tmp_path, tear):
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
def test_the_next_call_removes_a_killed_build(tmp_path, parts):
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


def test_concurrent_processes_build_once(tmp_path):
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


def test_invalid_kinds_and_empty_builds(tmp_path):
    store = ArtifactStore(tmp_path)
    with pytest.raises(ValueError, match=r"kind = '\.\./up'"):
        store.get_or_build("../up", {}, write_numbers)
    with pytest.raises(RuntimeError, match="wrote no file"):
        store.get_or_build("empty", {}, lambda folder: None)
    assert visible(tmp_path) == []


def write_until_the_disk_is_full(folder: Path) -> None:
    write_numbers(folder)
    with open("/dev/full", "wb") as stream:  # a device without space, which NumPy reports like a full disk
        np.save(stream, np.arange(10**6))


def raise_after_writing(error):
    def build(folder):
        write_numbers(folder)
        raise error

    return build


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(
            write_until_the_disk_is_full,
            marks=pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full here"),
        ),
        raise_after_writing(OSError(errno.ENOSPC, "No space left on device")),
        raise_after_writing(OSError(errno.EDQUOT, "Disk quota exceeded")),
        raise_after_writing(OSError("1000000 requested and 0 written")),
        raise_after_writing(SafetensorError("I/O error: No space left on device (os error 28)")),
    ],
)
def test_a_full_disk_is_one_error_and_leaves_no_files(tmp_path, build):
    store = ArtifactStore(tmp_path)
    with pytest.raises(DiskFullError, match=rf"no space left in {tmp_path} for numbers-.* artifact_dir"):
        store.get_or_build("numbers", {}, build)
    assert visible(tmp_path) == []
    assert not store.get_or_build("numbers", {}, write_numbers).reused


PARTS = 7


class Work:
    """Part i is the number i; the whole lists them. Each process records what it built."""

    def __init__(self, root: Path, seconds: float = 0.0, fail_at: int | None = None, error: type = RuntimeError):
        self.root, self.seconds, self.fail_at, self.error = root, seconds, fail_at, error
        self.made: list[int] = []
        self.joins = 0

    def part(self, i: int, folder: Path) -> None:
        assert list(folder.iterdir()) == []
        if i == self.fail_at:
            raise self.error("interrupted")
        time.sleep(self.seconds)
        self.made.append(i)
        (folder / "number").write_text(str(i))

    def join(self, parts: list[Path], folder: Path) -> None:
        self.joins += 1
        (folder / "numbers").write_text(" ".join((part / "number").read_text() for part in parts))

    def run(self, count: int = PARTS):
        return ArtifactStore(self.root).get_or_build_in_parts("numbers", {"n": 1}, count, self.part, self.join)


def as_process(monkeypatch, rank: int, world: int) -> None:
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(world))


def test_parts_are_joined_and_removed(tmp_path):
    work = Work(tmp_path)
    artifact = work.run()
    assert not artifact.reused and artifact.path == tmp_path / f"numbers-{fingerprint({'n': 1})[:16]}"
    assert (artifact.path / "numbers").read_text() == "0 1 2 3 4 5 6"
    assert work.made == list(range(PARTS)) and work.joins == 1
    assert visible(tmp_path) == [artifact.path.name]
    assert not list(tmp_path.glob(".numbers_part*"))
    late = Work(tmp_path)
    assert late.run().reused and late.made == [] and late.joins == 0


def test_a_single_part_is_not_stored(tmp_path):
    class Looking(Work):
        def join(self, parts, folder):
            assert not list(tmp_path.glob("numbers_part*"))
            super().join(parts, folder)

    work = Looking(tmp_path)
    artifact = work.run(count=1)
    assert (artifact.path / "numbers").read_text() == "0" and work.made == [0]
    assert sorted(path.name for path in artifact.path.iterdir()) == ["manifest.json", "numbers"]
    with pytest.raises(ValueError, match="numbers in 0 parts"):
        work.run(count=0)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_run_resumes_with_finished_parts(tmp_path, error):
    first = Work(tmp_path, fail_at=3, error=error)
    with pytest.raises(error):
        first.run()
    assert first.made == [0, 1, 2] and len(visible(tmp_path)) == 3
    second = Work(tmp_path)
    path = second.run().path
    assert second.made == [3, 4, 5, 6]
    assert (path / "numbers").read_text() == "0 1 2 3 4 5 6" and visible(tmp_path) == [path.name]


def test_a_damaged_part_is_rebuilt(tmp_path):
    with pytest.raises(RuntimeError):
        Work(tmp_path, fail_at=3).run()
    (part,) = tmp_path.glob("numbers_part-*-00001")
    (part / "number").write_text("9")
    second = Work(tmp_path)
    assert (second.run().path / "numbers").read_text() == "0 1 2 3 4 5 6"
    assert sorted(second.made) == [1, 3, 4, 5, 6]


def test_a_damaged_whole_is_rebuilt(tmp_path):
    path = Work(tmp_path).run().path
    (path / "numbers").write_text("9")
    again = Work(tmp_path)
    assert not again.run().reused and again.made == list(range(PARTS))
    assert (path / "numbers").read_text() == "0 1 2 3 4 5 6" and visible(tmp_path) == [path.name]


def test_leftover_parts_are_removed(tmp_path):
    path = Work(tmp_path).run().path
    leftover = tmp_path / f"numbers_part-{path.name[-16:]}-00002"
    leftover.mkdir()
    assert Work(tmp_path).run().reused and visible(tmp_path) == [path.name]


def test_a_process_builds_its_own_parts_first(tmp_path, monkeypatch):
    as_process(monkeypatch, 1, 3)
    alone = Work(tmp_path)
    alone.run()
    assert alone.made == [1, 4, 6, 5, 3, 2, 0]


def test_a_full_disk_within_a_part_keeps_the_others(tmp_path):
    class Full(Work):
        def part(self, i, folder):
            if i == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            super().part(i, folder)

    with pytest.raises(DiskFullError, match=r"no space left in .* for numbers_part-"):
        Full(tmp_path).run()
    assert len(visible(tmp_path)) == 2
    second = Work(tmp_path)
    second.run()
    assert second.made == [2, 3, 4, 5, 6]


def _take_part(root: Path, rank: int, world: int, seconds: float, results, together) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world))
    work = Work(root, seconds)
    together.wait()
    artifact = work.run()
    results.put((rank, work.made, work.joins, artifact.reused, (artifact.path / "numbers").read_text()))


def start_process(root: Path, rank: int, seconds: float, results, together):
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_take_part, args=(root, rank, 2, seconds, results, together))
    process.start()
    return process


def finish(processes, results) -> dict[int, tuple]:
    found = {rank: rest for rank, *rest in (results.get(timeout=30) for _ in processes)}
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(processes)
    return found


@pytest.mark.parametrize("seconds", [(0.05, 0.05), (0.01, 0.6), (0.0, 0.0)])
def test_two_processes_share_the_parts(tmp_path, seconds):
    """Equally fast, or one much slower: each part is built once, and the result is the same."""
    context = multiprocessing.get_context("fork")
    results, together = context.Queue(), context.Barrier(2)
    found = finish([start_process(tmp_path, r, seconds[r], results, together) for r in range(2)], results)
    assert sorted(found[0][0] + found[1][0]) == list(range(PARTS))
    assert found[0][1] + found[1][1] == 1
    assert found[0][2] != found[1][2]
    assert found[0][3] == found[1][3] == "0 1 2 3 4 5 6"
    assert len(visible(tmp_path)) == 1 and not list(tmp_path.glob(".numbers_part*"))
    if seconds == (0.05, 0.05):
        assert found[0][0] and found[1][0]


def test_parts_of_a_dead_process_are_rebuilt(tmp_path):
    context = multiprocessing.get_context("fork")
    results, alone = context.Queue(), context.Barrier(1)
    dying = start_process(tmp_path, 1, 60.0, results, alone)
    while not list(tmp_path.glob(".numbers_part*.building")):
        time.sleep(0.01)
    living = start_process(tmp_path, 0, 0.01, results, alone)
    while len(list(tmp_path.glob("numbers_part*"))) < PARTS - 1:
        time.sleep(0.01)
    os.kill(dying.pid, signal.SIGKILL)
    dying.join()
    found = finish([living], results)
    assert sorted(found[0][0]) == list(range(PARTS)) and found[0][0][-1] == 1
    assert len(visible(tmp_path)) == 1


def test_put_back_after_a_kill_between_renames(tmp_path):
    final = tmp_path / "run"
    with whole_folder(final) as partial:
        (partial / "note").write_text("first", encoding="utf-8")
    final.rename(tmp_path / ".run.old")  # what a kill right after the first rename leaves
    put_back(final)
    assert (final / "note").read_text(encoding="utf-8") == "first"
    put_back(final)  # nothing to do
    final.rename(tmp_path / ".run.old")
    with whole_folder(final) as partial:
        (partial / "note").write_text("second", encoding="utf-8")
    assert (final / "note").read_text(encoding="utf-8") == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
