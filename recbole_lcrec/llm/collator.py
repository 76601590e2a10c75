"""Instructions as batches for the trainer.

Knows token rows and padding. Labels are masked by position, so a padding token that is also the end token is learned
where it ends a response and ignored where it pads. Refuses to know tasks and models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from recbole_lcrec.instructions.mixture import InstructionSource
from recbole_lcrec.instructions.templates import Instruction
from recbole_lcrec.llm.tokens import TokenRow, tokenize_instructions

__all__ = ["IGNORED", "EpochInstructions", "InstructionCollator", "label_batch"]

IGNORED = -100
"""Label of a position that has no part in the loss, as transformers defines it."""


class EpochInstructions(Dataset[Instruction]):
    """The instructions of one epoch as a PyTorch data set; the trainer calls :meth:`set_epoch`."""

    def __init__(self, source: InstructionSource) -> None:
        self.source = source
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch whose wordings and windows are shown."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, datum: int) -> Instruction:
        return self.source.instruction(self.epoch, int(datum))


def label_batch(rows: Sequence[TokenRow], pad_id: int) -> dict[str, torch.Tensor]:
    """Right-padded batch with labels on the response alone (Eq. 7).

    Returns:
        input_ids, attention_mask and labels, each int64 [B, L].
    """
    longest = max(len(row.prompt) + len(row.response) for row in rows)
    ids = torch.full((len(rows), longest), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, IGNORED)
    for i, row in enumerate(rows):
        length = len(row.prompt) + len(row.response)
        ids[i, :length] = torch.tensor(row.prompt + row.response, dtype=torch.long)
        mask[i, :length] = 1
        labels[i, len(row.prompt) : length] = torch.tensor(row.response, dtype=torch.long)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@dataclass(frozen=True)
class InstructionCollator:
    """Turns a list of instructions into a labelled batch.

    Attributes:
        tokenizer: with the index tokens and a padding token.
        max_length: most tokens of a row; longer ones are an error.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int

    def __call__(self, instructions: Sequence[Instruction]) -> dict[str, torch.Tensor]:
        """Tokenizes, pads and labels; see :func:`label_batch`."""
        rows = tokenize_instructions(self.tokenizer, instructions, self.max_length)
        return label_batch(rows, int(self.tokenizer.pad_token_id))
