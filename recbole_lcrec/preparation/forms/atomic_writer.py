"""Write tables as RecBole's atomic files.

Texts are quoted so that RecBole, pandas and this package read them unchanged.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

__all__ = ["write_atomic"]

_NEEDS_QUOTES = r'[\t\n\r"]'


def write_atomic(path: Path, rows: pd.DataFrame) -> None:
    """Write an atomic file.

    Args:
        path: the file; replaced if it exists.
        rows: columns under their names in the file, ``name:type``; values as they are to be written, none missing.

    Raises:
        OSError: the file cannot be written.
    """
    texts = [_quoted(rows[name]) for name in rows.columns]
    with path.open("w", encoding="utf-8", newline="") as stream:
        stream.write("\t".join(map(str, rows.columns)) + "\n")
        stream.writelines("\t".join(record) + "\n" for record in zip(*texts, strict=True))


def _quoted(column: pd.Series) -> list[str]:
    if not pd.api.types.is_string_dtype(column):  # numbers
        return list(map(str, column.tolist()))
    # pandas does not quote carriage returns but reads them as line ends, so fields are quoted here
    special = column.str.contains(_NEEDS_QUOTES)
    if special.any():
        column = column.where(~special, '"' + column.str.replace('"', '""', regex=False) + '"')
    texts: list[str] = column.tolist()
    return texts
