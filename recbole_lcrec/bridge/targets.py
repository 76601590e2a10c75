"""What the test targets are: repeats of the history, items without training, followers seen in training.

The shares say how far counting alone can get on a data set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from recbole.data.dataset import Dataset, SequentialDataset

from recbole_lcrec.bridge.windows import item_list_field, newest_of_lists

__all__ = ["Steps", "TargetShares", "steps_of", "target_shares"]


@dataclass(frozen=True)
class Steps:
    """R steps of users from one item to their next one.

    Attributes:
        users: int64 [R].
        previous: int64 [R], the user's item before; 0 if there is none.
        items: int64 [R], the item that follows, at least 1.
    """

    users: np.ndarray
    previous: np.ndarray
    items: np.ndarray


@dataclass(frozen=True)
class TargetShares:
    """Shares of the test targets, 0 .. 1.

    Attributes:
        targets: number of test targets.
        repeated: share that repeats an item of the user's history.
        untrained: share whose item does not occur in the training split.
        followed: share that follows the user's last item in the training split, too, of any user.
    """

    targets: int
    repeated: float
    untrained: float
    followed: float

    def in_words(self) -> str:
        """Return one line for the log."""
        return (
            f"Test targets: {self.repeated:.1%} of {self.targets:,} repeat an item of the user's history, "
            f"{self.untrained:.1%} never occur in training, {self.followed:.1%} follow a pair seen in training (their "
            "item came next after the user's last item in a training sequence)"
        )


def target_shares(training: Steps, validation: Steps, test: Steps) -> TargetShares:
    """Compute the shares of the test targets.

    Args:
        training: steps of the training split; a user's first item is the ``previous`` of their first step.
        validation: steps of the validation split; they belong to the histories, but not to training.
        test: steps of the test split, at least one; each ``items`` is a target.
    """
    base = 1 + max(int(part.max(initial=0)) for s in (training, validation, test) for part in (s.previous, s.items))
    trained = np.concatenate([training.previous, training.items])
    histories = [
        steps.users * base + items for steps in (training, validation) for items in (steps.previous, steps.items)
    ]
    histories.append(test.users * base + test.previous)
    pairs = (training.previous * base + training.items)[training.previous > 0]
    return TargetShares(
        len(test.items),
        float(np.isin(test.users * base + test.items, np.concatenate(histories)).mean()),
        float((~np.isin(test.items, trained)).mean()),
        float(np.isin(test.previous * base + test.items, pairs).mean()),
    )


def steps_of(*parts: Dataset) -> tuple[Steps, ...]:
    """Return the steps of the training, validation and test split.

    Rows of sequential data sets contain their histories. The rows of a general data set are in the order of time, so a
    row's previous item is that of the user's row before it, in the same split or an earlier one.

    Args:
        parts: splits of one data set, in the order of time.
    """
    columns = [
        [part.inter_feat[field].numpy().astype(np.int64) for field in (part.uid_field, part.iid_field)]
        for part in parts
    ]
    if isinstance(parts[0], SequentialDataset):
        previous = [_newest(part).astype(np.int64) for part in parts]
    else:
        users, items = (np.concatenate(column) for column in zip(*columns, strict=True))
        order = np.argsort(users, kind="stable")
        before = np.zeros_like(items)
        same = users[order[1:]] == users[order[:-1]]
        before[order[1:][same]] = items[order[:-1][same]]
        previous = np.split(before, np.cumsum([len(column) for column, _ in columns])[:-1])
    return tuple(Steps(users, last, items) for (users, items), last in zip(columns, previous, strict=True))


def _newest(part: Any) -> np.ndarray:
    newest: np.ndarray = newest_of_lists(part.inter_feat, item_list_field(part), part.item_list_length_field).numpy()
    return newest
