"""Read whole atomic files as strings, to write them in another format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

__all__ = ["AtomicTable", "read_atomic"]


@dataclass(frozen=True, eq=False)
class AtomicTable:
    """An atomic file's columns, with rows in the order of the file.

    Attributes:
        path: the file.
        columns: strings, by column names without types; "" for an empty field.
        types: column -> RecBole's type, such as ``token_seq``; "" where the header gives none.
    """

    path: Path
    columns: pd.DataFrame
    types: Mapping[str, str]

    def require(self, columns: Mapping[str, str]) -> None:
        """Check that the table has the given columns.

        Args:
            columns: flag -> the column that it requires.

        Raises:
            ValueError: a column is missing; names the flag that requires it and the existing columns.
        """
        for required_by, column in columns.items():
            if column not in self.columns:
                raise ValueError(
                    f"{self.path}: no column {column!r}, required by {required_by}; "
                    f"its columns are {', '.join(map(str, self.columns))}"
                )


def read_atomic(path: Path) -> AtomicTable:
    """Read a tab-separated atomic file.

    Raises:
        ValueError: the file does not exist, is empty or not a table, or names a column twice.
    """
    try:
        with path.open("rb") as file:
            nul = any(b"\0" in block for block in iter(lambda: file.read(1 << 22), b""))
        # pandas' C parser ends a field at a NUL byte, its Python parser does not
        table = pd.read_csv(
            path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8", engine="python" if nul else "c"
        )
    except OSError as err:
        raise ValueError(f"{path} cannot be read ({err})") from err
    except (ValueError, pd.errors.ParserError) as err:  # bad UTF-8 and an empty file are ValueErrors too
        raise ValueError(f"{path}: not a readable table with a header of name:type ({err})") from err
    header = [str(column).rpartition(":") for column in table.columns]
    names = [name or kind for name, _, kind in header]
    if len(set(names)) < len(names) or not isinstance(table.index, pd.RangeIndex):
        raise ValueError(f"{path}: its header names a column twice, or has fewer columns than the rows: {names}")
    types = {name or kind: kind if name else "" for name, _, kind in header}
    table.columns = pd.Index(names)
    return AtomicTable(path, table.fillna(""), types)
