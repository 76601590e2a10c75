"""Fingerprints: one hash of everything that a result depends on.

They are equal in all processes and runs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["file_digest", "fingerprint", "folder_listing"]


def fingerprint(parts: Mapping[str, Any]) -> str:
    """Hash named values; equal content gives the same hash in every process and run.

    Values may be None, booleans, numbers, strings, bytes, lists and tuples (equivalent), mappings with string keys (in
    any order), dataclasses (their fields), NumPy arrays (dtype, shape, bytes) and scalars, and paths (a file's content;
    a folder's files with their relative names), nested to any depth.

    Returns:
        64 hexadecimal digits of SHA-256.

    Raises:
        ValueError: a value of another type, a NaN or infinite float, or a path that does not exist; names its position.
    """
    text = json.dumps(_canonical(parts, "parts"), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def folder_listing(folder: Path) -> dict[str, dict[str, Any]]:
    """Return ``{"bytes": size, "sha256": digits}`` by relative name, for every file in a folder, sorted by name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": file_digest(path)}
        for path in files
    }


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content, as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _canonical(value: Any, place: str) -> Any:
    """Return a JSON value that differs whenever the content differs; every container carries its type."""
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
        return ["file", file_digest(path)]
    if path.is_dir():
        return ["folder", [[name, entry["sha256"]] for name, entry in sorted(folder_listing(path).items())]]
    raise ValueError(f"{place} = {path} cannot be fingerprinted: no such file or folder")
