"""Instructions as token rows without padding, and those rows as padded batches of like length.

Knows token rows, labels and lengths. Labels are masked by position, so a padding token that is also the end token is
learned where it ends a response and ignored where it pads. Refuses to know tasks and models.
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
"""Label of a position that has no part in the loss, as transformers defines it."""


class PlannedInstructions(Dataset[Instruction]):
    """The instructions of all epochs as a PyTorch data set with (epoch, datum) as its index; holds no state."""

    def __init__(self, source: InstructionSource, sizes: Sequence[int]) -> None:
        """Wraps a source.

        Args:
            source: makes each instruction when it is asked for.
            sizes: instructions of each epoch.
        """
        self.source = source
        self.sizes = tuple(sizes)

    def __len__(self) -> int:
        return sum(self.sizes)

    def __getitem__(self, key: RowKey) -> Instruction:
        return self.source.instruction(*key)


def flat_batch(rows: Sequence[TokenRow]) -> dict[str, Tensor]:
    """Rows one after another, with labels on the responses alone (Eq. 7).

    Returns:
        input_ids and labels, int64 [T], and lengths, int64 [rows], that sum to T. Labels stand at their own token, not
        at the one before, as transformers wants them. There may be no row.
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

    It keeps the token ids of what comes again, so one that is used again and again is faster than a new one each time.

    Attributes:
        tokenizer: with the index tokens and a padding token.
        max_length: most tokens of a row; longer ones are an error.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int
    _tokens: InstructionTokenizer = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_tokens", instruction_tokenizer(self.tokenizer))

    def __call__(self, instructions: Sequence[Instruction]) -> dict[str, Tensor]:
        """Tokenizes and labels; see :func:`flat_batch`."""
        return flat_batch(self._tokens.instructions(instructions, self.max_length) if instructions else [])


def group_rows(lengths: np.ndarray, max_rows: int, max_tokens: int, overhead: int) -> list[np.ndarray]:
    """Parts the rows of a step into forward passes of like length, at the least cost.

    A pass of n rows whose longest has L tokens costs ``n * L + overhead``. Rows are taken in the order of their
    lengths, where the best parting is found exactly by dynamic programming.

    Args:
        lengths: int64 [rows], tokens of each.
        max_rows: rows of a pass at most.
        max_tokens: tokens of a pass at most, padding included; a longer row has a pass of its own.
        overhead: what starting a pass costs, in tokens.

    Returns:
        Row numbers of each pass, the passes from long to short; every row is in one of them.
    """
    order = np.argsort(-lengths, kind="stable")
    sorted_lengths = lengths[order]
    best, taken = np.zeros(len(order) + 1, dtype=np.int64), np.zeros(len(order) + 1, dtype=np.int64)
    for end in range(1, len(order) + 1):
        firsts = np.arange(max(0, end - max_rows), end)
        tokens = (end - firsts) * sorted_lengths[firsts]
        allowed = (tokens <= max_tokens) | (firsts == end - 1)
        cost = np.where(allowed, best[firsts] + tokens + overhead, np.iinfo(np.int64).max)
        choice = int(np.argmin(cost))
        best[end], taken[end] = cost[choice], firsts[choice]
    groups, end = [], len(order)
    while end:
        groups.append(order[taken[end] : end])
        end = int(taken[end])
    return groups[::-1]


def padded_group(batch: dict[str, Tensor], group: np.ndarray, pad_id: int) -> tuple[Tensor, Tensor]:
    """Some rows of a flat batch, padded on the right to the longest of them.

    Causal attention keeps right padding from reaching any token, so that no attention mask is needed.

    Args:
        batch: of :func:`flat_batch`.
        group: int64 [n], which rows.
        pad_id: fills up.

    Returns:
        input_ids and labels, int64 [n, L].
    """
    lengths = batch["lengths"].tolist()
    starts = np.cumsum([0, *lengths])
    rows = [slice(starts[row], starts[row] + lengths[row]) for row in group]
    pad = torch.nn.utils.rnn.pad_sequence
    ids = pad([batch["input_ids"][row] for row in rows], batch_first=True, padding_value=pad_id)
    return ids, pad([batch["labels"][row] for row in rows], batch_first=True, padding_value=IGNORED)
