"""The part of the trie that each user's candidate items cover.

With it, all candidates of a user are scored in one pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_lcrec.decoding.trie import Trie

__all__ = ["CandidateTrie"]


@dataclass(frozen=True, eq=False)
class CandidateTrie:
    """The distinct prefixes of R users' candidate items, level by level; a shared prefix is held once per user.

    U_l is the largest number of distinct prefixes of a user at level l, at least 1. A user's prefixes come first, in
    lexicographic order; padding follows.

    Attributes:
        nodes: for each level 1..H the node of each prefix [R, U_l], int64; padding holds a node of that level.
        tokens: for each level 1..H the last token of each prefix [R, U_l], int64; padding holds a token of that level.
        parents: for each level 1..H the position of the prefix without its last token, in the level above [R, U_l],
            int64; 0 at level 1 and for padding.
        valid: for each level 1..H whether an entry is a prefix, not padding [R, U_l], bool.
        leaf_of_candidate: the position of each candidate in level H [R, C], int64; 0 for padding.
        present: whether a candidate is an item, not padding [R, C], bool.
    """

    nodes: tuple[Tensor, ...]
    tokens: tuple[Tensor, ...]
    parents: tuple[Tensor, ...]
    valid: tuple[Tensor, ...]
    leaf_of_candidate: Tensor
    present: Tensor

    @classmethod
    def of(cls, trie: Trie, items: Tensor) -> CandidateTrie:
        """Find the distinct prefixes of each user's candidates.

        Args:
            trie: the trie of all items.
            items: candidate item rows of each user [R, C], int64, on the trie's device, in any order; -1 is padding,
                and an item may occur twice.

        Returns:
            The prefixes, on the trie's device.

        Raises:
            ValueError: the shape is wrong or empty, or an item row does not exist or is not in a restricted trie.
        """
        if items.ndim != 2 or 0 in items.shape:
            raise ValueError(f"items: shape {list(items.shape)}; must be [R, C], at least one candidate for each user")
        leaves = trie.leaves(items)
        present = items >= 0
        absent = present & (leaves < 0)
        if absent.any():
            raise ValueError(
                f"items: row {int(items[absent][0])} is not in the trie ({int(absent.sum())} such candidates): only "
                f"{trie.n_items} of {trie.n_rows} items are allowed; remove those candidates, or allow their items"
            )
        leaves, order = leaves.sort(dim=1)
        paths = trie.ancestors(leaves)  # ascending along C at every level, as leaves are; padding (-1) comes first
        fresh = paths >= 0
        fresh[:, 1:] &= paths[:, 1:] != paths[:, :-1]
        places = fresh.long().cumsum(dim=1)  # counted from 1; padding goes to place 0, which is dropped
        widths = places[:, -1].amax(dim=0).clamp(min=1).tolist()
        nodes, tokens, parents, valid = [], [], [], []
        for level, width in enumerate(widths):
            place = places[..., level]
            exists = torch.arange(1, width + 1, device=place.device) <= place[:, -1:]
            prefixes = _scatter_to_places(paths[..., level].clamp(min=0), place, width)
            nodes.append(torch.where(exists, prefixes, trie.level_offsets[level + 1]))
            tokens.append(trie.token[nodes[-1]].long())
            above = places[..., level - 1] - 1 if level else torch.zeros_like(place)
            parents.append(_scatter_to_places(above, place, width))
            valid.append(exists)
        leaf_of_candidate = torch.zeros_like(order).scatter_(1, order, (places[..., -1] - 1).clamp_(min=0))
        return cls(tuple(nodes), tuple(tokens), tuple(parents), tuple(valid), leaf_of_candidate, present)


def _scatter_to_places(values: Tensor, place: Tensor, width: int) -> Tensor:
    """Move values [R, C] to their places [R, width], counted from 1; equal places have equal values."""
    table = values.new_zeros((len(values), width + 1))
    return table.scatter_(1, place, values)[:, 1:].contiguous()
