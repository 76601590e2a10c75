"""Histories as windows into shared columns, materialised only when they are read.

RecBole stores the history of every row as a padded row, so each interaction is copied into up to
``MAX_ITEM_LIST_LENGTH`` rows, for each field, and again after every sort and split. Here a history is two numbers, its
end and its length, into columns that all rows share. Reading a history gives the values that RecBole would store.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

__all__ = ["WindowedInteraction", "Windows", "item_list_field", "newest_of_lists", "oldest_of_lists"]

_ROWS_AT_ONCE = 1 << 16
"""Rows read at once; bounds the memory of index arithmetic."""


@dataclass(frozen=True)
class Windows:
    """R windows into columns of T values: window r is ``column[ends[r] - lengths[r] : ends[r]]``.

    Attributes:
        ends: int32 or int64 [R], position after each window's newest value, 0 .. T.
        lengths: int32 or int64 [R], number of values in each window, at most ``width``.
        width: length of a window when it is read; shorter ones are padded with zeros at the end.
    """

    ends: Tensor
    lengths: Tensor
    width: int

    def __len__(self) -> int:
        return len(self.ends)

    def part(self, index: Any) -> Windows:
        """Return the windows selected by a tensor index."""
        return Windows(self.ends[index], self.lengths[index], self.width)

    def oldest(self, column: Tensor) -> Tensor:
        """Return [R, ...]: the first value of each window; no window may be empty."""
        return column[(self.ends - self.lengths).long()]

    def newest(self, column: Tensor) -> Tensor:
        """Return [R, ...]: the last value of each window; no window may be empty."""
        return column[(self.ends - 1).long()]

    def read(self, column: Tensor) -> Tensor:
        """Materialise the windows into a column.

        Args:
            column: [T, ...].

        Returns:
            [R, width, ...] of the column's dtype, padded with zeros at the end.
        """
        # NumPy: PyTorch would start several threads for this small work, and waiting for them takes longer
        values, ends, lengths = column.numpy(), self.ends.numpy(), self.lengths.numpy()
        out = np.empty((len(self), self.width, *values.shape[1:]), dtype=values.dtype)
        steps = np.arange(self.width, dtype=ends.dtype)
        for start in range(0, len(self), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            places = (ends[rows] - lengths[rows])[:, None] + steps
            piece = values.take(places, axis=0, mode="clip")
            piece[steps >= lengths[rows][:, None]] = 0
            out[rows] = piece
        return torch.from_numpy(out)


class _Columns(MutableMapping[str, Tensor]):
    """Fields of rows: some are stored; lists are windows that are materialised on each access until one is stored."""

    def __init__(self, held: dict[str, Tensor], lists: dict[str, Tensor], windows: Windows) -> None:
        self.held, self.lists, self.windows = held, lists, windows

    def __getitem__(self, name: str) -> Tensor:
        return self.windows.read(self.lists[name]) if name in self.lists and name not in self.held else self.held[name]

    def __setitem__(self, name: str, values: Tensor) -> None:
        self.held[name] = values

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self.held.pop(name, None)
        self.lists.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return name in self.held or name in self.lists

    def __iter__(self) -> Iterator[str]:
        return chain((name for name in self.held if name not in self.lists), self.lists)

    def __len__(self) -> int:
        return len(self.held.keys() | self.lists.keys())

    def part(self, index: Any) -> _Columns:
        held = {name: values[index] for name, values in self.held.items()}
        return _Columns(held, dict(self.lists), self.windows.part(index))


class WindowedInteraction(Interaction):
    """RecBole's ``Interaction`` of R rows whose list fields are windows into shared columns.

    It behaves like RecBole's: a field is a tensor, a selection of rows is an ``Interaction``. Selecting, sorting and
    shuffling rows moves the windows and leaves the columns unchanged. A list field that is accessed by name is
    materialised and kept, because a model that accesses it once (FEARec) accesses it for every row of a batch.

    Args:
        held: field -> [R, ...].
        lists: list field -> the column [T, ...] that its windows refer to.
        windows: R windows, shared by all list fields.
    """

    def __init__(self, held: Mapping[str, Tensor], lists: Mapping[str, Tensor], windows: Windows) -> None:
        self.interaction: _Columns = _Columns(dict(held), dict(lists), windows)
        self.length = len(windows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            columns = self.interaction
            return columns.held.setdefault(index, columns[index]) if index in columns.lists else columns[index]
        if isinstance(index, (int, np.integer)):
            return Interaction({name: values[0] for name, values in self[[int(index)]].interaction.items()})
        columns = self.interaction.part(_tensor_index(index))
        return WindowedInteraction(columns.held, columns.lists, columns.windows)

    def _reindex(self, index: Any) -> None:
        self.interaction = self.interaction.part(_tensor_index(index))

    def add_prefix(self, prefix: str) -> None:
        """Add a prefix to every field's name."""
        columns = self.interaction
        held, lists = ({prefix + name: values for name, values in d.items()} for d in (columns.held, columns.lists))
        self.interaction = _Columns(held, lists, columns.windows)

    def read(self, lists: Collection[str] | None = None) -> Interaction:
        """Return RecBole's own ``Interaction`` of these rows.

        Args:
            lists: the list fields to materialise, others are left out; None for all.
        """
        columns = self.interaction
        chosen = [name for name in columns if lists is None or name not in columns.lists or name in lists]
        return Interaction({name: columns[name] for name in chosen})

    def oldest(self, list_field: str) -> Tensor:
        """Return [R, ...]: the first value of every row's list, without materialising the lists."""
        columns = self.interaction
        if list_field in columns.held:
            return columns.held[list_field][:, 0]
        return columns.windows.oldest(columns.lists[list_field])


def item_list_field(dataset: Any) -> str:
    """Return the name of the histories' column of RecBole's sequential data set, which follows ``ITEM_ID_FIELD``."""
    field: str = getattr(dataset, f"{dataset.iid_field}_list_field")
    return field


def oldest_of_lists(feat: Interaction, list_field: str) -> Tensor:
    """Return [R, ...]: the first value of every row's list, for either kind of ``Interaction``."""
    return feat.oldest(list_field) if isinstance(feat, WindowedInteraction) else feat[list_field][:, 0]


def newest_of_lists(feat: Interaction, list_field: str, length_field: str) -> Tensor:
    """Return [R]: the last value of every row's list, for either kind of ``Interaction``."""
    if isinstance(feat, WindowedInteraction) and list_field not in feat.interaction.held:
        return feat.interaction.windows.newest(feat.interaction.lists[list_field])
    return feat[list_field].gather(1, feat[length_field].long()[:, None] - 1)[:, 0]


def _tensor_index(index: Any) -> Any:
    """Convert RecBole's row indices (lists, ranges, arrays, masks) to a tensor index."""
    if isinstance(index, range):
        return torch.arange(index.start, index.stop, index.step)
    if isinstance(index, list):
        index = np.array(index, dtype=None if index else np.int64)
    return torch.from_numpy(np.ascontiguousarray(index)) if isinstance(index, np.ndarray) else index
