"""Read an atomic ``.item`` file as a table of strings, with one row per item of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

__all__ = ["ItemTable", "read_item_table"]

_NAMED = 10


@dataclass(frozen=True, eq=False)
class ItemTable:
    """Columns under their names without types, in the order of the catalogue; NaN where an item has no row.

    Attributes:
        columns: strings, N rows.
        types: column -> RecBole's type, such as ``token_seq``; empty where the header gives none.
    """

    columns: pd.DataFrame
    types: Mapping[str, str]


def read_item_table(
    item_file: Path,
    item_ids: Sequence[str],
    item_id_field: str,
    requested: Mapping[str, Sequence[str]],
    separator: str = "\t",
    encoding: str = "utf-8",
) -> ItemTable:
    """Read columns from an atomic ``.item`` file with RecBole's quoting rules, aligned with the catalogue.

    Args:
        item_file: the atomic file.
        item_ids: N original item ids; they give the row order.
        item_id_field: name of the id column, without its type.
        requested: parameter -> the columns that it requests.
        separator: column separator.
        encoding: encoding of the file.

    Raises:
        ValueError: the file or a column does not exist, or an item has two rows.
    """
    try:
        table = pd.read_csv(item_file, sep=separator, dtype=str, keep_default_na=False, encoding=encoding)
    except FileNotFoundError as err:
        raise ValueError(f"{item_file}: no such item file") from err
    except (ValueError, pd.errors.ParserError) as err:
        raise ValueError(f"{item_file}: not a readable table with a header of name:type ({err})") from err
    header = [str(column).rpartition(":") for column in table.columns]
    types = {name or kind: kind if name else "" for name, _, kind in header}
    table.columns = pd.Index([name or kind for name, _, kind in header])
    for key, names in {"ITEM_ID_FIELD": [item_id_field], **requested}.items():
        absent = [name for name in names if name not in table.columns]
        if absent:
            raise ValueError(
                f"{item_file}: no column {', '.join(map(repr, absent))}, required by {key}; "
                f"its columns are {', '.join(map(str, table.columns))}"
            )
    table = table.set_index(item_id_field, drop=False)
    if table.index.has_duplicates:
        duplicates = table.index[table.index.duplicated()].unique().tolist()
        raise ValueError(
            f"{item_file}: {len(duplicates)} item(s) have several rows, first {duplicates[:_NAMED]}; keep one row each"
        )
    return ItemTable(table.reindex([str(item) for item in item_ids]), types)
