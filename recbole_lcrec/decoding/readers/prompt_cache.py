"""Keys and values of prompts, held once, and branches of tokens that share them.

The tokens of all branches of a prompt are query tokens of one sequence. A 4-D mask lets each attend to its prompt and
its own ancestors only, and its position is the prompt's length plus its depth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

__all__ = ["PromptCache", "shared_cache"]

_MASK_BYTES = 2**28
"""Largest mask; branch tokens are read in chunks where it would be larger."""


class _SharedLayer(DynamicLayer):
    """Keys and values of one layer in preallocated memory: they are written in place and never moved.

    An update with a single row is written to all R rows.
    """

    def __init__(self, rows: int, room: int) -> None:
        super().__init__()
        self.rows, self.room, self.filled = rows, room, 0

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write keys and values [R or 1, heads, Q, d]; return those of all tokens so far."""
        if self.keys is None or self.values is None:
            self.lazy_initialization(key_states, value_states)
            _, heads, _, _ = key_states.shape
            self.keys = key_states.new_empty((self.rows, heads, self.room, key_states.shape[-1]))
            self.values = value_states.new_empty((self.rows, heads, self.room, value_states.shape[-1]))
        start, self.filled = self.filled, self.filled + key_states.shape[-2]
        self.keys[:, :, start : self.filled] = key_states
        self.values[:, :, start : self.filled] = value_states
        count = len(key_states)
        return self.keys[:count, :, : self.filled], self.values[:count, :, : self.filled]

    def get_seq_length(self) -> int:
        """Return the number of cached tokens."""
        return self.filled


def shared_cache(rows: int, room: int) -> Cache:
    """Return an empty cache for ``rows`` sequences of up to ``room`` tokens each."""
    make: Any = lambda: _SharedLayer(rows, room)  # noqa: E731
    return Cache(layer_class_to_replicate=make)


class PromptCache:
    """R prompts that a model has read, and the branches that continue them."""

    def __init__(
        self, read: Callable[..., Tensor], cache: Cache, lengths: Tensor, n_prompt_tokens: int, dtype: torch.dtype
    ) -> None:
        """Start branches at prompts.

        Args:
            read: maps ids [R, Q], an additive mask, positions and the cache to the states of the tokens [R, Q, D].
            cache: keys and values of the L columns of prompt tokens.
            lengths: prompt tokens of each row [R], int64; the columns after them are padding.
            n_prompt_tokens: L.
            dtype: the mask's dtype.
        """
        self._read, self._cache, self._lengths, self._dtype = read, cache, lengths, dtype
        self._n_prompt = n_prompt_tokens
        self._filled = n_prompt_tokens
        prompt = torch.zeros((len(lengths), 1, n_prompt_tokens), dtype=dtype, device=lengths.device)
        padding = torch.arange(n_prompt_tokens, device=lengths.device) >= lengths.view(-1, 1, 1)
        self._prompt_mask = prompt.masked_fill_(padding, torch.finfo(dtype).min)
        self._paths = torch.empty((len(lengths), 1, 0), dtype=torch.int64, device=lengths.device)

    def extend(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """Read one more token of each branch; see :meth:`Branches.extend`."""
        n_rows, n_queries = tokens.shape
        inherited = self._paths.gather(1, parents.unsqueeze(-1).expand(-1, -1, self._paths.shape[-1]))
        own = torch.arange(self._filled, self._filled + n_queries, device=tokens.device)
        paths = torch.cat([inherited, own.view(1, -1, 1).expand(n_rows, -1, -1)], dim=-1)
        positions = (self._lengths + inherited.shape[-1]).unsqueeze(1)
        width = max(1, _MASK_BYTES // (n_rows * (self._filled + n_queries) * self._dtype.itemsize))
        states = []
        for chunk, seen in zip(tokens.split(width, dim=1), paths.split(width, dim=1), strict=True):
            self._filled += chunk.shape[1]
            mask = self._mask(seen)
            states.append(self._read(chunk, mask, positions.expand(-1, chunk.shape[1]), self._cache))
        self._paths = paths
        return states[0] if len(states) == 1 else torch.cat(states, dim=1)

    def _mask(self, seen: Tensor) -> Tensor:
        """Return the additive mask [R, 1, Q, columns] of tokens that attend to their prompt and to columns ``seen``."""
        n_rows, n_queries, _ = seen.shape
        shape = (n_rows, n_queries, self._filled)
        mask = torch.full(shape, torch.finfo(self._dtype).min, dtype=self._dtype, device=seen.device)
        mask[:, :, : self._n_prompt] = self._prompt_mask
        mask.scatter_(2, seen, 0.0)
        return mask.unsqueeze(1)
