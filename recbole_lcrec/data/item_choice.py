"""Restrict recommendations to a list of allowed items.

The list is a text file of original item ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

__all__ = ["allowed_rows", "read_allowed", "rows_of"]


def read_allowed(path: Path) -> list[str]:
    """Read item ids from a file with one id per line; blank lines and duplicates are skipped.

    Raises:
        ValueError: the file does not exist, is a folder, is not UTF-8 text, or names no item.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as err:
        raise ValueError(f"allowed items {str(path)!r}: no such file; give a file with one item id per line") from err
    except IsADirectoryError as err:
        raise ValueError(f"allowed items {str(path)!r} is a folder; give a file with one item id per line") from err
    except UnicodeDecodeError as err:
        raise ValueError(
            f"allowed items {str(path)!r} is not UTF-8 text; give a file with one item id per line"
        ) from err
    ids = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not ids:
        raise ValueError(f"allowed items {str(path)!r} names no item; remove the setting to allow all items")
    return ids


def rows_of(ids: Sequence[str], rows: Mapping[str, int], name: str, remedy: str) -> np.ndarray:
    """Return the rows of the given items, ascending int64.

    Args:
        ids: distinct item ids.
        rows: item id -> row.
        name: name of the selection, for error messages.
        remedy: what to do about an unknown item, for error messages.

    Raises:
        ValueError: an item is not in ``rows``.
    """
    unknown = [item for item in ids if item not in rows]
    if unknown:
        raise ValueError(
            f"{name}: {len(unknown)} of {len(ids)} are not in the catalogue, first {unknown[:5]}; {remedy}"
        )
    return np.sort(np.array([rows[item] for item in ids], dtype=np.int64))


def allowed_rows(path: Path, item_ids: Sequence[str], at_least: int = 1) -> np.ndarray:
    """Return the rows of the allowed items, ascending int64.

    Args:
        path: see :func:`read_allowed`.
        item_ids: ids of the catalogue, row by row.
        at_least: smallest number of items that must be allowed.

    Raises:
        ValueError: the file is unusable, names an item that is not in the catalogue, or allows fewer than ``at_least``.
    """
    allowed = read_allowed(path)
    numbers = {item: row for row, item in enumerate(item_ids)}
    rows = rows_of(allowed, numbers, f"allowed items {str(path)!r}", "remove them, or use the ids of the data set")
    if len(allowed) < at_least:
        raise ValueError(
            f"allowed items {str(path)!r}: the file allows {len(allowed)} items, but {at_least} are needed (max of "
            "topk): allow more, or lower topk"
        )
    return rows
