"""Parquet files as columns of texts.

Knows pyarrow, which is loaded for such files alone. Refuses to know what a column means.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_lcrec.config.values import first_line
from recbole_lcrec.preparation.tables.typed_texts import column_text

__all__ = ["column_names", "column_texts"]


def column_names(path: Path) -> tuple[str, ...]:
    """The names of the columns, those that pandas keeps for its index among them.

    Raises:
        ValueError: the file is damaged, or pyarrow is absent.
    """
    return tuple(map(str, _file(path).schema_arrow.names))


def column_texts(path: Path, wanted: Collection[str]) -> list[pd.Series]:
    """Every column as texts, in the order of :func:`column_names`; "" where a value is missing.

    Args:
        path: the file.
        wanted: columns whose bytes must be UTF-8; those of others are shown as Python shows them.

    Raises:
        ValueError: the file is damaged, pyarrow is absent, or a wanted column holds bytes that are no UTF-8.
    """
    file = _file(path)
    try:
        # pandas' own notes would make an index of columns; whole numbers beside missing values would lose digits
        whole = file.read().to_pandas(ignore_metadata=True, integer_object_nulls=True, date_as_object=True)
    except (OSError, ValueError) as err:
        raise _damaged(path, err) from err
    texts = []
    for place, name in enumerate(whole.columns):
        try:
            texts.append(column_text(whole.iloc[:, place]))
        except UnicodeDecodeError as err:
            if name not in wanted:
                texts.append(whole.iloc[:, place].map(repr))
                continue
            raise ValueError(
                f"{path}: column {name!r} holds bytes that are no UTF-8 ({err}); write it as text"
            ) from err
    return texts


def _file(path: Path) -> Any:
    try:
        return import_module("pyarrow.parquet").ParquetFile(path)
    except ImportError as err:
        raise ValueError(
            f"{path} is a parquet file, and pyarrow, which reads them, cannot be loaded ({first_line(err)}): "
            "pip install pyarrow, or write the table as csv"
        ) from err
    except (OSError, ValueError) as err:
        raise _damaged(path, err) from err


def _damaged(path: Path, err: Exception) -> ValueError:
    return ValueError(f"{path} is no readable parquet file ({first_line(err)}); restore it")
