"""The prefix tree of all item indices, held as flat arrays.

Knows token ids and item rows, and which token may follow which prefix. Refuses to know the language model, scores
and beams: a step of the search asks for the children of many nodes at once and gets them by one gather.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["Candidates", "Trie"]

_MAX_INT32 = int(np.iinfo(np.int32).max)


@dataclass(frozen=True, eq=False)
class Candidates:
    """The children of nodes [B, M], padded to F, the largest number of children at that level.

    Attributes:
        nodes: child nodes [B, M, F], int64. Padded entries hold some existing node.
        tokens: the token that leads to each child [B, M, F], int64, ascending along F.
        legal: whether an entry is a child at all [B, M, F], bool.
    """

    nodes: Tensor
    tokens: Tensor
    legal: Tensor


@dataclass(frozen=True, eq=False)
class Trie:
    """All legal prefixes of N item indices of H tokens each (paper III-D2), built once.

    Nodes are numbered level by level, and within a level in the lexicographic order of their prefixes: the root is
    node 0, the children of a node are neighbours with ascending tokens, and the last N nodes are the leaves. Every
    node above the leaves has a child, since all indices are H tokens long. Memory is linear in the number of nodes,
    whatever the size of the vocabulary.

    Attributes:
        first_child: the first child of each node [n_nodes], int32; 0 for leaves.
        n_children: how many children each node has [n_nodes], int32; 0 for leaves.
        token: the token that leads to each node [n_nodes], int32; -1 for the root.
        leaf_items: the item row of each leaf in node order [N], int64, a permutation of 0..N-1.
        level_offsets: the first node of each level 0..H, then n_nodes; H + 2 numbers.
        max_children: the largest number of children of a node at each level 0..H-1; H numbers.
        max_token: the largest token id.
    """

    first_child: Tensor
    n_children: Tensor
    token: Tensor
    leaf_items: Tensor
    level_offsets: tuple[int, ...]
    max_children: tuple[int, ...]
    max_token: int

    @classmethod
    def from_token_ids(cls, item_token_ids: npt.ArrayLike) -> Trie:
        """Builds the trie: one sort of the rows, then a comparison of neighbours.

        Args:
            item_token_ids: the token ids of each item's index [N, H], integers; the row is the item.

        Returns:
            The trie, on the CPU.

        Raises:
            ValueError: if the array is not two-dimensional, empty, not of integers, holds an id below 0 or beyond
                int32, or if two items have the same index.
        """
        ids = _checked(np.asarray(item_token_ids))
        n_levels = ids.shape[1]
        order = np.lexsort(ids.T[::-1])
        rows = ids[order]
        fresh = np.ones(rows.shape, dtype=bool)
        np.logical_or.accumulate(rows[1:] != rows[:-1], axis=1, out=fresh[1:])
        if not fresh[:, -1].all():
            twin = int(np.argmin(fresh[:, -1]))
            raise ValueError(
                f"item_token_ids: items {order[twin - 1]} and {order[twin]} have the same index {rows[twin].tolist()} "
                f"({int((~fresh[:, -1]).sum())} such rows in all); solve the conflicts of the item index first"
            )
        starts = [np.zeros(1, dtype=np.int64)] + [np.flatnonzero(fresh[:, level]) for level in range(n_levels)]
        offsets = np.concatenate([[0], np.cumsum([len(level) for level in starts])])
        if offsets[-1] > _MAX_INT32:
            raise ValueError(f"item_token_ids: {offsets[-1]} trie nodes; at most {_MAX_INT32} fit, use fewer items")
        first_child = np.zeros(offsets[-1], dtype=np.int32)
        n_children = np.zeros(offsets[-1], dtype=np.int32)
        token = np.full(offsets[-1], -1, dtype=np.int32)
        max_children = []
        for level in range(n_levels):
            nodes = slice(offsets[level], offsets[level + 1])
            first = np.searchsorted(starts[level + 1], starts[level])
            first_child[nodes] = offsets[level + 1] + first
            n_children[nodes] = np.diff(first, append=len(starts[level + 1]))
            token[offsets[level + 1] : offsets[level + 2]] = rows[starts[level + 1], level]
            max_children.append(int(n_children[nodes].max()))
        return cls(
            first_child=torch.from_numpy(first_child),
            n_children=torch.from_numpy(n_children),
            token=torch.from_numpy(token),
            leaf_items=torch.from_numpy(order.astype(np.int64)),
            level_offsets=tuple(int(offset) for offset in offsets),
            max_children=tuple(max_children),
            max_token=int(rows.max()),
        )

    @property
    def n_items(self) -> int:
        """The number of items N."""
        return len(self.leaf_items)

    @property
    def n_levels(self) -> int:
        """The number of tokens in an index H."""
        return len(self.max_children)

    @property
    def device(self) -> torch.device:
        """The device that holds the arrays."""
        return self.token.device

    def level_size(self, level: int) -> int:
        """The number of distinct prefixes of ``level`` tokens: 1 at level 0, N at level H."""
        return self.level_offsets[level + 1] - self.level_offsets[level]

    def children(self, nodes: Tensor, level: int) -> Candidates:
        """The padded children of nodes of one level, by one gather.

        Args:
            nodes: nodes [B, M] of the given level, int64, on the trie's device.
            level: their level, 0 (the root) to H - 1.

        Returns:
            Candidates [B, M, F] with F = ``max_children[level]``.

        Raises:
            ValueError: if the level has no children or does not exist.
        """
        if not 0 <= level < self.n_levels:
            raise ValueError(f"level={level}: only levels 0 to {self.n_levels - 1} of this trie have children")
        step = torch.arange(self.max_children[level], device=self.device)
        legal = step < self.n_children[nodes].unsqueeze(-1)
        child = (self.first_child[nodes].long().unsqueeze(-1) + step).clamp_(max=self.level_offsets[-1] - 1)
        return Candidates(nodes=child, tokens=self.token[child].long(), legal=legal)

    def items(self, leaves: Tensor) -> Tensor:
        """The item rows of leaf nodes; any shape, int64."""
        return self.leaf_items[leaves - self.level_offsets[self.n_levels]]

    def to(self, device: torch.device | str) -> Trie:
        """The same trie with its arrays on another device."""
        return dataclasses.replace(
            self,
            first_child=self.first_child.to(device),
            n_children=self.n_children.to(device),
            token=self.token.to(device),
            leaf_items=self.leaf_items.to(device),
        )


def _checked(ids: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    if ids.ndim != 2 or 0 in ids.shape:
        raise ValueError(
            f"item_token_ids: shape {list(ids.shape)}; must be [N, H] with at least one item and one token"
        )
    if not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"item_token_ids: dtype {ids.dtype}; must be integers")
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high > _MAX_INT32:
        value = low if low < 0 else high
        item = int(np.argmax((ids == value).any(axis=1)))
        raise ValueError(f"item_token_ids: item {item} holds token id {value}; ids must be from 0 to {_MAX_INT32}")
    return ids
