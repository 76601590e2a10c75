"""Check that the item file has the features that a RecBole model reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from recbole_lcrec.config.item_features import feature_columns
from recbole_lcrec.config.registry import spec_of
from recbole_lcrec.config.values import did_you_mean
from recbole_lcrec.data.atomic_header import atomic_columns

__all__ = ["require_features"]

_TYPES = ("token", "token_seq")


def require_features(config: Any) -> None:
    """Check, before data is loaded, that the item file has the features that the model reads.

    Args:
        config: a configuration whose ``data_path`` contains atomic files.

    Raises:
        ValueError: there is no item file, or a feature column is missing, numeric or empty.
    """
    columns = feature_columns(config.model, config)
    if not columns:
        return
    key = spec_of(config["model"]).feature_key
    path = Path(config["data_path"]) / f"{config['dataset']}.item"
    why = f"{config.model} reads the item features {key} = {config[key]!r}"
    if not path.is_file():
        raise ValueError(f"{why}, but the data set has no item file; put {path.name} beside its interactions")
    separator, encoding = config["field_separator"], config["encoding"]
    types = atomic_columns(path, separator, encoding)
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
