"""A batch of prompts of unequal length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["PromptBatch"]


@dataclass(frozen=True, eq=False)
class PromptBatch:
    """R prompts, padded on the right. A causal model never attends to later tokens, so the padding needs no mask.

    Attributes:
        ids: token ids [R, L], int64, 0 where padded.
        lengths: tokens of each prompt [R], int64, from 1 to L.
    """

    ids: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]], device: torch.device | str = "cpu") -> PromptBatch:
        """Build a batch from rows of token ids.

        Raises:
            ValueError: there is no row, or a row is empty.
        """
        lengths = [len(row) for row in rows]
        if not lengths or min(lengths) < 1:
            raise ValueError(f"prompts of {lengths} tokens: give at least one prompt, each with at least one token")
        ids = torch.zeros((len(rows), max(lengths)), dtype=torch.int64)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.as_tensor(row, dtype=torch.int64)
        return cls(ids.to(device), torch.tensor(lengths, device=device))

    def __len__(self) -> int:
        return len(self.lengths)

    def n_common(self) -> int:
        """Return how many leading tokens all prompts share, at most one fewer than the shortest prompt has.

        These are the template's words before the first user-specific token, so they can be read once for all prompts.
        """
        shortest = int(self.lengths.min())
        same = (self.ids[:, : shortest - 1] == self.ids[:1, : shortest - 1]).all(dim=0)
        return int(same.long().cumprod(dim=0).sum())

    def last(self, states: Tensor, start: int = 0) -> Tensor:
        """Return the state of each prompt's last token.

        Args:
            states: states of the tokens from ``start`` on [R, L - start, D].
            start: position of the first token that has a state.

        Returns:
            States [R, 1, D].
        """
        places = (self.lengths - 1 - start).view(-1, 1, 1).expand(-1, 1, states.shape[-1])
        return states.gather(1, places)
