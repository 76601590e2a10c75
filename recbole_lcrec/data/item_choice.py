"""The items that may be recommended: a text file of original item ids.

Knows item ids. Refuses to know why some are allowed and others not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

__all__ = ["allowed_rows", "read_allowed", "rows_of"]


def read_allowed(path: Path) -> list[str]:
    """The item ids in a file, one a line; blank lines and repeats are left out.

    Raises:
        ValueError: there is no such file, it is a folder or no UTF-8 text, or it names nothing.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as err:
        raise ValueError(
            f"allowed items {str(path)!r}: there is no such file; give one with an item id a line"
        ) from err
    except IsADirectoryError as err:
        raise ValueError(f"allowed items {str(path)!r} is a folder; give a file with an item id a line") from err
    except UnicodeDecodeError as err:
        raise ValueError(f"allowed items {str(path)!r} is no UTF-8 text; give a file with an item id a line") from err
    ids = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not ids:
        raise ValueError(f"allowed items {str(path)!r} names no item; leave the key out to allow all")
    return ids


def rows_of(ids: Sequence[str], rows: Mapping[str, int], name: str, remedy: str) -> np.ndarray:
    """The rows of items, ascending int64.

    Args:
        ids: distinct item ids.
        rows: item id -> row.
        name: what the choice is called when something is wrong with it.
        remedy: what is then to be done.

    Raises:
        ValueError: an item is in no row.
    """
    unknown = [item for item in ids if item not in rows]
    if unknown:
        raise ValueError(
            f"{name}: {len(unknown)} of {len(ids)} are not in the catalogue, first {unknown[:5]}; {remedy}"
        )
    return np.sort(np.array([rows[item] for item in ids], dtype=np.int64))


def allowed_rows(path: Path, item_ids: Sequence[str], at_least: int = 1) -> np.ndarray:
    """The rows of the allowed items, ascending int64.

    Args:
        path: see :func:`read_allowed`.
        item_ids: the catalogue, row by row.
        at_least: items that will be asked for.

    Raises:
        ValueError: the file cannot be used, names an item that is not in the catalogue, or fewer than ``at_least``.
    """
    allowed = read_allowed(path)
    numbers = {item: row for row, item in enumerate(item_ids)}
    rows = rows_of(allowed, numbers, f"allowed items {str(path)!r}", "take them out, or use the ids of the data set")
    if len(allowed) < at_least:
        raise ValueError(
            f"allowed items {str(path)!r} are {len(allowed)}, but {at_least} are asked for (max of topk): allow more, "
            "or lower topk"
        )
    return rows
