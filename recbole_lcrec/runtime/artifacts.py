"""Artifacts: folders named by a fingerprint of everything they depend on, whole or absent.

Knows how to build a folder once under a lock, alone or part by part with other processes, prove that it is whole, and
throw torn ones away. Refuses to know what is inside: each stage writes its own arrays (.npy without pickle),
safetensors and JSON, never pickles, and reads them back.
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
    """A finished folder, and whether it was there before."""

    path: Path
    reused: bool


class DiskFullError(OSError):
    """There is no space left for an artifact; says where, and what to do."""


class ArtifactStore:
    """Artifacts under one root folder, which is made when first needed.

    ``<root>/<kind>-<16 digits>`` is whole: it holds what its manifest lists, and it got its name after the manifest
    was written. Work in progress lives in a hidden sibling and is guarded by a lock that ends with its process.

    Args:
        root: the folder; several processes may share it.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def get_or_build(self, kind: str, parts: Mapping[str, Any], build: Callable[[Path], None]) -> Artifact:
        """Returns the artifact of these parts, building it when it is absent or torn.

        A second process that wants the same artifact waits for the first and reuses its work.

        Args:
            kind: what it is, a word such as ``embeddings``.
            parts: everything that the content depends on (see ``fingerprint``).
            build: writes the content into the empty folder that it is given.

        Raises:
            ValueError: a kind that is no word, or parts that cannot be fingerprinted.
            RuntimeError: ``build`` wrote nothing.
            DiskFullError: there is no space left; what was half written is gone.
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
        """As ``get_or_build``, with the work cut into parts that a launcher's processes share through the root alone.

        Process r of W makes the parts r, r + W, ..., then those that nobody has begun, each an artifact of its own; who
        is ready first joins them, waiting for those at work and making what a dead process left. So the content does
        not depend on W, an interrupted run goes on with the parts that it has, and a process that comes late finds the
        whole. The parts go once the whole is there; a single part never gets a name.

        Args:
            kind: as in ``get_or_build``.
            parts: what the whole depends on, as in ``get_or_build``; the number of processes is not among it.
            count: how many parts.
            build_part: writes part i into the empty folder that it is given.
            join: takes the parts' folders, in order, and writes the whole into the empty folder that it is given.

        Raises:
            ValueError: as in ``get_or_build``, or no part.
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
                with suppress(Timeout), self._lock(names[i]).acquire(timeout=0):  # held: another process is at it
                    if not (self.root / name).exists() and not (self.root / names[i]).exists():
                        make_part(i)
        with _locked(self._lock(name), name):
            artifact = self._get_or_build(name, digest, parts, build)
        self._remove(names)
        return artifact

    def _begin(self, kind: str, parts: Mapping[str, Any]) -> tuple[str, str]:
        """Name and fingerprint of an artifact, in a root that is there and swept."""
        if not _KIND.fullmatch(kind):
            raise ValueError(f"kind = {kind!r} must be a word of letters, digits and underscores")
        digest = fingerprint(parts)
        name = f"{kind}-{digest[:16]}"
        self.root.mkdir(parents=True, exist_ok=True)
        self._sweep(except_for=name)
        return name, digest

    def _found(self, name: str, digest: str) -> bool:
        """Whether the artifact is there and whole, as far as nobody is building it at this moment."""
        try:
            with self._lock(name).acquire(timeout=0):
                return _problem(self.root / name, digest) is None
        except Timeout:
            return False

    def _get_or_build(
        self, name: str, digest: str, parts: Mapping[str, Any], build: Callable[[Path], None]
    ) -> Artifact:
        """The artifact of this name, whose lock the caller holds."""
        shutil.rmtree(self._temporary(name), ignore_errors=True)
        final = self.root / name
        problem = _problem(final, digest)
        if problem is None:
            return Artifact(final, reused=True)
        if final.exists():
            getLogger().warning(f"artifact {final} is torn ({problem}); it is built again")
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
                    f"no space left in {self.root} for {final.name} ({err}); nothing half written stays there: free "
                    "some space, or name a folder on another disk by artifact_dir",
                ) from err
            raise

    def _remove(self, names: Sequence[str]) -> None:
        """Removes parts and their locks, once the whole is there; one that is held is its holder's to remove."""
        for name in names:
            with suppress(Timeout), self._lock(name).acquire(timeout=0):
                shutil.rmtree(self.root / name, ignore_errors=True)
                Path(self._lock(name).lock_file).unlink(missing_ok=True)

    def _sweep(self, except_for: str) -> None:
        """Removes what processes that died have left: a temporary folder whose lock is free has no owner."""
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
    """Writes a UTF-8 file beside and renames it, so that nobody ever reads half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(final: Path, owner: bool = True) -> Iterator[Path]:
    """A hidden folder beside ``final`` that takes its place, and that of an older one, when all is written.

    Args:
        final: the folder to be; its parent is made.
        owner: whether this process makes and renames the folder; several may write into it.

    Raises:
        DiskFullError: there is no space left. After any error the hidden folder is gone and the older one stays.
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
                f"no space left for {final} ({err}); nothing half written stays there: free some space, or name a "
                "folder on another disk by checkpoint_dir",
            ) from err
        raise


def put_back(final: Path) -> None:
    """Gives a folder back its place, where a kill fell between the two moments of :func:`whole_folder`'s exchange."""
    if not final.exists() and _older(final).is_dir():
        _older(final).rename(final)


def _older(final: Path) -> Path:
    return final.with_name(f".{final.name}.old")


def _locked(lock: FileLock, name: str) -> Any:
    """Acquires the lock, telling the reader of the log when that means waiting."""
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        getLogger().info(f"waiting for another process that builds {name}")
        return lock.acquire()


def _own_first(count: int, rank: int, world: int) -> list[int]:
    """The parts in the order in which a process takes them: its own, then the others' from the end."""
    return [*range(rank, count, world), *(i for i in reversed(range(count)) if i % world != rank)]


def _disk_is_full(err: BaseException) -> bool:
    """By the error's number, or by its words: NumPy and safetensors tell it without one."""
    if isinstance(err, DiskFullError):
        return False  # told already, by the builder of a part
    return getattr(err, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or bool(_SHORT_WRITE.search(str(err)))


def _problem(folder: Path, digest: str) -> str | None:
    """Why the folder is not a whole artifact of this fingerprint, or None when it is."""
    if not folder.is_dir():
        return "absent"
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        listed, found_digest = dict(manifest["files"]), manifest["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as err:
        return f"manifest unreadable: {err}"
    if found_digest != digest:
        return "made from other parts"
    found = _content(folder)
    torn = sorted(name for name, entry in listed.items() if found.get(name) != entry)
    return f"files missing or changed: {', '.join(torn)}" if torn else None


def _content(folder: Path) -> dict[str, dict[str, Any]]:
    return {name: entry for name, entry in folder_listing(folder).items() if name != _MANIFEST}


def _summary(value: Any) -> Any:
    """The parts in few words, for a reader of the manifest."""
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
