"""Columns that a run reads: users, items and times, and the item features of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_lcrec.config.registry import spec_of

__all__ = ["feature_columns", "with_feature_columns", "with_given_names"]

_NAMES = {"user_id": "USER_ID_FIELD", "item_id": "ITEM_ID_FIELD", "timestamp": "TIME_FIELD"}


def feature_columns(model: str, values: Mapping[str, Any]) -> list[str]:
    """Return the columns that a model reads as item features; none for models that read no features.

    Raises:
        ValueError: the value of the key that names the columns is not a name or a list of names.
    """
    key = spec_of(model).feature_key
    if key is None:
        return []
    named = values[key]
    columns = [named] if key == "item_attribute" else named
    if not isinstance(columns, (list, tuple)) or not columns or not all(isinstance(c, str) and c for c in columns):
        expected = "the name of one column" if key == "item_attribute" else "a list, such as [brand], of columns"
        raise ValueError(f"{key} = {named!r}: expected {expected} of the item file")
    return list(columns)


def with_feature_columns(load_col: Any, item_id: str, columns: list[str]) -> Any:
    """Return ``load_col`` with these columns of the item file added; None, which reads all columns, stays None."""
    if not isinstance(load_col, Mapping) or not columns:
        return load_col
    listed = load_col.get("item", [item_id])
    if not isinstance(listed, (list, tuple)):  # "*": all columns
        return load_col
    return {**load_col, "item": [*listed, *(column for column in columns if column not in listed)]}


def with_given_names(load_col: Any, values: Mapping[str, Any]) -> Any:
    """Return the default ``load_col`` with the names of users, items and times that the values give."""
    if not isinstance(load_col, Mapping):
        return load_col
    names = {name: values[key] for name, key in _NAMES.items() if isinstance(values[key], str)}
    return {
        file: [names.get(column, column) for column in columns] if isinstance(columns, list) else columns
        for file, columns in load_col.items()
    }
