"""Random catalogues of many shapes, and a dictionary of their prefixes to compare the trie with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

Ids = npt.NDArray[np.int64]
Prefix = tuple[int, ...]


@st.composite
def codes(draw: st.DrawFn, min_levels: int = 1) -> Ids:
    """Distinct rows of up to 6 tokens in any order; levels may share tokens, have gaps, or exceed 63 bits together."""
    n_levels = draw(st.integers(min_levels, 6))
    code = st.integers(0, draw(st.integers(0, 4)))
    rows = draw(st.lists(st.tuples(*[code] * n_levels), min_size=1, max_size=40, unique=True))
    spread = draw(st.sampled_from([1, 3, 2**28]))
    return np.array(rows, dtype=np.int64) * spread + draw(st.integers(0, 7)) * np.arange(n_levels)


@st.composite
def vanilla(draw: st.DrawFn) -> Ids:
    """One level, a token for each item."""
    tokens = draw(st.permutations(range(100, 100 + draw(st.integers(1, 40)))))
    return np.array(tokens, dtype=np.int64)[:, None]


@st.composite
def supplement(draw: st.DrawFn) -> Ids:
    """Rows with shared codes and a last level that numbers the items with the same codes."""
    shared = draw(codes())[:8]
    of_row = draw(st.lists(st.integers(0, len(shared) - 1), min_size=1, max_size=30))
    counts = [of_row[:place].count(row) for place, row in enumerate(of_row)]
    return np.column_stack([shared[of_row], np.array(counts) + 50])


catalogues = st.one_of(codes(), vanilla(), supplement())


class Prefixes:
    """All prefixes of some items, numbered level by level in lexicographic order.

    Args:
        ids: the token ids [N, H] of all items.
        items: the item rows to include; None: all.
    """

    def __init__(self, ids: Ids, items: set[int] | None = None) -> None:
        self.rows = {item: tuple(row) for item, row in enumerate(ids.tolist()) if items is None or item in items}
        self.n_levels = ids.shape[1]
        self.levels = [sorted({row[:depth] for row in self.rows.values()}) for depth in range(self.n_levels + 1)]
        self.node: dict[Prefix, int] = {}
        for prefix in (prefix for level in self.levels for prefix in level):
            self.node[prefix] = len(self.node)

    def below(self, prefix: Prefix) -> set[int]:
        """The items whose index begins with a prefix."""
        return {item for item, row in self.rows.items() if row[: len(prefix)] == prefix}

    def children(self, prefix: Prefix) -> list[Prefix]:
        """The prefixes that are one token longer, ascending."""
        if len(prefix) == self.n_levels:
            return []
        return [longer for longer in self.levels[len(prefix) + 1] if longer[:-1] == prefix]
