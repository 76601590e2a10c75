"""Files of a learned index: codes, the trained method, and the numbers of its training.

Artifacts and saved runs hold the same files, so that new items can be indexed from a saved run alone.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from recbole_lcrec.config.resources import properties_dir
from recbole_lcrec.config.settings import IndexSettings, TextSettings
from recbole_lcrec.config.values import read_yaml
from recbole_lcrec.indexing.base import IndexMethod
from recbole_lcrec.indexing.item_index import ItemIndex
from recbole_lcrec.indexing.methods import index_method
from recbole_lcrec.runtime.artifacts import replace_text

__all__ = [
    "CODES_FILE",
    "METHOD_FILE",
    "PAGE_FILE",
    "REPORT_FILE",
    "STATE_FILE",
    "SavedMethod",
    "add_to_report",
    "load_method",
    "read_index",
    "read_report",
    "save_method",
    "saved_codebook_sizes",
]

CODES_FILE = "codes.npy"
METHOD_FILE = "indexer.json"
STATE_FILE = "indexer.safetensors"
REPORT_FILE = "index_report.json"
PAGE_FILE = "index_report.html"


@dataclass(frozen=True, eq=False)
class SavedMethod:
    """A trained method and what is needed to apply it to new items.

    Attributes:
        method: the trained method.
        codebook_sizes: codes of each level of its index.
        text: how the item texts were encoded; None where embeddings came from a file or were not needed.
    """

    method: IndexMethod
    codebook_sizes: tuple[int, ...]
    text: TextSettings | None


def save_method(saved: SavedMethod, folder: Path) -> None:
    """Write ``indexer.json`` and, for a method with learned tensors, ``indexer.safetensors`` to an existing folder."""
    content = {
        "method": saved.method.settings.method,
        "seed": saved.method.seed,
        "codebook_sizes": list(saved.codebook_sizes),
        "settings": dataclasses.asdict(saved.method.settings),
        "text": dataclasses.asdict(saved.text) if saved.text else None,
    }
    (folder / METHOD_FILE).write_text(json.dumps(content, indent=1), encoding="utf-8")
    state = saved.method.state()
    if state:
        save_file(state, folder / STATE_FILE)


def load_method(folder: Path, device: torch.device) -> SavedMethod:
    """Load what :func:`save_method` wrote.

    Raises:
        ValueError: a file is missing or damaged, tensors do not match the settings, or the method's class cannot be
            imported.
    """
    content = _content(folder / METHOD_FILE)
    path = folder / STATE_FILE
    try:
        settings = IndexSettings.from_config(_keyed(IndexSettings, content["settings"]))
        text = TextSettings.from_config(_keyed(TextSettings, content["text"])) if content["text"] else None
        name, sizes, seed = str(content["method"]), tuple(content["codebook_sizes"]), int(content["seed"])
        state = load_file(path) if path.is_file() else {}
    except (KeyError, TypeError, AttributeError, ValueError, SafetensorError) as err:
        raise ValueError(f"{folder}: {METHOD_FILE} or {STATE_FILE} is damaged ({err}); restore the folder") from err
    try:
        kind = index_method(name)
    except ValueError as err:
        raise ValueError(f"{folder / METHOD_FILE}: {err}") from err
    try:
        method = kind.from_state(state, settings, seed, device)
    except ValueError as err:
        raise ValueError(f"{path}: {err}") from err
    return SavedMethod(method, sizes, text)


def saved_codebook_sizes(folder: Path) -> tuple[int, ...] | None:
    """Return the codes of each level of the index in a folder; None where the index was given, not learned."""
    path = folder / METHOD_FILE
    return tuple(_content(path)["codebook_sizes"]) if path.is_file() else None


def read_index(folder: Path) -> ItemIndex:
    """Read the index of an artifact."""
    sizes = tuple(_content(folder / METHOD_FILE)["codebook_sizes"])
    return ItemIndex(np.load(folder / CODES_FILE, allow_pickle=False), sizes)


def read_report(folder: Path) -> dict[str, Any]:
    """Read the numbers of an index's training, with ``curve`` (one mapping per epoch); empty where there are none."""
    path = folder / REPORT_FILE
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def add_to_report(folder: Path, numbers: Mapping[str, int]) -> None:
    """Update the numbers saved in a folder, if any; ``items_indexed_later`` is added to the saved value."""
    report = read_report(folder)
    if report:
        later = report.get("items_indexed_later", 0) + numbers["items_indexed_later"]
        text = json.dumps({**report, **numbers, "items_indexed_later": later}, indent=1)
        replace_text(folder / REPORT_FILE, text)


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as err:
        raise ValueError(
            f"{path} does not exist: the index there was given, not learned, so no method is saved that could index "
            "new items; learn one with index_method=rqvae"
        ) from err
    except (json.JSONDecodeError, UnicodeDecodeError) as err:
        raise ValueError(f"{path} is damaged ({err}); restore the folder") from err
    if not isinstance(content, dict) or "codebook_sizes" not in content:
        raise ValueError(f"{path} does not describe an index; restore the folder")
    return content


def _keyed(kind: type[IndexSettings] | type[TextSettings], saved: dict[str, Any]) -> dict[str, Any]:
    """Return saved settings by key; keys that the saving version did not have get their present defaults."""
    defaults = read_yaml(properties_dir() / str(kind.default_file))
    return {key: saved.get(name, defaults[key]) for name, key in kind.keys().items()}
