"""Training on whole sequences: one row for each user, with a target at every position."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.trainer import Trainer
from recbole.utils import InputType
from torch import Tensor
from torch.utils.data import DataLoader

from recbole_lcrec.bridge.training_sequences import training_sequences_of
from recbole_lcrec.data.sequences import UserSequences
from recbole_lcrec.models.next_item import NextItemModel

__all__ = ["WholeSequenceModel", "WholeSequenceTrainer", "sequence_rows", "uniform_negatives"]


class WholeSequenceTrainer(Trainer):
    """RecBole's trainer, whose batches are sequences of ``train_batch_size`` users instead of prefixes.

    The loss gets ``item_id_list`` [B, L] and ``item_id`` [B, L]: the item that follows at each position, 0 where there
    is none.
    """

    def __init__(self, config: Any, model: Any) -> None:
        """Prepare a run; see RecBole's Trainer."""
        super().__init__(config, model)
        self._sequences: tuple[Tensor, Tensor] | None = None

    def _train_epoch(self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False) -> Any:
        """Train on each user's sequence once, in random order."""
        if self._sequences is None:
            sequences = training_sequences_of(train_data._dataset)
            self._sequences = sequence_rows(sequences, self.config["MAX_ITEM_LIST_LENGTH"])
        inputs, targets = self._sequences
        lengths = (inputs > 0).sum(1)
        names = self.model.ITEM_SEQ, self.model.POS_ITEM_ID

        def batch(users: list[int]) -> Interaction:
            longest = int(lengths[users].max())  # no work on columns without an item
            return Interaction(
                {name: rows[users, :longest] for name, rows in zip(names, (inputs, targets), strict=True)}
            )

        loader: Any = DataLoader(
            range(len(inputs)),  # type: ignore[arg-type]
            batch_size=self.config["train_batch_size"],
            shuffle=self.config["shuffle"],
            collate_fn=batch,
        )
        return super()._train_epoch(loader, epoch_idx, loss_func, show_progress)


class WholeSequenceModel(NextItemModel):
    """A causal encoder of sequences, trained on all positions at once."""

    input_type = InputType.POINTWISE
    default_trainer: ClassVar[type] = WholeSequenceTrainer

    @abstractmethod
    def states(self, item_seq: Tensor) -> Tensor:
        """Encode sequences causally.

        Args:
            item_seq: int64 [B, L], item ids, oldest first, padded with 0 at the end.

        Returns:
            [B, L, H]: state t has seen the items 0 .. t.
        """

    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Return [B, H], the state at the last item of each sequence."""
        last: Tensor = self.gather_indexes(self.states(item_seq), item_seq_len - 1)
        return last


def sequence_rows(sequences: UserSequences, length: int) -> tuple[Tensor, Tensor]:
    """Return each user's newest items, and the item that follows each of them.

    Args:
        sequences: of all users; those of one item have nothing to predict and are left out.
        length: maximum number L of targets of a user.

    Returns:
        int64 [U', L] twice, item ids (row + 1), padded with 0 at the end.

    Raises:
        ValueError: no user has two items.
    """
    long = np.flatnonzero(sequences.lengths() > 1)
    if not len(long):
        raise ValueError(
            "no user has two training items, so there is nothing to predict: give users of 4 or more items"
        )
    inputs, targets = np.zeros((2, len(long), length), dtype=np.int64)
    for row, user in enumerate(long.tolist()):
        items = sequences.of(user)[-length - 1 :] + 1
        inputs[row, : len(items) - 1], targets[row, : len(items) - 1] = items[:-1], items[1:]
    return torch.from_numpy(inputs), torch.from_numpy(targets)


def uniform_negatives(item_seq: Tensor, targets: Tensor, n_items: int) -> Tensor:
    """Draw an item for each position, uniformly among those that are not in the user's row.

    Args:
        item_seq: int64 [B, L], item ids of a row; 0 is padding.
        targets: int64 [B, L], the item that follows each; 0 where there is none.
        n_items: number of items with the padding item.

    Returns:
        int64 [B, L], of 1 .. ``n_items`` - 1; 1 in the rows that contain every item.
    """
    seen = torch.zeros((len(item_seq), n_items), dtype=torch.bool, device=item_seq.device)
    seen.scatter_(1, item_seq, True).scatter_(1, targets, True)
    seen[:, 0] = True
    seen[seen.all(1), 1] = False
    drawn = torch.randint(1, n_items, item_seq.shape, device=item_seq.device)
    while (again := seen.gather(1, drawn)).any():
        drawn[again] = torch.randint(1, n_items, (int(again.sum()),), device=item_seq.device)
    return drawn
