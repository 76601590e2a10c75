"""Artifacts: folders named by a fingerprint of everything they depend on, whole or absent.

Knows how to fingerprint parts, build a folder once under a lock, prove that it is whole, and throw torn ones away.
Refuses to know what is inside: each stage writes its own arrays (.npy without pickle), safetensors and JSON, never
pickles, and reads them back.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

__all__ = ["Artifact", "ArtifactStore", "fingerprint"]

_MANIFEST = "manifest.json"
_KIND = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]*")
_TEMPORARY = ".building"


def fingerprint(parts: Mapping[str, Any]) -> str:
    """Hashes named parts, the same for the same content in any process and on any day.

    Values may be None, booleans, numbers, strings, bytes, lists and tuples (alike), mappings with string keys (in any
    order), dataclasses (their fields), NumPy arrays (dtype, shape, bytes) and scalars, and paths (a file's content; a
    folder's files with their relative names), nested at will.

    Returns:
        64 hexadecimal digits of SHA-256.

    Raises:
        ValueError: a value of another kind, a NaN or infinite float, or a path that is not there; named by its place.
    """
    text = json.dumps(_canonical(parts, "parts"), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Artifact:
    """A finished folder, and whether it was there before."""

    path: Path
    reused: bool


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
        """
        if not _KIND.fullmatch(kind):
            raise ValueError(f"kind = {kind!r} must be a word of letters, digits and underscores")
        digest = fingerprint(parts)
        name = f"{kind}-{digest[:16]}"
        self.root.mkdir(parents=True, exist_ok=True)
        self._sweep(except_for=name)
        with _locked(self._lock(name), name):
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
        temporary.mkdir()
        try:
            build(temporary)
            files = _listing(temporary)
            if not files:
                raise RuntimeError(f"the builder of {final.name} wrote no file")
            manifest = {"fingerprint": digest, "files": files, "parts": _summary(parts)}
            (temporary / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
            os.replace(temporary, final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

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


def _locked(lock: FileLock, name: str) -> Any:
    """Acquires the lock, telling the reader of the log when that means waiting."""
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        getLogger().info(f"waiting for another process that builds {name}")
        return lock.acquire()


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
    found = _listing(folder)
    torn = sorted(name for name, entry in listed.items() if found.get(name) != entry)
    return f"files missing or changed: {', '.join(torn)}" if torn else None


def _listing(folder: Path) -> dict[str, dict[str, Any]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / _MANIFEST)
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": _file_digest(path)}
        for path in files
    }


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _canonical(value: Any, place: str) -> Any:
    """A JSON value that differs wherever the content does; every container carries its kind."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not np.isfinite(value):
            raise ValueError(f"{place} = {value} cannot be fingerprinted: it must be finite")
        return value
    if isinstance(value, bytes):
        return ["bytes", hashlib.sha256(value).hexdigest()]
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            return ["objects", list(value.shape), _canonical(value.reshape(-1).tolist(), place)]
        data = hashlib.sha256(np.ascontiguousarray(value).data).hexdigest() if value.size else ""
        return ["array", value.dtype.str, list(value.shape), data]
    if isinstance(value, os.PathLike):
        return _canonical_path(Path(value), place)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise ValueError(f"{place} has keys that are not strings: {list(value)[:5]}")
        return ["mapping", [[key, _canonical(value[key], f"{place}.{key}")] for key in sorted(value)]]
    if isinstance(value, (list, tuple)):
        return ["sequence", [_canonical(element, f"{place}[{i}]") for i, element in enumerate(value)]]
    raise ValueError(f"{place} of type {type(value).__name__} cannot be fingerprinted: {value!r:.100}")


def _canonical_path(path: Path, place: str) -> Any:
    if path.is_file():
        return ["file", _file_digest(path)]
    if path.is_dir():
        return ["folder", [[name, entry["sha256"]] for name, entry in sorted(_listing(path).items())]]
    raise ValueError(f"{place} = {path} cannot be fingerprinted: there is no such file or folder")


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
