"""A table as one of RecBole's atomic files.

Knows the quoting under which RecBole, pandas and this package read every text back unchanged. Refuses to know what the
columns mean.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

__all__ = ["write_atomic"]

_NEEDS_QUOTES = r'[\t\n\r"]'


def write_atomic(path: Path, rows: pd.DataFrame) -> None:
    """Writes the file.

    Args:
        path: the file; replaced if it is there.
        rows: columns under their names of the file, ``name:type``; values as they are to be written, none missing.

    Raises:
        OSError: it cannot be written.
    """
    texts = [_quoted(rows[name]) for name in rows.columns]
    with path.open("w", encoding="utf-8", newline="") as stream:
        stream.write("\t".join(map(str, rows.columns)) + "\n")
        stream.writelines("\t".join(record) + "\n" for record in zip(*texts, strict=True))


def _quoted(column: pd.Series) -> list[str]:
    if not pd.api.types.is_string_dtype(column):  # numbers
        return list(map(str, column.tolist()))
    # pandas quotes no carriage return, and then reads a line's end there; so the quotes are set here
    odd = column.str.contains(_NEEDS_QUOTES)
    if odd.any():
        column = column.where(~odd, '"' + column.str.replace('"', '""', regex=False) + '"')
    texts: list[str] = column.tolist()
    return texts
