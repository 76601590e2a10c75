"""Masking of histories in the evaluation, by one rule for all models.

RecBole masks a user's earlier items except the target. Where a target repeats an earlier item, every rival from the
history is gone and the target is not, which tells the model that the answer is a repeat. Here such a target is masked
like the other items, or its row is left out (``repeated_targets``).
"""

from __future__ import annotations

from logging import getLogger
from typing import Any

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.data.dataset import Dataset, SequentialDataset

from recbole_lcrec.bridge.windows import item_list_field, oldest_of_lists

__all__ = ["HistoryMaskedLoader", "mask_histories"]

_NOTHING = np.empty(0, dtype=np.int64)


class HistoryMaskedLoader(FullSortEvalDataLoader):
    """RecBole's full-sort loader that returns each user's earlier items for masking.

    The key ``repeated_targets`` says what happens to a target that repeats one of them.

    Args:
        config: a :class:`recbole_lcrec.config.configurator.Config`.
        dataset: a validation or test split.
        sampler: RecBole's; None for sequential models.
        histories: user id -> int64, distinct item ids of the user's earlier interactions; a user may be missing.
    """

    def __init__(self, config: Any, dataset: Dataset, sampler: Any, histories: dict[int, np.ndarray]) -> None:
        self.histories = histories
        self._leak = config["repeated_targets"] == "leak"
        super().__init__(config, dataset, sampler, shuffle=False)
        if not self.is_sequential:
            for user in self.uid_list.tolist():
                seen = [self.seen(user, target) for target in self.uid2positive_item[user].tolist()]
                common = set.intersection(*(set(items.tolist()) for items in seen))
                self.uid2history_item[user] = torch.tensor(sorted(common), dtype=torch.int64)

    def of(self, dataset: Dataset) -> HistoryMaskedLoader:
        """Return the loader of a part of this split."""
        return HistoryMaskedLoader(self.config, dataset, self._sampler, self.histories)

    def seen(self, user: int, target: int) -> np.ndarray:
        """Return the item ids to mask for a user, int64; the target is spared only with ``repeated_targets: leak``."""
        items = self.histories.get(user, _NOTHING)
        return np.setdiff1d(items, [target]) if self._leak else items

    def collate_fn(self, index: Any) -> tuple[Any, ...]:
        """Return RecBole's batch of these rows, with ``(rows, item ids)`` to mask."""
        interaction, history, positive_u, positive_i = super().collate_fn(index)
        if not self.is_sequential:
            return interaction, history, positive_u, positive_i
        users = interaction[self.uid_field].tolist()
        seen = [self.seen(user, target) for user, target in zip(users, positive_i.tolist(), strict=True)]
        rows = np.repeat(np.arange(len(seen)), [len(items) for items in seen])
        return interaction, (torch.from_numpy(rows), torch.from_numpy(np.concatenate(seen))), positive_u, positive_i


def mask_histories(config: Any, key: str, train: Dataset, *loaders: Any) -> tuple[HistoryMaskedLoader, ...]:
    """Return the loaders of the validation and the test split with histories masked.

    Args:
        config: a :class:`recbole_lcrec.config.configurator.Config`.
        key: the key that asks for masking, for messages.
        train: the training split.
        loaders: RecBole's loaders of the splits that follow, in the order of time.

    Raises:
        ValueError: items are sampled, no row is left, or a user has fewer than ``max(topk)`` items to rank.
    """
    if not all(isinstance(loader, FullSortEvalDataLoader) for loader in loaders):
        raise ValueError(
            f"{key} = True works only if every item is ranked; set eval_args mode: full, or set {key} to False"
        )
    masked, before = [], [train]
    for name, loader in zip(("validation", "test"), loaders, strict=True):
        part = loader._dataset
        histories = _seen_items(*before)
        before.append(part)
        rows = _evaluated(config, name, part, histories)
        masked.append(HistoryMaskedLoader(config, rows, loader._sampler, histories))
        _require_items(config, masked[-1])
    return tuple(masked)


def _evaluated(config: Any, name: str, part: Dataset, histories: dict[int, np.ndarray]) -> Dataset:
    """Return the rows that are evaluated, and log how many targets repeat an item of the history."""
    users, items = (part.inter_feat[field].tolist() for field in (part.uid_field, part.iid_field))
    pairs = zip(users, items, strict=True)
    repeats = np.array([item in histories.get(user, _NOTHING) for user, item in pairs], dtype=bool)
    count, way = int(repeats.sum()), config["repeated_targets"]
    if not count:
        return part
    consequences = {
        "mask": "they are masked like the history, so they count as missed",
        "drop": "their rows are left out",
        "leak": "they alone are not masked, which gives the answer away: figures are too high",
    }
    getLogger().warning(
        f"{count:,} of {len(repeats):,} {name} targets ({count / len(repeats):.1%}) repeat an item of the masked "
        f"history: {consequences[way]} (repeated_targets = {way})"
    )
    if way != "drop":
        return part
    if count == len(repeats):
        raise ValueError(
            f"repeated_targets = 'drop' leaves no {name} row: every target repeats an item of the history; set "
            "mask_history to False"
        )
    return part.copy(part.inter_feat[np.flatnonzero(~repeats)])


def _require_items(config: Any, loader: HistoryMaskedLoader) -> None:
    """Check that enough items are left: RecBole would take a masked item at the end of a list for a recommendation."""
    k, part = max(config["topk"]), loader._dataset
    n_items = part.item_num - 1
    users, targets = (part.inter_feat[field].tolist() for field in (part.uid_field, part.iid_field))
    for user, target in zip(users, targets, strict=True):
        left = n_items - len(loader.seen(user, target))
        if left < k:
            token = str(part.id2token(part.uid_field, user))
            raise ValueError(
                f"user {token!r} has {left} items to rank beside the masked history, but topk asks for {k}: lower "
                "topk, or set mask_history to False"
            )


def _seen_items(*parts: Dataset) -> dict[int, np.ndarray]:
    """Return user id -> distinct item ids in these splits, including the first item of a sequential history."""
    users, items = [], []
    for part in parts:
        feat = part.inter_feat
        users.append(feat[part.uid_field].numpy())
        items.append(feat[part.iid_field].numpy())
        if isinstance(part, SequentialDataset):
            users.append(users[-1])
            items.append(oldest_of_lists(feat, item_list_field(part)).numpy())
    user, item = np.concatenate(users), np.concatenate(items)
    order = np.argsort(user, kind="stable")
    unique, starts = np.unique(user[order], return_index=True)
    return {int(u): np.unique(ids) for u, ids in zip(unique, np.split(item[order], starts[1:]), strict=True)}
