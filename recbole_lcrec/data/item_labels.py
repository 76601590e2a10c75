"""Item labels, such as genres or brands, aligned with the catalogue.

They are read from one column.

A ``token`` column holds one label per item, which may contain blanks; a ``token_seq`` column holds a set of labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recbole_lcrec.data.item_table import read_item_table
from recbole_lcrec.data.item_text import clean_text

__all__ = ["read_item_labels"]


def read_item_labels(
    item_file: Path,
    item_ids: Sequence[str],
    item_id_field: str,
    label_field: str,
    separator: str = "\t",
    sequence_separator: str = " ",
    encoding: str = "utf-8",
) -> list[frozenset[str]]:
    """Read the labels of the catalogue from an atomic ``.item`` file.

    Args:
        item_file: the atomic file.
        item_ids: N original item ids; they give the row order.
        item_id_field: name of the id column, without its type.
        label_field: name of the label column, without its type.
        separator: column separator.
        sequence_separator: separator between the labels of a ``token_seq``.
        encoding: encoding of the file.

    Returns:
        N sets of labels; empty for an item that has none or is not in the file.

    Raises:
        ValueError: the file or a column does not exist, or an item has two rows.
    """
    table = read_item_table(
        item_file, item_ids, item_id_field, {"index_label_field": [label_field]}, separator, encoding
    )
    labels = [clean_text(value) for value in table.columns[label_field]]
    if table.types[label_field] == "token_seq":
        return [frozenset(filter(None, label.split(sequence_separator))) for label in labels]
    return [frozenset([label] if label else []) for label in labels]
