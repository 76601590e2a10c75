"""Item embeddings from the user's own file.

An .npy file, and a text file with the item id of each row.

Pickled arrays are never loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from logging import getLogger
from pathlib import Path

import numpy as np

__all__ = ["check_embedding_file", "embedding_ids_file", "load_embedding_file"]

_ROWS_AT_ONCE = 65_536
_NAMED = 5


def embedding_ids_file(embeddings: Path, ids: Path | None) -> Path:
    """Return the file with the rows' item ids: the given one, else the embeddings' path with the suffix ``.ids``."""
    return ids if ids is not None else embeddings.with_suffix(".ids")


def check_embedding_file(embeddings: Path, ids: Path | None = None) -> None:
    """Check that both files exist and that the embeddings are a float matrix, without reading their values.

    Raises:
        ValueError: a file is missing or of another kind; the message names it and the remedy.
    """
    _open(embeddings)
    _require_ids(embedding_ids_file(embeddings, ids), embeddings)


def load_embedding_file(embeddings: Path, ids: Path | None, item_ids: Sequence[str]) -> np.ndarray:
    """Load the embeddings of a catalogue. Rows of other items are skipped, and their number is logged.

    The file is read block by block, so that no more memory is used than for the result; a float32 file whose rows are
    exactly the catalogue's is mapped instead of copied.

    Args:
        embeddings: an .npy file, float16, float32 or float64 ``[rows, D]``.
        ids: UTF-8 text, one original item id per line, in the order of the rows; None: see :func:`embedding_ids_file`.
        item_ids: N original item ids; they give the order of the result.

    Returns:
        float32 ``[N, D]``; writing to it does not change the file.

    Raises:
        ValueError: a file is missing or of another kind, the numbers of ids and rows differ, an id occurs twice, an
            item of the catalogue has no row, or its row is not finite in float32. The message names it and the remedy.
    """
    ids = embedding_ids_file(embeddings, ids)
    table = _open(embeddings)
    row_of = _read_ids(ids, embeddings, len(table))
    catalogue = [str(item) for item in item_ids]
    absent = [item for item in catalogue if item not in row_of]
    if absent:
        raise ValueError(
            f"index_embedding_ids = {str(ids)!r} has no row for {len(absent)} of {len(catalogue)} items of the "
            f"catalogue, first {_some(absent)}; add their embeddings, or remove these items from the data"
        )
    rows = np.array([row_of[item] for item in catalogue], dtype=np.int64)
    in_place = table.dtype == np.float32 and len(rows) == len(table) and bool((rows == np.arange(len(rows))).all())
    vectors = np.load(embeddings, mmap_mode="c", allow_pickle=False) if in_place else _gathered(embeddings, rows)
    _require_finite(vectors, catalogue, embeddings)
    getLogger().info(
        f"Item embeddings: {embeddings}, {len(table):,} rows -> {list(vectors.shape)}; "
        f"{len(table) - len(rows):,} rows of items outside the catalogue skipped"
    )
    return vectors


def _open(path: Path) -> np.ndarray:
    """Map the file, with its type and shape checked."""
    place = f"index_embedding_file = {str(path)!r}"
    remedy = "write it with numpy.save, as float32 [rows, D]"
    if not path.is_file():
        raise ValueError(f"{place}: there is no such file; {remedy}, or leave the key out to encode the items' texts")
    try:
        table = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as err:
        raise ValueError(f"{place} is not a complete .npy file of numbers ({err}); {remedy}") from err
    if not isinstance(table, np.ndarray):
        raise ValueError(f"{place} is an archive of arrays (.npz); {remedy}")
    if table.dtype.kind != "f" or table.dtype.itemsize > 8:
        raise ValueError(f"{place} holds {table.dtype}, not float16, float32 or float64; {remedy}")
    if table.ndim != 2 or not table.size:
        raise ValueError(f"{place} has shape {list(table.shape)}, not [rows, D]; {remedy}")
    return table


def _require_ids(ids: Path, embeddings: Path) -> None:
    if not ids.is_file():
        raise ValueError(
            f"index_embedding_ids = {str(ids)!r}: there is no such file; write the item ids of {embeddings} there, "
            "one per line, in the order of its rows"
        )


def _read_ids(ids: Path, embeddings: Path, rows: int) -> dict[str, int]:
    """Read the row of each item id."""
    place = f"index_embedding_ids = {str(ids)!r}"
    _require_ids(ids, embeddings)
    try:
        with ids.open(encoding="utf-8-sig") as stream:
            names = [line.rstrip("\n") for line in stream]
    except UnicodeDecodeError as err:
        raise ValueError(f"{place} is not UTF-8 text ({err}); write one item id per line") from err
    if len(names) != rows:
        raise ValueError(
            f"{place} has {len(names)} lines, but {embeddings} has {rows} rows; write one item id for each row"
        )
    row_of: dict[str, int] = {}
    for row, name in enumerate(names):
        if not name.strip():
            raise ValueError(f"{place}: line {row + 1} is empty; write the item id of row {row} there")
        if row_of.setdefault(name, row) != row:
            raise ValueError(
                f"{place}: {name!r} occurs in lines {row_of[name] + 1} and {row + 1}; keep one of its rows"
            )
    return row_of


def _gathered(path: Path, rows: np.ndarray) -> np.ndarray:
    """Copy the rows as float32; the file is mapped again for each block, which frees the memory of the last one."""
    source = np.load(path, mmap_mode="r", allow_pickle=False)
    total, dim = source.shape
    result = np.empty((len(rows), dim), dtype=np.float32)
    order = np.argsort(rows, kind="stable")
    bounds = np.searchsorted(rows[order], np.arange(0, total + _ROWS_AT_ONCE, _ROWS_AT_ONCE))
    for start, stop in pairwise(bounds):
        source = np.load(path, mmap_mode="r", allow_pickle=False)
        places = order[start:stop]
        with np.errstate(over="ignore"):  # values beyond float32 are reported with the infinite ones
            result[places] = source[rows[places]]
    return result


def _require_finite(vectors: np.ndarray, item_ids: Sequence[str], path: Path) -> None:
    blocks = range(0, len(vectors), _ROWS_AT_ONCE)
    bad = [
        start + int(row)
        for start in blocks
        for row in np.flatnonzero(~np.isfinite(vectors[start : start + _ROWS_AT_ONCE]).all(axis=1))
    ]
    if bad:
        raise ValueError(
            f"index_embedding_file = {str(path)!r} has NaN, infinity or numbers beyond float32 in the rows of "
            f"{len(bad)} items, first {_some([item_ids[row] for row in bad])}; correct them"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_NAMED])) + (", ..." if len(names) > _NAMED else "")
