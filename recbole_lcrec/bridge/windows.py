"""Histories as windows into the users' sequences, cut out only when somebody reads them.

RecBole keeps the history of every row as a padded row of its own, so one interaction lies in up to
``MAX_ITEM_LIST_LENGTH`` rows, once for each field and again after every sort and split. Here a history is two numbers,
its end and its length, and the columns that it points into are shared. What is read out is what RecBole would hold.
Knows RecBole's ``Interaction``. Refuses to know data sets, users, time and models.
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

__all__ = ["WindowedInteraction", "Windows", "oldest_of_lists"]

_ROWS_AT_ONCE = 1 << 16
"""Rows cut out at once; bounds the memory of index arithmetic."""


@dataclass(frozen=True)
class Windows:
    """R windows into columns of T values: window r is ``column[ends[r] - lengths[r] : ends[r]]``.

    Attributes:
        ends: int32 or int64 [R], the place after each window's newest value, 0 .. T.
        lengths: int32 or int64 [R], values in each window, at most ``width``.
        width: length of a window that is read out; shorter ones end in zeros.
    """

    ends: Tensor
    lengths: Tensor
    width: int

    def __len__(self) -> int:
        return len(self.ends)

    def part(self, index: Any) -> Windows:
        """The windows at an index that a tensor understands."""
        return Windows(self.ends[index], self.lengths[index], self.width)

    def oldest(self, column: Tensor) -> Tensor:
        """[R, ...]: the first value of each window, none of which may be empty."""
        return column[(self.ends - self.lengths).long()]

    def read(self, column: Tensor) -> Tensor:
        """Cuts the windows out of a column.

        Args:
            column: [T, ...].

        Returns:
            [R, width, ...] of the column's type, zeros after each window's end.
        """
        # NumPy, because PyTorch hands so little work to several threads, and waiting for them costs more than the work
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
    """Fields of rows: some are held, lists are windows that each reading cuts out anew until one is held whole."""

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

    It answers as RecBole's does: a field is a tensor, rows are an ``Interaction``. Choosing, sorting and shuffling rows
    moves the windows and leaves the columns. A list field that is asked for by its name is cut out whole and held from
    then on, for who asks once (FEARec) asks for every row of a batch.

    Args:
        held: field -> [R, ...].
        lists: list field -> the column [T, ...] that its windows lie in.
        windows: R windows, the same for every list field.
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
        """Adds a prefix to every field's name."""
        columns = self.interaction
        held, lists = ({prefix + name: values for name, values in d.items()} for d in (columns.held, columns.lists))
        self.interaction = _Columns(held, lists, columns.windows)

    def read(self, lists: Collection[str] | None = None) -> Interaction:
        """RecBole's own ``Interaction`` of these rows.

        Args:
            lists: the list fields to cut out, the others are left away; None: all.
        """
        columns = self.interaction
        chosen = [name for name in columns if lists is None or name not in columns.lists or name in lists]
        return Interaction({name: columns[name] for name in chosen})

    def oldest(self, list_field: str) -> Tensor:
        """[R, ...]: the first value of every row's list, without cutting the lists out."""
        columns = self.interaction
        if list_field in columns.held:
            return columns.held[list_field][:, 0]
        return columns.windows.oldest(columns.lists[list_field])


def oldest_of_lists(feat: Interaction, list_field: str) -> Tensor:
    """[R, ...]: the first value of every row's list, whichever way the rows are held."""
    return feat.oldest(list_field) if isinstance(feat, WindowedInteraction) else feat[list_field][:, 0]


def _tensor_index(index: Any) -> Any:
    """What RecBole indexes rows with (lists, ranges, arrays, masks), as something that a tensor takes at once."""
    if isinstance(index, range):
        return torch.arange(index.start, index.stop, index.step)
    if isinstance(index, list):
        index = np.array(index, dtype=None if index else np.int64)
    return torch.from_numpy(np.ascontiguousarray(index)) if isinstance(index, np.ndarray) else index
