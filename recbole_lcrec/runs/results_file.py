"""``results.json`` of a saved run: results of its training and its test."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["write_results"]


def write_results(folder: Path, values: dict[str, Any], forget: Sequence[str] = ()) -> None:
    """Add values to a run's ``results.json``, replacing the file atomically.

    Args:
        folder: folder of the run.
        values: values to add; existing keys are replaced.
        forget: keys of an earlier test to remove first.
    """
    path = folder / "results.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    content = {key: value for key, value in content.items() if key not in forget}
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(_finite({**content, **values}), indent=2, default=float) + "\n", encoding="utf-8")
    partial.replace(path)


def _finite(value: Any) -> Any:
    """Return a value with None for numbers that JSON lacks, such as RecBole's -inf for a score without validation."""
    if isinstance(value, dict):
        return {key: _finite(content) for key, content in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(content) for content in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
