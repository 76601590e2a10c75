"""Item features of RecBole's models that read some: which columns of the item file they are, and whether they exist.

Knows the two keys by which RecBole's models name them and the item file's header. Refuses to know what models make of
them, and what LCRec reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_lcrec.registry import feature_key
from recbole_lcrec.values import did_you_mean

__all__ = ["feature_columns", "require_features", "with_feature_columns"]

_TYPES = ("token", "token_seq")


def feature_columns(model: str, values: Mapping[str, Any]) -> list[str]:
    """The columns that a model reads as item features; none for models that read no features.

    Raises:
        ValueError: the key that names them holds something else than names.
    """
    key = feature_key(model)
    if key is None:
        return []
    named = values[key]
    columns = [named] if key == "item_attribute" else named
    if not isinstance(columns, (list, tuple)) or not columns or not all(isinstance(c, str) and c for c in columns):
        expected = "the name of one column" if key == "item_attribute" else "a list, such as [brand], of columns"
        raise ValueError(f"{key} = {named!r}: expected {expected} of the item file")
    return list(columns)


def with_feature_columns(load_col: Any, item_id: str, columns: list[str]) -> Any:
    """``load_col`` with these columns of the item file beside those that it names; None, which reads all, stays."""
    if not isinstance(load_col, Mapping) or not columns:
        return load_col
    listed = load_col.get("item", [item_id])
    if listed is None:  # every column
        return load_col
    return {**load_col, "item": [*listed, *(column for column in columns if column not in listed)]}


def require_features(config: Any) -> None:
    """Makes sure that the item file has the features that the model reads, before anything is loaded.

    Args:
        config: a configuration whose ``data_path`` holds atomic files.

    Raises:
        ValueError: there is no item file, it lacks such a column, the column holds numbers or nothing.
    """
    columns = feature_columns(config.model, config)
    if not columns:
        return
    key = feature_key(config.model)
    path = Path(config["data_path"]) / f"{config['dataset']}.item"
    why = f"{config.model} reads item features, named by {key} = {config[key]!r}"
    if not path.is_file():
        raise ValueError(f"{why}, but the data set has no item file; put {path.name} beside its interactions")
    separator, encoding = config["field_separator"], config["encoding"]
    with path.open(encoding=encoding) as lines:
        header = lines.readline().rstrip("\r\n").split(separator)
    types = {name: kind for name, _, kind in (column.rpartition(":") for column in header)}
    usable = [name for name, kind in types.items() if kind in _TYPES and name != config["ITEM_ID_FIELD"]]
    for column in columns:
        others = ", ".join(name for name in usable if name != column) or "(it has none of type token or token_seq)"
        remedy = f"set {key} to other columns of it: {others}"
        if column not in types:
            raise ValueError(f"{why}, but {path} has no column {column!r}{did_you_mean(column, usable)}; {remedy}")
        if types[column] not in _TYPES:
            raise ValueError(f"{why}, but {column!r} is of type {types[column]}, not token or token_seq; {remedy}")
        full = f"{column}:{types[column]}"
        if pd.read_csv(path, sep=separator, usecols=[full], dtype=str, encoding=encoding)[full].isna().all():
            raise ValueError(f"{why}, but {column!r} is empty for every item of {path}; {remedy}")
