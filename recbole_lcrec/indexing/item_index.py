"""The item index: the codes of each item, as index tokens and as the published JSON file.

A code is written as a token like ``<a_12>`` (letter = level, number = code); the published form is
``{"item id": ["<a_12>", "<b_7>", ...]}``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recbole_lcrec.config.values import DuplicateKeyError, distinct_keys
from recbole_lcrec.runtime.artifacts import replace_text

__all__ = [
    "MAX_LEVELS",
    "ItemIndex",
    "conflict_rate",
    "index_token",
    "indexed_items",
    "load_index",
    "perplexities",
    "save_index",
]

MAX_LEVELS = 26
_TOKEN = re.compile(r"<([a-z])_(0|[1-9][0-9]{0,6})>")
_NAMED = 5
_REMEDY = "correct the file, or learn a new index with index_method=rqvae"


def index_token(level: int, code: int) -> str:
    """Return the token of one code; level 0 has the letter a, so ``index_token(1, 7)`` is ``<b_7>``."""
    return f"<{chr(ord('a') + level)}_{code}>"


@dataclass(frozen=True, eq=False)
class ItemIndex:
    """The codes of every item, one per level (paper III-B).

    Attributes:
        codes: int64 ``[N, H]``, read-only; rows are in the order of the catalogue's item ids.
        codebook_sizes: H numbers, the codes of each level, usually the same K. Every code is below its level's.

    Raises:
        ValueError: the codes are not a two-dimensional integer array, are out of range, or have no or too many levels.
    """

    codes: np.ndarray
    codebook_sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        codes = np.asarray(self.codes)
        if codes.ndim != 2 or not np.issubdtype(codes.dtype, np.integer):
            raise ValueError(f"codes must be integers [N, H], got {codes.dtype} of shape {list(codes.shape)}")
        if not 1 <= codes.shape[1] <= MAX_LEVELS:
            raise ValueError(
                f"codes have {codes.shape[1]} levels; an index has 1 to {MAX_LEVELS} (one letter per level)"
            )
        sizes = tuple(int(size) for size in self.codebook_sizes)
        if len(sizes) != codes.shape[1] or min(sizes) < 1:
            raise ValueError(
                f"codebook_sizes = {list(sizes)} must be {codes.shape[1]} numbers of at least 1, one per level"
            )
        if codes.size and (codes.min() < 0 or (codes.max(axis=0) >= np.array(sizes)).any()):
            raise ValueError(
                f"codes span [{codes.min()}, {codes.max()}], outside codebooks of {list(sizes)} codes; "
                "a codebook's size must exceed its largest code"
            )
        frozen = np.array(codes, dtype=np.int64, order="C")
        frozen.setflags(write=False)
        object.__setattr__(self, "codes", frozen)
        object.__setattr__(self, "codebook_sizes", sizes)

    @property
    def n_items(self) -> int:
        """N, the number of rows."""
        return int(self.codes.shape[0])

    @property
    def levels(self) -> int:
        """H, the number of codes per item."""
        return int(self.codes.shape[1])

    def sizes_in_words(self) -> str:
        """Describe the codebooks for a log line: ``4 levels x 256 codes``, or all sizes where they differ."""
        sizes = self.codebook_sizes
        equal = len(set(sizes)) == 1
        return f"{self.levels} level{'s' * (self.levels > 1)} x {sizes[0] if equal else list(sizes)} codes"

    def tokens_by_level(self) -> tuple[tuple[str, ...], ...]:
        """All index tokens of each of the H levels, whether an item has them or not."""
        return tuple(tuple(index_token(h, k) for k in range(size)) for h, size in enumerate(self.codebook_sizes))

    def item_tokens(self) -> list[tuple[str, ...]]:
        """The H index tokens of each item, in row order."""
        tokens = self.tokens_by_level()
        return [tuple(tokens[h][code] for h, code in enumerate(row)) for row in self.codes.tolist()]

    def n_conflicts(self) -> int:
        """N - distinct rows, the number of items that have to move for all indices to differ."""
        return self.n_items - _n_distinct(self.codes)

    def require_unique(self) -> None:
        """Check that no two items have the same index.

        Raises:
            ValueError: some have; the message counts them and names the first rows.
        """
        if not self.n_conflicts():
            return
        _, inverse, counts = np.unique(self.codes, axis=0, return_inverse=True, return_counts=True)
        groups = np.reshape(inverse, -1)
        shared = np.flatnonzero(counts[groups] > 1)
        rows = np.flatnonzero(groups == groups[shared[0]])[:_NAMED].tolist()
        raise ValueError(
            f"{self.n_conflicts()} of {self.n_items} items lack an index of their own, first among them rows {rows}, "
            f"all {''.join(self.item_tokens()[rows[0]])}; resolve the conflicts first (indexing/conflicts.py)"
        )


def conflict_rate(codes: np.ndarray) -> float:
    """(N - distinct rows) / N for ``codes [N, H]``."""
    return (len(codes) - _n_distinct(codes)) / len(codes)


def _n_distinct(codes: np.ndarray) -> int:
    """Distinct rows of ``codes [N, H]``, by one sort of mixed-radix numbers where they fit 63 bits."""
    sizes = [int(size) for size in codes.max(axis=0, initial=0) + 1]
    if math.prod(sizes) >= 2**62:
        return len(np.unique(codes, axis=0))
    return len(np.unique(np.ravel_multi_index(tuple(codes.T), sizes)))


def perplexities(codes: np.ndarray) -> list[float]:
    """Perplexity of each level of ``codes [N, H]``: exp of the entropy of the codes' shares of items."""
    values = []
    for level in codes.T:
        shares = np.unique(level, return_counts=True)[1] / len(level)
        values.append(float(np.exp(-(shares * np.log(shares)).sum())))
    return values


def save_index(index: ItemIndex, item_ids: Sequence[str], path: Path) -> None:
    """Write the published JSON form, atomically.

    Args:
        index: index of N items.
        item_ids: N distinct original item ids, in row order.
        path: the file, by convention ``<dataset>.index.json``.

    Raises:
        ValueError: the number of ids is not N, or an id occurs twice.
    """
    ids = _checked_ids(item_ids)
    if len(ids) != index.n_items:
        raise ValueError(f"{len(ids)} item ids for an index of {index.n_items} items; give one id per row")
    text = json.dumps({item: list(tokens) for item, tokens in zip(ids, index.item_tokens(), strict=True)})
    replace_text(path, text)


def load_index(path: Path, item_ids: Sequence[str], codebook_sizes: Sequence[int] | None = None) -> ItemIndex:
    """Load an index in the published JSON form.

    H is the length of the rows. The file does not store the codebook size. Where it is not given, K is the largest
    code + 1, rounded up to a power of two (at least 2): codebooks usually have such sizes, and an unused code costs no
    more than one token.

    Args:
        path: the file.
        item_ids: N distinct original item ids; they give the row order.
        codebook_sizes: codes of each level, where known.

    Returns:
        The index of these N items; conflicts are kept.

    Raises:
        ValueError: the file holds no index, or not that of these items; the message names the file, the item and the
            remedy.
    """
    ids = _checked_ids(item_ids)
    rows = _read_rows(path)
    known = set(ids)
    unknown = [item for item in rows if item not in known]
    if unknown:
        raise ValueError(
            f"{path}: {len(unknown)} item(s) that are not in the catalogue, first {unknown[:_NAMED]}; "
            "the index belongs to other data or another version of it: " + _REMEDY
        )
    missing = [item for item in ids if item not in rows]
    if missing:
        raise ValueError(
            f"{path}: {len(missing)} of {len(ids)} items of the catalogue have no index, first {missing[:_NAMED]}; "
            + _REMEDY
        )
    levels = len(next(iter(rows.values()), ()))
    codes = np.array([_codes_of(path, item, rows[item], levels) for item in ids], dtype=np.int64)
    codes = codes.reshape(len(ids), levels)
    largest = int(codes.max()) if codes.size else 0
    return ItemIndex(codes, tuple(codebook_sizes or [max(2, 1 << largest.bit_length())] * levels))


def indexed_items(path: Path) -> list[str]:
    """Read the item ids of an index in the published JSON form, in the file's order.

    Raises:
        ValueError: the file holds no index.
    """
    return list(_read_rows(path))


def _checked_ids(item_ids: Sequence[str]) -> list[str]:
    ids = [str(item) for item in item_ids]
    if not ids:
        raise ValueError("no item ids: an index needs a catalogue of at least one item")
    if len(set(ids)) != len(ids):
        raise ValueError(f"{len(ids) - len(set(ids))} item ids appear twice; the catalogue's ids must be distinct")
    return ids


def _read_rows(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=distinct_keys)
    except DuplicateKeyError as err:
        raise ValueError(f"{path}: item {err.key!r} appears twice; {_REMEDY}") from err
    except FileNotFoundError as err:
        raise ValueError(f"{path}: no such index file; correct index_file, or set index_method=rqvae") from err
    except (json.JSONDecodeError, UnicodeDecodeError) as err:
        raise ValueError(f"{path}: corrupt or truncated JSON ({err}); {_REMEDY}") from err
    if not isinstance(content, dict) or not content:
        found = "an empty object" if isinstance(content, dict) else f"a {type(content).__name__}"
        raise ValueError(f'{path}: holds {found}, not {{"item id": ["<a_12>", "<b_7>", ...], ...}}; {_REMEDY}')
    return content


def _codes_of(path: Path, item: str, tokens: Any, levels: int) -> list[int]:
    if not isinstance(tokens, list) or not tokens:
        raise ValueError(f"{path}: item {item!r} has {tokens!r} instead of a list of index tokens; {_REMEDY}")
    if len(tokens) != levels:
        raise ValueError(
            f"{path}: item {item!r} has {len(tokens)} levels and the file's first item {levels}; "
            f"rows must be of equal length: {_REMEDY}"
        )
    if levels > MAX_LEVELS:
        raise ValueError(f"{path}: item {item!r} has {levels} levels, at most {MAX_LEVELS} are possible; {_REMEDY}")
    codes = []
    for level, token in enumerate(tokens):
        match = _TOKEN.fullmatch(token) if isinstance(token, str) else None
        if match is None or ord(match[1]) - ord("a") != level:
            raise ValueError(
                f"{path}: item {item!r} has {token!r} at level {level}, expected a token like "
                f"{index_token(level, 12)}; {_REMEDY}"
            )
        codes.append(int(match[2]))
    return codes
