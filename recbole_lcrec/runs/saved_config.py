"""Configuration of a saved folder.

It names the folder's own item index and list of allowed items.
"""

from __future__ import annotations

from collections.abc import Mapping
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_lcrec.config.configurator import Config
from recbole_lcrec.runs.saved import ALLOWED_FILE, allowed_file, run_values

__all__ = ["load_config", "present"]


def load_config(folder: Path, values: Mapping[str, Any] | None = None) -> tuple[Config, Path]:
    """Read the configuration of a saved run, with item index and list of allowed items set to the folder's files.

    Args:
        folder: folder with ``config.yaml`` and ``<dataset>.index.json``.
        values: parameters that differ from the run's.

    Returns:
        The configuration, and the file of the item index.

    Raises:
        ValueError: a file is missing.
    """
    saved = run_values(folder)
    if not saved.get("dataset"):
        raise ValueError(f"{folder / 'config.yaml'} names no dataset; it was not saved by a run")
    index = present(folder / f"{saved['dataset']}.index.json")
    named = saved.get("decoding_allowed_items")
    allowed = allowed_file(folder, named)
    if allowed is not None and not (folder / ALLOWED_FILE).is_file():
        getLogger().warning(
            f"{folder} contains no {ALLOWED_FILE}, so decoding_allowed_items = {named!r} of its config.yaml is read "
            f"from that path; put the list into the folder as {ALLOWED_FILE}"
        )
    no_embeddings = {"index_embedding_file": None, "index_embedding_ids": None}
    given = {"resume": None, "decoding_allowed_items": allowed, **no_embeddings, **(values or {})}
    given |= {"index_method": "auto", "index_file": str(index)}
    return Config(config_file_list=[folder / "config.yaml"], command_line=given), index


def present(path: Path) -> Path:
    """Return the path of a file of a saved run.

    Raises:
        ValueError: the file is missing.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing; the run that saved this folder may have been interrupted")
    return path
