"""Identity of a run: a fingerprint of the settings, data and code that its figures depend on."""

from __future__ import annotations

import inspect
import json
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

from recbole_lcrec.config.registry import get_trainer
from recbole_lcrec.preparation.locate import find_data_files
from recbole_lcrec.runtime.fingerprints import file_digest, fingerprint

__all__ = ["run_identity"]

_WITHOUT_EFFECT = frozenset(
    {
        "artifact_dir",
        "checkpoint_dir",
        "data_path",
        "gpu_id",
        "log_wandb",
        "reference",
        "resume",
        "seeds",
        "show_progress",
        "state",
        "table_format",
        "tuning_checkpoint_steps",
        "wandb_project",
    }
)
_PATHS = ("_allowed_items", "_deepspeed", "_encoder", "_file", "_ids", "_model", "_path", "base_model")
"""Ends of the keys that may name a file or folder."""

_ROOMS = ("bridge", "data", "decoding", "indexing", "instructions", "llm", "models", "preparation")
"""Rooms of this package whose code decides the figures."""


def run_identity(config: Any) -> str:
    """Return 16 digits that two runs share if the same settings and code meet the same data.

    Folders, logs and the like are left out. Of the data set's files the content counts; of raw files, and of files and
    folders that a setting names, such as a base model, the size and the time of the last change. Of code, that of this
    package and of the files of the model's and the trainer's class counts, and the versions of RecBole and PyTorch.

    Args:
        config: a :class:`recbole_lcrec.config.configurator.Config`.

    Raises:
        ValueError: the data set does not exist.
    """
    settings = {key: value for key, value in config.to_plain().items() if key not in _WITHOUT_EFFECT}
    named = {key: value for key, value in settings.items() if key.endswith(_PATHS) and isinstance(value, str) and value}
    files = find_data_files(config["dataset"], Path(config["data_path"]))
    beside = sorted(path for path in files.folder.glob(f"{files.name}.*") if path.is_file())
    trainer = get_trainer(config["MODEL_TYPE"], config.model)
    parts = {
        "settings": json.dumps(settings, sort_keys=True, default=str),
        "files": {key: _listing(Path(value)) for key, value in named.items()},
        "data": {path.name: _digest(path, *_stamp(path)) for path in beside},
        "raw": [[path.name, *_stamp(path)] for path in (files.raw.all() if files.raw else ())],
        "code": [_package_code(), *(_source(each) for each in (config.model_class, trainer))],
        "versions": [version("recbole"), version("torch")],
    }
    return fingerprint(parts)[:16]


def _listing(path: Path) -> list[list[Any]]:
    """Return name, size and time of a file, or of the files of a folder; empty if there is no such path."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [[str(file.relative_to(path)), *_stamp(file)] for file in files if file.is_file()]


def _stamp(path: Path) -> tuple[int, int]:
    return path.stat().st_size, path.stat().st_mtime_ns


@lru_cache(maxsize=256)
def _digest(path: Path, size: int, changed: int) -> str:
    """Return the SHA-256 of a file, computed once for each size and time of change."""
    return file_digest(path)


@cache
def _package_code() -> str:
    """Return a fingerprint of the modules that decide the figures."""
    package = Path(__file__).resolve().parents[1]
    modules = sorted(path for room in _ROOMS for path in (package / room).rglob("*.py"))
    return fingerprint({path.relative_to(package).as_posix(): file_digest(path) for path in modules})


@cache
def _source(defined: type) -> str:
    """Return the digest of the file that defines a class.

    A class without a file, as in a notebook, has a random one: its code may change, so no later process finds its runs.
    """
    try:
        return file_digest(Path(inspect.getfile(defined)))
    except (TypeError, OSError):
        return uuid4().hex
