"""The prefix tree of all item indices, stored as flat arrays.

One step of the search gets the children of many nodes with one gather.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recbole_lcrec.decoding.trie_input import MAX_INT32, allowed_mask, checked_token_ids, lexicographic_order

__all__ = ["Children", "Trie"]


@dataclass(frozen=True, eq=False)
class Children:
    """The children of nodes [B, M], padded to F, the largest number of children of a node at that level.

    Attributes:
        nodes: child nodes [B, M, F], int64. Padded entries repeat the node's last child.
        tokens: the token that leads to each child [B, M, F], int64, never below 0, ascending along F where legal.
        legal: whether an entry is a child, not padding [B, M, F], bool.
    """

    nodes: Tensor
    tokens: Tensor
    legal: Tensor


@dataclass(frozen=True, eq=False)
class Trie:
    """All prefixes of N item indices of H tokens each (paper III-D2).

    Nodes are numbered level by level, and within a level in the lexicographic order of their prefixes: the root is
    node 0, the children of a node are adjacent with ascending tokens, and the last N nodes are the leaves. So the
    ancestors of ascending leaves ascend, too. Every inner node has a child, since all indices have H tokens. Memory is
    linear in the number of nodes, whatever the size of the vocabulary.

    Attributes:
        first_child: the first child of each node [n_nodes], int32; 0 for leaves.
        n_children: the number of children of each node [n_nodes], int32; 0 for leaves.
        token: the token that leads to each node [n_nodes], int32; -1 for the root.
        parent: the parent of each node [n_nodes], int32; -1 for the root.
        n_leaves: the number of leaves below each node [n_nodes], int32; 1 for a leaf.
        leaf_items: the item row of each leaf in node order [N], int64, distinct.
        leaf_of_item: the leaf of each item row [n_rows], int32; -1 for a row that :meth:`restricted` has removed.
        tokens_below: for each level 0..H-1 the distinct tokens that lead to its children, int64, ascending; H tensors.
        level_offsets: the first node of each level 0..H, then n_nodes; H + 2 numbers.
        max_children: the largest number of children of a node at each level 0..H-1; H numbers.
        max_token: the largest token id.
    """

    first_child: Tensor
    n_children: Tensor
    token: Tensor
    parent: Tensor
    n_leaves: Tensor
    leaf_items: Tensor
    leaf_of_item: Tensor
    tokens_below: tuple[Tensor, ...]
    level_offsets: tuple[int, ...]
    max_children: tuple[int, ...]
    max_token: int

    @classmethod
    def from_token_ids(cls, item_token_ids: npt.ArrayLike) -> Trie:
        """Build the trie: sort the rows once, then compare neighbours.

        Args:
            item_token_ids: token ids of each item's index [N, H], integers; the row number is the item row.

        Returns:
            The trie, on the CPU.

        Raises:
            ValueError: the array is not two-dimensional, is empty, is not of integers, or holds an id below 0 or above
                int32; two items have the same index; or there are more nodes than int32 can number.
        """
        ids = checked_token_ids(item_token_ids)
        order = lexicographic_order(ids)
        starts, fresh = np.zeros(1, dtype=np.intp), np.zeros(len(ids), dtype=bool)
        fresh[0] = True
        tokens, n_children = [], []
        for level in range(ids.shape[1]):
            column = ids[:, level].astype(np.int32)[order]
            fresh[1:] |= column[1:] != column[:-1]
            n_children.append(torch.from_numpy(np.add.reduceat(fresh, starts, dtype=np.int32)))
            starts = np.flatnonzero(fresh)
            tokens.append(torch.from_numpy(column[starts]))
        if len(starts) < len(ids):
            twin = int(np.argmin(fresh))
            raise ValueError(
                f"item_token_ids: items {order[twin - 1]} and {order[twin]} have the same index "
                f"{ids[order[twin]].tolist()} ({len(ids) - len(starts)} such rows in total); resolve the conflicts of "
                "the item index first"
            )
        return cls.from_levels(tokens, n_children, torch.from_numpy(order.astype(np.int64, copy=False)), len(ids))

    @classmethod
    def from_levels(
        cls, tokens: Sequence[Tensor], n_children: Sequence[Tensor], leaf_items: Tensor, n_rows: int
    ) -> Trie:
        """Build the trie from a minimal description; all other arrays are derived from it.

        Args:
            tokens: for each level 1..H the token that leads to each of its nodes, int32.
            n_children: for each level 0..H-1 the number of children of each of its nodes, int32, at least 1.
            leaf_items: the item row of each leaf [N], int64, distinct, from 0 to ``n_rows`` - 1.
            n_rows: number of item rows, whether or not they are in the trie.

        Returns:
            The trie, on the arrays' device. The arrays are not checked.

        Raises:
            ValueError: there are more nodes than int32 can number.
        """
        offsets = tuple(accumulate([0, 1, *map(len, tokens)]))
        if offsets[-1] > MAX_INT32:
            raise ValueError(f"{offsets[-1]} trie nodes; at most {MAX_INT32} are supported, use fewer items")
        n_leaves = [torch.ones_like(tokens[-1])]
        for counts in reversed(n_children):
            n_leaves.append(_sums(n_leaves[-1], counts))
        root, no_children = tokens[0].new_full((1,), -1), torch.zeros_like(tokens[-1])
        inner = torch.cat([*n_children])  # numbered level by level, so first children are running sums
        nodes = torch.arange(offsets[-1], dtype=torch.int32, device=root.device)
        leaf_of_item = root.new_full((n_rows,), -1)
        leaf_of_item[leaf_items] = nodes[offsets[-2] :]
        distinct = tuple(map(_distinct, tokens))
        return cls(
            first_child=torch.cat([1 + _ends(inner) - inner, no_children]),
            n_children=torch.cat([inner, no_children]),
            token=torch.cat([root, *tokens]),
            parent=torch.cat([root, nodes[: offsets[-2]].repeat_interleave(inner)]),
            n_leaves=torch.cat(n_leaves[::-1]),
            leaf_items=leaf_items,
            leaf_of_item=leaf_of_item,
            tokens_below=distinct,
            level_offsets=offsets,
            max_children=tuple(int(counts.max()) for counts in n_children),
            max_token=max(int(ids[-1]) for ids in distinct),
        )

    @property
    def n_items(self) -> int:
        """The number of items N."""
        return len(self.leaf_items)

    @property
    def n_rows(self) -> int:
        """The number of item rows before any restriction."""
        return len(self.leaf_of_item)

    @property
    def n_levels(self) -> int:
        """The number of tokens in an index H."""
        return len(self.max_children)

    @property
    def device(self) -> torch.device:
        """The device that holds the arrays."""
        return self.token.device

    def level_size(self, level: int) -> int:
        """Return the number of distinct prefixes of ``level`` tokens: 1 at level 0, N at level H."""
        return self.level_offsets[level + 1] - self.level_offsets[level]

    def level_tokens(self, level: int) -> Tensor:
        """Return the distinct tokens that lead from any node of a level 0..H-1 to a child, int64, ascending.

        Raises:
            ValueError: the level has no children or does not exist.
        """
        self._check_inner(level)
        return self.tokens_below[level]

    def children(self, nodes: Tensor, level: int) -> Children:
        """Return the padded children of nodes of one level.

        Args:
            nodes: nodes [B, M] of the given level, int64, on the trie's device.
            level: their level, 0 (the root) to H - 1.

        Returns:
            Children [B, M, F] with F = ``max_children[level]``.

        Raises:
            ValueError: the level has no children or does not exist.
        """
        self._check_inner(level)
        step = torch.arange(self.max_children[level], dtype=torch.int32, device=self.device)
        counts = self.n_children[nodes].unsqueeze(-1)
        child = (self.first_child[nodes].unsqueeze(-1) + torch.minimum(step, counts - 1)).long()
        return Children(nodes=child, tokens=self.token[child].long(), legal=step < counts)

    def items(self, leaves: Tensor) -> Tensor:
        """Return the item rows of leaf nodes; any shape, int64."""
        return self.leaf_items[leaves - self.level_offsets[self.n_levels]]

    def leaves(self, items: Tensor) -> Tensor:
        """Return the leaf nodes of item rows, the inverse of :meth:`items`.

        Args:
            items: item rows, any shape, int64, on the trie's device; -1 is padding.

        Returns:
            Leaves of the same shape, int64; -1 for padding and for rows that :meth:`restricted` has removed.

        Raises:
            ValueError: an item row does not exist.
        """
        if items.numel():
            low, high = (int(bound) for bound in torch.aminmax(items))
            if low < -1 or high >= self.n_rows:
                wrong = low if low < -1 else high
                raise ValueError(f"item row {wrong} does not exist; rows are 0 to {self.n_rows - 1}, -1 is padding")
        return self.leaf_of_item[items.clamp(min=0)].long().masked_fill_(items < 0, -1)

    def ancestors(self, leaves: Tensor) -> Tensor:
        """Return the nodes on the paths from level 1 to leaves [...], the leaves included.

        Args:
            leaves: leaf nodes of any shape [...], int64; -1 is padding.

        Returns:
            Nodes [..., H], int64; all -1 for padding.
        """
        path = [leaves]
        for _ in range(self.n_levels - 1):
            path.append(self.parent[path[-1].clamp(min=0)].long())
        return torch.stack(path[::-1], dim=-1).masked_fill_(leaves.unsqueeze(-1) < 0, -1)

    def paths(self, items: Tensor) -> Tensor:
        """Return the nodes of levels 1..H on the paths of item rows [...] as [..., H]; see :meth:`leaves`."""
        return self.ancestors(self.leaves(items))

    def restricted(self, allowed: npt.ArrayLike | Tensor) -> Trie:
        """Return the trie of some of its items. Item rows keep their numbers, and nothing is sorted again.

        Args:
            allowed: a bool mask over all ``n_rows`` item rows, or the allowed rows as integers in any order.

        Returns:
            A new trie on the same device, with the same ``n_rows``.

        Raises:
            ValueError: nothing is allowed, a mask has the wrong length, or an item row does not exist or was removed
                by an earlier restriction.
        """
        kept = allowed_mask(allowed, self.n_rows).to(self.device)
        missing = kept & (self.leaf_of_item < 0)
        if missing.any():
            raise ValueError(
                f"allowed: item row {int(missing.nonzero()[0])} is not in this trie ({int(missing.sum())} such rows) "
                "because of an earlier restriction; restrict the trie of all items instead"
            )
        survives = kept[self.leaf_items]
        leaf_items, tokens, n_children = self.leaf_items[survives], [], []
        for level in reversed(range(self.n_levels)):
            tokens.append(self.token[self._nodes(level + 1)][survives])
            counts = _sums(survives.int(), self.n_children[self._nodes(level)])
            survives = counts > 0
            n_children.append(counts[survives])
        return Trie.from_levels(tokens[::-1], n_children[::-1], leaf_items, self.n_rows)

    def to(self, device: torch.device | str) -> Trie:
        """Return the same trie with its arrays on another device."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        moved: dict[str, Any] = {name: value.to(device) for name, value in fields.items() if isinstance(value, Tensor)}
        return dataclasses.replace(self, **moved, tokens_below=tuple(ids.to(device) for ids in self.tokens_below))

    def _nodes(self, level: int) -> slice:
        return slice(self.level_offsets[level], self.level_offsets[level + 1])

    def _check_inner(self, level: int) -> None:
        if not 0 <= level < self.n_levels:
            raise ValueError(f"level={level}: only levels 0 to {self.n_levels - 1} of this trie have children")


def _ends(counts: Tensor) -> Tensor:
    """Return the end of each of consecutive runs of the given lengths, int32."""
    return counts.cumsum(0, dtype=torch.int32)


def _sums(values: Tensor, counts: Tensor) -> Tensor:
    """Return the sums of consecutive runs of int32 values; every run has at least one value."""
    totals = values.cumsum(0, dtype=torch.int32)[_ends(counts).long() - 1]
    return torch.diff(totals, prepend=totals.new_zeros(1))


def _distinct(tokens: Tensor) -> Tensor:
    """Return the distinct values, int64, ascending; dense values, as index tokens are, need no sort."""
    low, high = (int(bound) for bound in torch.aminmax(tokens))
    if high - low >= 8 * len(tokens) + 4096:
        return torch.unique(tokens).long()
    marks = torch.zeros(high - low + 1, dtype=torch.bool, device=tokens.device)
    marks[tokens.long() - low] = True
    return marks.nonzero().squeeze(1) + low
