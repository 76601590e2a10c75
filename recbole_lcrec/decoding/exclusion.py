"""Items that a user must not get, told to the search level by level.

Knows which prefixes lead to nothing but excluded items. Refuses to know why items are excluded (a history, a block
list), and the scores: the search asks which of its nodes are dead and drops them before it chooses.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_lcrec.decoding.trie import Trie

__all__ = ["Excluded", "excluded_nodes"]


@dataclass(frozen=True, eq=False)
class Excluded:
    """The dead nodes of R users: those below which every leaf is excluded.

    A node that is not dead has a child that is not, down to an item; so a search that drops dead nodes at every level
    never ends nowhere.

    Attributes:
        nodes: for each level 1..H the dead nodes of each user [R, E], int64, ascending, distinct, padded at the end by
            a number larger than any node; E is at least 1.
        padding: that number.
    """

    nodes: tuple[Tensor, ...]
    padding: int

    def dead(self, level: int, nodes: Tensor) -> Tensor:
        """Whether all items below a node are excluded for the user, by a binary search.

        Args:
            level: the level of the nodes, 1 to H.
            nodes: nodes of that level, a row for each user [R, ...], int64.

        Returns:
            The answers, same shape, bool.

        Raises:
            ValueError: if the level does not exist, or there is not one row for each user.
        """
        if not 1 <= level <= len(self.nodes):
            raise ValueError(f"level={level}: must be from 1 to {len(self.nodes)}")
        known = self.nodes[level - 1]
        if nodes.ndim == 0 or len(nodes) != len(known):
            raise ValueError(f"nodes: shape {list(nodes.shape)}; must have one row for each of {len(known)} users")
        asked = nodes.reshape(len(nodes), nodes[:1].numel()).contiguous()
        places = torch.searchsorted(known, asked).clamp_(max=known.shape[1] - 1)
        return (known.gather(1, places) == asked).view(nodes.shape)

    def n_left(self, trie: Trie) -> Tensor:
        """How many items each user can still get [R], int64.

        Args:
            trie: the trie that the nodes are of.

        Raises:
            ValueError: if it is another trie.
        """
        if (trie.n_levels, trie.level_offsets[-1]) != (len(self.nodes), self.padding):
            raise ValueError(
                f"the excluded nodes are of a trie of {len(self.nodes)} levels and {self.padding} nodes, not of this "
                f"one with {trie.n_levels} and {trie.level_offsets[-1]}"
            )
        return trie.n_items - (self.nodes[-1] < self.padding).sum(dim=1)


def excluded_nodes(trie: Trie, items: Tensor) -> Excluded:
    """Finds the dead nodes of each user.

    Args:
        trie: the items that can be found at all.
        items: item rows that each user must not get [R, E], int64, on the trie's device, in any order; -1 is padding,
            an item may come twice, and rows that a restriction of the trie has left out count for nothing.

    Returns:
        The dead nodes, on the trie's device.

    Raises:
        ValueError: if the shape is another one, or a row does not exist.
    """
    if items.ndim != 2:
        raise ValueError(f"items: shape {list(items.shape)}; must be [R, E], the excluded item rows of each user")
    padding = trie.level_offsets[-1]
    if items.shape[1] == 0:
        nothing = torch.full((len(items), 1), padding, dtype=torch.int64, device=trie.device)
        return Excluded(nodes=(nothing,) * trie.n_levels, padding=padding)
    leaves = trie.leaves(items).sort(dim=1).values
    paths = trie.ancestors(leaves)  # ascending along E at every level, as leaves are; padding is -1 and comes first
    n_distinct = (_differs_from_previous(leaves) & (leaves >= 0)).long().cumsum(dim=1)
    before = torch.nn.functional.pad(n_distinct, (1, 0))[:, :-1]
    levels = []
    for level in range(trie.n_levels):
        nodes = paths[..., level]
        starts = _differs_from_previous(nodes)
        base = before.masked_fill(~starts, 0).cummax(dim=1).values  # leaves excluded before the node's run began
        ends = starts.roll(-1, dims=1)  # the first entry always starts a run, so the last always ends one
        dead = ends & (nodes >= 0) & (n_distinct - base == trie.n_leaves[nodes.clamp(min=0)])
        levels.append(nodes.masked_fill(~dead, padding).sort(dim=1).values)
    return Excluded(nodes=tuple(levels), padding=padding)


def _differs_from_previous(values: Tensor) -> Tensor:
    """Whether each entry of a row differs from the one before it; the first always does."""
    differs = torch.ones_like(values, dtype=torch.bool)
    differs[:, 1:] = values[:, 1:] != values[:, :-1]
    return differs
