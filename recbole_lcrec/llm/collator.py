"""Turn instructions into flat batches of token ids.

The batches are then split into padded forward passes of similar length.

Labels are masked by position, so a padding token that is also the end token counts in the loss where it ends a response
and is ignored where it pads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from recbole_lcrec.instructions.sources import InstructionSource
from recbole_lcrec.instructions.templates import Instruction
from recbole_lcrec.llm.cached_tokens import InstructionTokenizer, instruction_tokenizer
from recbole_lcrec.llm.steps import RowKey
from recbole_lcrec.llm.tokens import TokenRow

__all__ = ["IGNORED", "InstructionCollator", "PlannedInstructions", "flat_batch", "group_rows", "padded_group"]

IGNORED = -100
"""Label of a token that does not count in the loss, as defined by transformers."""


class PlannedInstructions(Dataset[Instruction]):
    """The instructions of all epochs as a PyTorch data set, indexed by (epoch, datum)."""

    def __init__(self, source: InstructionSource, sizes: Sequence[int]) -> None:
        """Wrap a source.

        Args:
            source: creates each instruction on request.
            sizes: number of instructions of each epoch.
        """
        self.source = source
        self.sizes = tuple(sizes)

    def __len__(self) -> int:
        return sum(self.sizes)

    def __getitem__(self, key: RowKey) -> Instruction:
        return self.source.instruction(*key)


def flat_batch(rows: Sequence[TokenRow]) -> dict[str, Tensor]:
    """Concatenate rows, with labels on responses only (Eq. 7).

    Args:
        rows: token rows; may be empty.

    Returns:
        ``input_ids`` and ``labels``, int64 [T], and ``lengths``, int64 [rows], which sum to T. As in transformers, each
        label is at the position of its own token, not shifted.
    """
    ids = list(chain.from_iterable(part for row in rows for part in (row.prompt, row.response)))
    labels = list(chain.from_iterable(part for row in rows for part in ([IGNORED] * len(row.prompt), row.response)))
    return {
        "input_ids": torch.tensor(ids, dtype=torch.long),
        "labels": torch.tensor(labels, dtype=torch.long),
        "lengths": torch.tensor([len(row.prompt) + len(row.response) for row in rows], dtype=torch.long),
    }


@dataclass(frozen=True)
class InstructionCollator:
    """Turns a list of instructions, which may be empty, into a flat batch.

    Token ids of recurring text are cached, so a collator that is reused is faster than a new one.

    Attributes:
        tokenizer: a tokenizer with the index tokens and a padding token.
        max_length: largest number of tokens of a row; longer rows are an error.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int
    _tokens: InstructionTokenizer = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_tokens", instruction_tokenizer(self.tokenizer))

    def __call__(self, instructions: Sequence[Instruction]) -> dict[str, Tensor]:
        """Tokenize and label instructions; see :func:`flat_batch`."""
        return flat_batch(self._tokens.instructions(instructions, self.max_length) if instructions else [])


def group_rows(lengths: np.ndarray, max_rows: int, max_tokens: int, overhead: int) -> list[np.ndarray]:
    """Split the rows of a step into forward passes of similar length, at the lowest cost.

    A pass of n rows whose longest has L tokens costs ``n * L + overhead``. Rows are sorted by length, and the optimal
    split of the sorted rows is found by dynamic programming.

    Args:
        lengths: tokens of each row, int64 [rows].
        max_rows: largest number of rows of a pass.
        max_tokens: largest number of tokens of a pass, including padding; a longer row gets its own pass.
        overhead: fixed cost of a pass, in tokens.

    Returns:
        Row numbers of each pass, from long to short passes; every row is in exactly one.
    """
    order = np.argsort(-lengths, kind="stable")
    sorted_lengths = lengths[order]
    best, first_of_last = np.zeros(len(order) + 1, dtype=np.int64), np.zeros(len(order) + 1, dtype=np.int64)
    for end in range(1, len(order) + 1):
        firsts = np.arange(max(0, end - max_rows), end)
        tokens = (end - firsts) * sorted_lengths[firsts]
        allowed = (tokens <= max_tokens) | (firsts == end - 1)
        cost = np.where(allowed, best[firsts] + tokens + overhead, np.iinfo(np.int64).max)
        choice = int(np.argmin(cost))
        best[end], first_of_last[end] = cost[choice], firsts[choice]
    groups, end = [], len(order)
    while end:
        groups.append(order[first_of_last[end] : end])
        end = int(first_of_last[end])
    return groups[::-1]


def padded_group(batch: dict[str, Tensor], group: np.ndarray, pad_id: int) -> tuple[Tensor, Tensor]:
    """Return some rows of a flat batch, padded on the right to the longest of them.

    Causal attention never sees right padding, so no attention mask is needed.

    Args:
        batch: a batch made by :func:`flat_batch`.
        group: row numbers, int64 [n].
        pad_id: id of the padding token.

    Returns:
        input_ids and labels, int64 [n, L].
    """
    lengths = batch["lengths"].tolist()
    starts = np.cumsum([0, *lengths])
    rows = [slice(starts[row], starts[row] + lengths[row]) for row in group]
    pad = torch.nn.utils.rnn.pad_sequence
    ids = pad([batch["input_ids"][row] for row in rows], batch_first=True, padding_value=pad_id)
    return ids, pad([batch["labels"][row] for row in rows], batch_first=True, padding_value=IGNORED)
