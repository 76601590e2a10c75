"""Item features: the columns of the item file that a model reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_lcrec.config.registry import spec_of

__all__ = ["feature_columns", "with_feature_columns"]


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
    if listed is None:  # all columns
        return load_col
    return {**load_col, "item": [*listed, *(column for column in columns if column not in listed)]}
