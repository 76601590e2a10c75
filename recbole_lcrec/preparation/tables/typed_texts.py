"""Convert typed values to the texts that a person would write into a table.

Typed values come from parquet or JSON.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from recbole_lcrec.data.item_text import clean_text

__all__ = ["column_text", "json_text"]


def json_text(value: Any) -> str:
    """Convert a value of a JSON record to text; "" for null."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list):
        return clean_text(value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def column_text(column: pd.Series) -> pd.Series:
    """Convert typed values to texts: whole numbers without decimals, "" for missing values.

    Args:
        column: [R], of any type.

    Returns:
        object [R].

    Raises:
        UnicodeDecodeError: bytes that are not UTF-8.
    """
    missing = column.isna().to_numpy()
    if pd.api.types.is_float_dtype(column):
        present = column[~missing].to_numpy(np.float64)
        whole = bool(
            np.isfinite(present).all() and (present == np.floor(present)).all() and (abs(present) < 2**53).all()
        )
        texts = [str(int(value)) if whole else repr(float(value)) for value in present]
    elif column.dtype == object:
        kept = column[~missing]
        texts = [_object_text(value) for value in kept]
    else:
        texts = column[~missing].astype(str).tolist()
    filled = np.full(len(column), "", dtype=object)
    filled[~missing] = np.array(texts, dtype=object)
    return pd.Series(filled, dtype=object)


def _object_text(value: Any) -> str:
    if isinstance(value, (list, np.ndarray)):
        return clean_text(value)
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str) if isinstance(value, dict) else str(value)
