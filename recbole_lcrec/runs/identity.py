"""Identity of a run: a fingerprint of the settings and data that its figures depend on."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

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


def run_identity(config: Any) -> str:
    """Return 16 digits that two runs share if and only if the same settings meet the same data.

    Folders, logs and the like are left out. Of the data set's files the content counts; of other files and folders that
    a setting names, such as a base model, the size and the time of the last change.

    Args:
        config: a :class:`recbole_lcrec.config.configurator.Config`.
    """
    import recbole_lcrec

    settings = {key: value for key, value in config.to_plain().items() if key not in _WITHOUT_EFFECT}
    texts = {key: value for key, value in settings.items() if isinstance(value, str)}
    named = {key: _listing(Path(value)) for key, value in texts.items() if os.sep in value or Path(value).suffix}
    folder, name = Path(config["data_path"]), config["dataset"]
    data = sorted(path for path in folder.glob(f"{name}.*") if path.is_file())
    parts = {
        "version": recbole_lcrec.__version__,
        "settings": json.dumps(settings, sort_keys=True, default=str),
        "files": {key: listing for key, listing in named.items() if listing},
        "data": {path.name: _digest(path, *_stamp(path)) for path in data},
    }
    return fingerprint(parts)[:16]


def _listing(path: Path) -> list[list[Any]]:
    """Return name, size and time of a file, or of the files of a folder; empty if there is no such path."""
    try:
        if not path.exists():
            return []
    except OSError:  # a text too long to be a path
        return []
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [[str(file.relative_to(path)), *_stamp(file)] for file in files if file.is_file()]


def _stamp(path: Path) -> tuple[int, int]:
    return path.stat().st_size, path.stat().st_mtime_ns


@lru_cache(maxsize=256)
def _digest(path: Path, size: int, changed: int) -> str:
    """Return the SHA-256 of a file, computed once for each size and time of change."""
    return file_digest(path)
