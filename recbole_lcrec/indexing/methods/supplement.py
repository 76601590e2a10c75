"""RQ-VAE without uniform semantic mapping (paper Fig. 2, "w/o USM").

One more level separates conflicting items.
"""

from __future__ import annotations

import numpy as np

from recbole_lcrec.config.settings import IndexSettings
from recbole_lcrec.indexing.base import Assignment
from recbole_lcrec.indexing.conflicts import Resolution, resolve_without_embeddings
from recbole_lcrec.indexing.item_index import MAX_LEVELS
from recbole_lcrec.indexing.methods.rqvae import RQVAEMethod

__all__ = ["SupplementMethod"]


class SupplementMethod(RQVAEMethod):
    """RQ-VAE with a supplementary level, whose code is the item's number among those that share all learned codes.

    Every item has it, so the index is rectangular with H + 1 levels. The level has K codes, or as many as the largest
    group needs.
    """

    uniform = False

    @classmethod
    def require_room(cls, n_items: int, settings: IndexSettings) -> None:
        """Check that there is a letter left for the supplementary level; it has room for any number of items."""
        if settings.shape[0] == MAX_LEVELS:
            raise ValueError(
                f"index_levels = {settings.levels}: index_method = 'supplement' adds a level, and an index has at most "
                f"{MAX_LEVELS}; lower index_levels"
            )

    def resolve_conflicts(
        self, assignment: Assignment, embeddings: np.ndarray | None, occupied: np.ndarray | None = None
    ) -> Resolution:
        """Number the items that share all learned codes."""
        codes = np.pad(assignment.codes, ((0, 0), (0, 1)))
        if occupied is None:
            groups = np.unique(assignment.codes, axis=0, return_counts=True)[1]
            last = max(self.settings.shape[1], int(groups.max(initial=1)))
        else:
            last = max(self.settings.shape[1], int(occupied[:, -1].max(initial=0)) + 1)
        resolved, moved = resolve_without_embeddings(codes, (*self.codebook_sizes, last), occupied=occupied)
        return Resolution(resolved, moved)

    def sizes_of(self, codes: np.ndarray) -> tuple[int, ...]:
        """The learned levels and the supplementary one."""
        return (*self.codebook_sizes, max(self.settings.shape[1], int(codes[:, -1].max()) + 1))
