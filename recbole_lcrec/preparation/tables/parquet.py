"""Read parquet files as text columns with pyarrow, which is loaded only when needed."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_lcrec.config.values import first_line
from recbole_lcrec.preparation.tables.typed_texts import column_text

__all__ = ["column_names", "column_texts"]


def column_names(path: Path) -> tuple[str, ...]:
    """Return the names of all columns, including those that pandas stores as its index.

    Raises:
        ValueError: the file is damaged, or pyarrow is not installed.
    """
    return tuple(map(str, _file(path).schema_arrow.names))


def column_texts(path: Path, requested: Collection[str]) -> list[pd.Series]:
    """Read all columns as texts, in the order of :func:`column_names`; "" for missing values.

    Args:
        path: the parquet file.
        requested: columns whose bytes must be valid UTF-8; other columns fall back to ``repr``.

    Raises:
        ValueError: the file is damaged, pyarrow is not installed, or a requested column contains bytes that are not
            UTF-8.
    """
    file = _file(path)
    try:
        # pandas metadata would turn columns into an index; integers beside missing values would lose digits
        whole = file.read().to_pandas(ignore_metadata=True, integer_object_nulls=True, date_as_object=True)
    except (OSError, ValueError) as err:
        raise _damaged(path, err) from err
    texts = []
    for place, name in enumerate(whole.columns):
        try:
            texts.append(column_text(whole.iloc[:, place]))
        except UnicodeDecodeError as err:
            if name not in requested:
                texts.append(whole.iloc[:, place].map(repr))
                continue
            raise ValueError(
                f"{path}: column {name!r} contains bytes that are not UTF-8 ({err}); write it as text"
            ) from err
    return texts


def _file(path: Path) -> Any:
    try:
        from pyarrow.parquet import ParquetFile

        return ParquetFile(path)
    except ImportError as err:
        raise ValueError(
            f"{path} is a parquet file, which needs pyarrow, but pyarrow cannot be loaded ({first_line(err)}): "
            "pip install pyarrow, or write the table as csv"
        ) from err
    except (OSError, ValueError) as err:
        raise _damaged(path, err) from err


def _damaged(path: Path, err: Exception) -> ValueError:
    return ValueError(f"{path} is not a readable parquet file ({first_line(err)}); restore it")
