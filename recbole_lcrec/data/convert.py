"""The published LC-Rec form (``.inter.json``, ``.item.json``) as RecBole's atomic files.

Knows the two file formats. Refuses to know where data sets lie and what reads the atomic files.

Positions become time stamps: the published sequences are in time order and carry no times, so the n-th item of a user
has time n.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

__all__ = ["convert_published", "numbers_first", "read_json_object"]

_TEXT_FIELDS = {"title": "token_seq", "description": "token_seq", "brand": "token", "categories": "token_seq"}


def read_json_object(path: Path) -> dict[str, Any]:
    """Reads a JSON file that must hold one object.

    Raises:
        ValueError: the file is no valid JSON (truncated, say) or holds something else than an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as err:
        raise ValueError(f"{path} is not valid JSON ({err}); restore it from its source") from err
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, but holds a {type(content).__name__}")
    return content


def _flat(text: Any) -> str:
    """One line of text: atomic files separate fields by tabs and records by line breaks."""
    if isinstance(text, list):
        return " ".join(filter(None, map(_flat, text)))
    missing = text is None or text != text  # JSON as Python writes it has NaN
    return "" if missing else " ".join(str(text).split())


def _interactions(sequences: Mapping[str, Any], source: Path) -> pd.DataFrame:
    users: list[str] = []
    items: list[str] = []
    times: list[int] = []
    for user, sequence in sequences.items():
        if not isinstance(sequence, list) or not all(isinstance(item, (int, str)) for item in sequence):
            raise ValueError(f"{source}: user {user!r} must have a list of item ids, but has {sequence!r:.80}")
        users += [user] * len(sequence)
        items += [str(item) for item in sequence]
        times += range(len(sequence))
    return pd.DataFrame({"user_id:token": users, "item_id:token": items, "timestamp:float": times})


def _items(item_ids: Iterable[str], texts: Mapping[str, Any], source: Path | None) -> pd.DataFrame:
    rows = []
    for item_id in item_ids:
        features = texts.get(item_id, {})
        if not isinstance(features, Mapping):
            raise ValueError(f"{source}: item {item_id!r} must have an object of texts, but has {features!r:.80}")
        rows.append([item_id, *(_flat(features.get(name, "")) for name in _TEXT_FIELDS)])
    return pd.DataFrame(rows, columns=["item_id:token", *(f"{name}:{kind}" for name, kind in _TEXT_FIELDS.items())])


def numbers_first(item_id: str) -> tuple[int, str]:
    """Sorts item ids: whole numbers by value, then all others by text."""
    return (int(item_id) if item_id.isdecimal() else 2**62, item_id)


def convert_published(source: Path, name: str, target: Path) -> dict[str, int]:
    """Writes ``<name>.inter`` and ``<name>.item`` in RecBole's atomic form, beside a copy of ``<name>.index.json``.

    The catalogue is every item of the item file, of the index file, and of the sequences, so that an item that nobody
    bought can be ranked too.

    Args:
        source: folder with ``<name>.inter.json`` and, where they exist, ``<name>.item.json`` and ``<name>.index.json``.
        name: name of the data set.
        target: existing folder that takes the atomic files.

    Returns:
        Counts of users, items and interactions, and of items with texts.

    Raises:
        ValueError: a file is damaged or is not of the published form.
    """
    sequences = read_json_object(source / f"{name}.inter.json")
    interactions = _interactions(sequences, source / f"{name}.inter.json")
    item_file, index_file = source / f"{name}.item.json", source / f"{name}.index.json"
    texts = read_json_object(item_file) if item_file.is_file() else {}
    indexed = read_json_object(index_file) if index_file.is_file() else {}
    catalogue = set(interactions["item_id:token"]) | set(texts) | set(indexed)
    items = _items(sorted(catalogue, key=numbers_first), texts, item_file if texts else None)
    for frame, suffix in ((interactions, "inter"), (items, "item")):
        # RecBole reads atomic files with pandas' default quoting, so pandas' default quoting writes them
        frame.to_csv(target / f"{name}.{suffix}", sep="\t", index=False, encoding="utf-8")
    if index_file.is_file():
        shutil.copyfile(index_file, target / index_file.name)
    return {
        "users": len(sequences),
        "items": len(items),
        "interactions": len(interactions),
        "items with texts": len(texts),
    }
