"""``results.json`` of a saved run: results of its training and its test."""

from __future__ import annotations

import json
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
    partial.write_text(json.dumps({**content, **values}, indent=2, default=float) + "\n", encoding="utf-8")
    partial.replace(path)
