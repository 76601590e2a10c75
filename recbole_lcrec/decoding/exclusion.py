"""Exclude items from a user's ranking: find the prefixes that lead to excluded items only.

The search drops such prefixes at every level before it selects beams.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_lcrec.decoding.trie import Trie

__all__ = ["Excluded", "excluded_nodes"]


@dataclass(frozen=True, eq=False)
class Excluded:
    """The dead nodes of R users: nodes below which every leaf is excluded.

    A live node always has a live child, down to a leaf, so a search that drops dead nodes at every level can always
    continue to an item.

    Attributes:
        nodes: for each level 1..H the dead nodes of each user [R, E], int64, ascending, distinct, padded at the end
            with ``padding``; E is at least 1.
        padding: a number larger than any node.
    """

    nodes: tuple[Tensor, ...]
    padding: int

    def dead(self, level: int, nodes: Tensor) -> Tensor:
        """Return whether all items below each node are excluded for the user.

        Args:
            level: the level of the nodes, 1 to H.
            nodes: nodes of that level, one row for each user [R, ...], int64.

        Returns:
            Bool tensor of the same shape.

        Raises:
            ValueError: the level does not exist, or there is not one row for each user.
        """
        if not 1 <= level <= len(self.nodes):
            raise ValueError(f"level={level}: must be from 1 to {len(self.nodes)}")
        known = self.nodes[level - 1]
        if nodes.ndim == 0 or len(nodes) != len(known):
            raise ValueError(f"nodes: shape {list(nodes.shape)}; must have one row for each of {len(known)} users")
        flat = nodes.reshape(len(nodes), nodes[:1].numel()).contiguous()
        places = torch.searchsorted(known, flat).clamp_(max=known.shape[1] - 1)
        return (known.gather(1, places) == flat).view(nodes.shape)

    def n_left(self, trie: Trie) -> Tensor:
        """Return how many items are left for each user [R], int64.

        Args:
            trie: the trie that the nodes belong to.

        Raises:
            ValueError: the nodes belong to another trie.
        """
        if (trie.n_levels, trie.level_offsets[-1]) != (len(self.nodes), self.padding):
            raise ValueError(
                f"the excluded nodes belong to a trie of {len(self.nodes)} levels and {self.padding} nodes, but this "
                f"one has {trie.n_levels} levels and {trie.level_offsets[-1]} nodes; call excluded_nodes() with it"
            )
        return trie.n_items - (self.nodes[-1] < self.padding).sum(dim=1)


def excluded_nodes(trie: Trie, items: Tensor) -> Excluded:
    """Find the dead nodes of each user.

    Args:
        trie: the items that may be recommended.
        items: excluded item rows of each user [R, E], int64, on the trie's device, in any order; -1 is padding, an item
            may occur twice, and rows that are not in a restricted trie are ignored.

    Returns:
        The dead nodes, on the trie's device.

    Raises:
        ValueError: the shape is wrong, or an item row does not exist.
    """
    if items.ndim != 2:
        raise ValueError(f"items: shape {list(items.shape)}; must be [R, E], the excluded item rows of each user")
    padding = trie.level_offsets[-1]
    if items.shape[1] == 0:
        nothing = torch.full((len(items), 1), padding, dtype=torch.int64, device=trie.device)
        return Excluded(nodes=(nothing,) * trie.n_levels, padding=padding)
    leaves = trie.leaves(items).sort(dim=1).values
    paths = trie.ancestors(leaves)  # ascending along E at every level, as leaves are; padding (-1) comes first
    n_distinct = (_differs_from_previous(leaves) & (leaves >= 0)).long().cumsum(dim=1)
    before = torch.nn.functional.pad(n_distinct, (1, 0))[:, :-1]
    levels = []
    for level in range(trie.n_levels):
        nodes = paths[..., level]
        starts = _differs_from_previous(nodes)
        base = before.masked_fill(~starts, 0).cummax(dim=1).values  # leaves excluded before the node's first one
        ends = starts.roll(-1, dims=1)  # the first entry always starts a run, so the last always ends one
        dead = ends & (nodes >= 0) & (n_distinct - base == trie.n_leaves[nodes.clamp(min=0)])
        levels.append(nodes.masked_fill(~dead, padding).sort(dim=1).values)
    return Excluded(nodes=tuple(levels), padding=padding)


def _differs_from_previous(values: Tensor) -> Tensor:
    """Return whether each entry of a row differs from the previous one; True for the first."""
    differs = torch.ones_like(values, dtype=torch.bool)
    differs[:, 1:] = values[:, 1:] != values[:, :-1]
    return differs
