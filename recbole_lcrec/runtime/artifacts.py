"""Cached artifacts: folders named by a fingerprint of their inputs.

A folder is either complete or absent.

A folder is built once under a file lock, by one process or in parts by several, and verified against its manifest;
incomplete folders are rebuilt. Each stage defines its own content: arrays (.npy without pickle), safetensors and JSON,
never pickles.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from recbole_lcrec.runtime.fingerprints import fingerprint, folder_listing
from recbole_lcrec.runtime.processes import process_count, process_rank

__all__ = ["Artifact", "ArtifactStore", "DiskFullError", "fingerprint", "put_back", "replace_text", "whole_folder"]

_MANIFEST = "manifest.json"
_KIND = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]*")
_TEMPORARY = ".building"
_SHORT_WRITE = re.compile(r"No space left on device|^\d+ requested and \d+ written$")


@dataclass(frozen=True)
class Artifact:
    """A complete folder, and whether it existed before the call."""

    path: Path
    reused: bool


class DiskFullError(OSError):
    """There is no disk space left for an artifact; the message names the folder and the remedy."""


class ArtifactStore:
    """Artifacts under one root folder, which is created on first use.

    ``<root>/<kind>-<16 digits>`` contains what its manifest lists; it is renamed to this name after the manifest is
    written. Work in progress is kept in a hidden sibling folder, guarded by a lock that is released when its process
    ends.

    Args:
        root: the folder; several processes may share it.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def get_or_build(self, kind: str, parts: Mapping[str, Any], build: Callable[[Path], None]) -> Artifact:
        """Return the artifact for these inputs, building it if it is absent or incomplete.

        A second process that requests the same artifact waits for the first and reuses its result.

        Args:
            kind: what it is, a word such as ``embeddings``.
            parts: all inputs that determine the content (see ``fingerprint``).
            build: writes the content into the empty folder it receives.

        Raises:
            ValueError: ``kind`` is not a word, or ``parts`` cannot be fingerprinted.
            RuntimeError: ``build`` wrote nothing.
            DiskFullError: there is no disk space left; partial files have been removed.
        """
        name, digest = self._begin(kind, parts)
        with _locked(self._lock(name), name):
            return self._get_or_build(name, digest, parts, build)

    def get_or_build_in_parts(
        self,
        kind: str,
        parts: Mapping[str, Any],
        count: int,
        build_part: Callable[[int, Path], None],
        join: Callable[[list[Path], Path], None],
    ) -> Artifact:
        """Return an artifact as ``get_or_build`` does, with the work split into parts that several processes share.

        The processes coordinate only through files under the root. Process r of W builds parts r, r + W, ..., then any
        part that nobody has started; each part is an artifact of its own. The first process to finish joins them, after
        waiting for parts in progress and rebuilding those of dead processes. So the content does not depend on W, an
        interrupted run resumes with the parts it has, and a process that starts late finds the complete artifact. Parts
        are removed once they are joined; a single part is not stored separately.

        Args:
            kind: as in ``get_or_build``.
            parts: inputs that determine the whole, as in ``get_or_build``, without the number of processes.
            count: number of parts.
            build_part: writes part i into the empty folder it receives.
            join: receives the parts' folders in order and writes the whole into the empty folder it receives.

        Raises:
            ValueError: as in ``get_or_build``, or ``count`` is below 1.
            RuntimeError, DiskFullError: as in ``get_or_build``.
        """
        if count < 1:
            raise ValueError(f"{kind} in {count} parts: there must be at least one")
        name, digest = self._begin(kind, parts)
        names = [f"{kind}_part-{digest[:16]}-{i:05d}" for i in range(count)] if count > 1 else []

        def make_part(i: int) -> Path:
            key = {"whole": digest, "part": i, "of": count}
            return self._get_or_build(names[i], fingerprint(key), key, lambda folder: build_part(i, folder)).path

        def build(folder: Path) -> None:
            made = []
            for i, part in enumerate(names):
                with _locked(self._lock(part), part):
                    made.append(make_part(i))
            if names:
                return join(made, folder)
            alone = folder / ".part"
            alone.mkdir()
            build_part(0, alone)
            join([alone], folder)
            shutil.rmtree(alone)

        if names and not self._found(name, digest):
            for i in _own_first(count, process_rank(), process_count()):
                with suppress(Timeout), self._lock(names[i]).acquire(timeout=0):  # held: another process is building it
                    if not (self.root / name).exists() and not (self.root / names[i]).exists():
                        make_part(i)
        with _locked(self._lock(name), name):
            artifact = self._get_or_build(name, digest, parts, build)
        self._remove(names)
        return artifact

    def _begin(self, kind: str, parts: Mapping[str, Any]) -> tuple[str, str]:
        """Return name and fingerprint of an artifact, after creating the root and removing leftovers."""
        if not _KIND.fullmatch(kind):
            raise ValueError(f"kind = {kind!r} must be a word of letters, digits and underscores")
        digest = fingerprint(parts)
        name = f"{kind}-{digest[:16]}"
        self.root.mkdir(parents=True, exist_ok=True)
        self._sweep(except_for=name)
        return name, digest

    def _found(self, name: str, digest: str) -> bool:
        """Return whether the artifact is complete and no process is building it right now."""
        try:
            with self._lock(name).acquire(timeout=0):
                return _problem(self.root / name, digest) is None
        except Timeout:
            return False

    def _get_or_build(
        self, name: str, digest: str, parts: Mapping[str, Any], build: Callable[[Path], None]
    ) -> Artifact:
        """Return the artifact of this name; the caller holds its lock."""
        shutil.rmtree(self._temporary(name), ignore_errors=True)
        final = self.root / name
        problem = _problem(final, digest)
        if problem is None:
            return Artifact(final, reused=True)
        if final.exists():
            getLogger().warning(f"artifact {final} is incomplete ({problem}); rebuilding it")
            shutil.rmtree(final)
        self._build(final, digest, parts, build)
        return Artifact(final, reused=False)

    def _build(self, final: Path, digest: str, parts: Mapping[str, Any], build: Callable[[Path], None]) -> None:
        temporary = self._temporary(final.name)
        try:
            temporary.mkdir()
            build(temporary)
            files = _content(temporary)
            if not files:
                raise RuntimeError(f"the builder of {final.name} wrote no file")
            manifest = {"fingerprint": digest, "files": files, "parts": _summary(parts)}
            (temporary / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
            os.replace(temporary, final)
        except BaseException as err:
            shutil.rmtree(temporary, ignore_errors=True)
            if _disk_is_full(err):
                raise DiskFullError(
                    errno.ENOSPC,
                    f"no space left in {self.root} for {final.name} ({err}); partial files have been removed: free "
                    "some space, or set artifact_dir to a folder on another disk",
                ) from err
            raise

    def _remove(self, names: Sequence[str]) -> None:
        """Remove joined parts and their locks; a part that another process holds is left to that process."""
        for name in names:
            with suppress(Timeout), self._lock(name).acquire(timeout=0):
                shutil.rmtree(self.root / name, ignore_errors=True)
                Path(self._lock(name).lock_file).unlink(missing_ok=True)

    def _sweep(self, except_for: str) -> None:
        """Remove what dead processes left behind: temporary folders whose lock is free."""
        for leftover in self.root.glob(f".*{_TEMPORARY}"):
            name = leftover.name[1 : -len(_TEMPORARY)]
            if name == except_for:
                continue
            try:
                with self._lock(name).acquire(timeout=0):
                    shutil.rmtree(leftover, ignore_errors=True)
            except Timeout:
                getLogger().debug(f"{leftover} belongs to a running process")

    def _temporary(self, name: str) -> Path:
        return self.root / f".{name}{_TEMPORARY}"

    def _lock(self, name: str) -> FileLock:
        return FileLock(self.root / f".{name}.lock")


def replace_text(path: Path, text: str) -> None:
    """Write a UTF-8 file under a temporary name and rename it, so that readers never see a partial file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(final: Path, owner: bool = True) -> Iterator[Path]:
    """Yield a hidden folder beside ``final`` that replaces it once everything is written.

    Args:
        final: the target folder; its parent is created.
        owner: whether this process creates and renames the folder; several processes may write into it.

    Raises:
        DiskFullError: there is no disk space left. After any error the hidden folder is removed and an older ``final``
            stays.
    """
    partial, older = final.with_name(f".{final.name}.saving"), _older(final)
    try:
        if owner:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        yield partial
        if owner:
            put_back(final)
            shutil.rmtree(older, ignore_errors=True)
            if final.exists():
                final.rename(older)
            partial.rename(final)
            shutil.rmtree(older, ignore_errors=True)
    except BaseException as err:
        if owner:
            shutil.rmtree(partial, ignore_errors=True)
        if _disk_is_full(err):
            raise DiskFullError(
                errno.ENOSPC,
                f"no space left for {final} ({err}); partial files have been removed: free some space, or set "
                "checkpoint_dir to a folder on another disk",
            ) from err
        raise


def put_back(final: Path) -> None:
    """Restore a folder if the process was killed between the two renames of :func:`whole_folder`."""
    if not final.exists() and _older(final).is_dir():
        _older(final).rename(final)


def _older(final: Path) -> Path:
    return final.with_name(f".{final.name}.old")


def _locked(lock: FileLock, name: str) -> Any:
    """Acquire the lock, and log a line if another process holds it."""
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        getLogger().info(f"waiting for another process that is building {name}")
        return lock.acquire()


def _own_first(count: int, rank: int, world: int) -> list[int]:
    """Return the parts in the order in which a process takes them: its own, then the others' from the end."""
    return [*range(rank, count, world), *(i for i in reversed(range(count)) if i % world != rank)]


def _disk_is_full(err: BaseException) -> bool:
    """Check the error's number, or its message: NumPy and safetensors report a full disk without a number."""
    if isinstance(err, DiskFullError):
        return False  # already reported, by the builder of a part
    return getattr(err, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or bool(_SHORT_WRITE.search(str(err)))


def _problem(folder: Path, digest: str) -> str | None:
    """Return why the folder is not a complete artifact with this fingerprint, or None if it is."""
    if not folder.is_dir():
        return "absent"
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        listed, found_digest = dict(manifest["files"]), manifest["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as err:
        return f"manifest unreadable: {err}"
    if found_digest != digest:
        return "made from other inputs"
    found = _content(folder)
    changed = sorted(name for name, entry in listed.items() if found.get(name) != entry)
    return f"files missing or changed: {', '.join(changed)}" if changed else None


def _content(folder: Path) -> dict[str, dict[str, Any]]:
    return {name: entry for name, entry in folder_listing(folder).items() if name != _MANIFEST}


def _summary(value: Any) -> Any:
    """Shorten the inputs for readers of the manifest."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _summary(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _summary(element) for key, element in value.items()}
    if isinstance(value, np.ndarray):
        return f"array {value.dtype} {list(value.shape)}"
    if isinstance(value, (list, tuple)) and len(value) > 20:
        return f"{len(value)} elements"
    if isinstance(value, (list, tuple)):
        return [_summary(element) for element in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value) if len(str(value)) <= 200 else f"{str(value)[:200]}..."
