"""The users' sequences of a training split of RecBole's."""

from __future__ import annotations

from typing import Any

from recbole_lcrec.bridge.windows import item_list_field, oldest_of_lists
from recbole_lcrec.data.sequences import UserSequences, training_sequences

__all__ = ["training_sequences_of"]


def training_sequences_of(dataset: Any) -> UserSequences:
    """Return one sequence for each user of a split, items as rows (id - 1).

    Args:
        dataset: the training split, the first that RecBole's ``build`` of a sequential data set returns.

    Raises:
        RuntimeError: the start of a sequence is lost.
    """
    feat = dataset.inter_feat
    return training_sequences(
        feat[dataset.uid_field].numpy(),
        feat[dataset.iid_field].numpy(),
        feat[dataset.item_list_length_field].numpy(),
        oldest_of_lists(feat, item_list_field(dataset)).numpy(),
    )
