"""Check and sort the trie's input: rows of token ids, and the choice of allowed items."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["MAX_INT32", "allowed_mask", "checked_token_ids", "lexicographic_order"]

MAX_INT32 = int(np.iinfo(np.int32).max)
_MAX_INT64 = int(np.iinfo(np.int64).max)


def checked_token_ids(item_token_ids: npt.ArrayLike) -> npt.NDArray[np.integer]:
    """Return token ids as an array [N, H] of integers from 0 to the largest int32.

    Raises:
        ValueError: the shape, the dtype or a value is wrong.
    """
    ids = np.asarray(item_token_ids)
    if ids.ndim != 2 or 0 in ids.shape:
        raise ValueError(
            f"item_token_ids: shape {list(ids.shape)}; must be [N, H] with at least one item and one token"
        )
    if not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"item_token_ids: dtype {ids.dtype}; must be integers")
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high > MAX_INT32:
        value = low if low < 0 else high
        item = int(np.argmax((ids == value).any(axis=1)))
        raise ValueError(f"item_token_ids: item {item} holds token id {value}; ids must be from 0 to {MAX_INT32}")
    return ids


def lexicographic_order(ids: npt.NDArray[np.integer]) -> npt.NDArray[np.intp]:
    """Return the stable lexicographic order of rows [N, H].

    Where a row fits into one 64-bit number, rows are sorted as numbers, which is many times faster.
    """
    bounds = [(int(column.min()), int(column.max())) for column in ids.T]
    if math.prod(high - low + 1 for low, high in bounds) > _MAX_INT64:
        return np.lexsort(ids.T[::-1])
    keys = np.zeros(len(ids), dtype=np.int64)
    for column, (low, high) in zip(ids.T, bounds, strict=True):
        keys *= high - low + 1
        keys += column.astype(np.int64)
        keys -= low
    return np.argsort(keys, kind="stable")


def allowed_mask(allowed: npt.ArrayLike | Tensor, n_rows: int) -> Tensor:
    """Return the allowed item rows as a bool mask [n_rows] on the CPU, given a mask or a list of rows.

    Raises:
        ValueError: the input is neither, an item row does not exist, or nothing is allowed.
    """
    given = allowed.cpu().numpy() if isinstance(allowed, Tensor) else np.asarray(allowed)
    if given.dtype == bool:
        if given.shape != (n_rows,):
            raise ValueError(f"allowed: a mask of shape {list(given.shape)}; must be [{n_rows}], one for each item row")
        mask = given.copy()
    else:
        if given.ndim != 1 or (given.size and not np.issubdtype(given.dtype, np.integer)):
            raise ValueError(
                f"allowed: dtype {given.dtype}, shape {list(given.shape)}; must be a bool mask [{n_rows}] or a list of "
                "item rows"
            )
        wrong = given[(given < 0) | (given >= n_rows)]
        if wrong.size:
            raise ValueError(f"allowed: item row {wrong[0]} does not exist; rows are 0 to {n_rows - 1}")
        mask = np.zeros(n_rows, dtype=bool)
        mask[given.astype(np.int64)] = True
    if not mask.any():
        raise ValueError(f"allowed: none of the {n_rows} items is allowed; allow at least one")
    return torch.from_numpy(mask)
