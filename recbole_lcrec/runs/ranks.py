"""Ranks of the test targets of every user, from which any top-k metric follows, user by user."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.evaluator import metrics_dict
from recbole.evaluator.base_metric import TopkMetric
from recbole.evaluator.collector import DataStruct

from recbole_lcrec.config.values import first_line

__all__ = ["RANKS_FILE", "UserRanks", "evaluated_users", "recorded_ranks"]

RANKS_FILE = "ranks.npz"


@dataclass(frozen=True, eq=False)
class UserRanks:
    """Where the targets of each evaluated row stand in its ranking.

    Attributes:
        users: original user ids [R]; a user has several rows if each of several targets is ranked alone.
        hits: bool [T, R, K], whether the item at each of the first K places is a target; T rankings of a row, such as
            by several templates, are averaged.
        targets: int64 [R], number of targets of each row.
    """

    users: np.ndarray
    hits: np.ndarray
    targets: np.ndarray

    def rows_per_user(self) -> float:
        """Return the mean number of rows of a user."""
        return len(self.users) / len(np.unique(self.users))

    def has(self, metric: str) -> bool:
        """Return whether :meth:`per_user` gives a metric."""
        name, _, k = metric.partition("@")
        metric_class = metrics_dict.get(name.lower())
        top = metric_class is not None and issubclass(metric_class, TopkMetric)
        return top and k.isdigit() and 1 <= int(k) <= self.hits.shape[-1]

    def per_user(self, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Return each user's value of a metric, by RecBole's own code.

        Args:
            metric: such as ``NDCG@10``, upper or lower case; its cut-off is at most K.

        Returns:
            Distinct user ids [U], sorted, and float64 [U], the mean over a user's rows.

        Raises:
            ValueError: no top-k metric of RecBole, or a larger cut-off; see :meth:`has`.
        """
        if not self.has(metric):
            raise ValueError(
                f"{metric}: expected a top-k metric of RecBole with a cut-off of at most {self.hits.shape[-1]}, such "
                "as NDCG@10"
            )
        name, _, k = metric.partition("@")
        metric_class = metrics_dict[name.lower()]
        rows = np.mean([self._per_row(metric_class, hits)[:, int(k) - 1] for hits in self.hits], axis=0)
        users, place, count = np.unique(self.users, return_inverse=True, return_counts=True)
        return users, np.bincount(place, weights=rows, minlength=len(users)) / count

    def _per_row(self, metric_class: type[TopkMetric], hits: np.ndarray) -> np.ndarray:
        """Return the metric of each row at each cut-off, [R, K]."""
        computed = metric_class({"topk": [hits.shape[1]], "metric_decimal_place": 4})
        values: list[np.ndarray] = []
        computed.topk_result = lambda _, value: values.append(value)  # RecBole would average over rows here
        struct = DataStruct()
        struct.set("rec.topk", torch.from_numpy(np.column_stack([hits, self.targets]).astype(np.int64)))
        computed.calculate_metric(struct)
        return values[0]

    def save(self, path: Path) -> None:
        """Write the arrays to an ``.npz`` file."""
        np.savez_compressed(path, users=self.users, hits=self.hits, targets=self.targets)

    @classmethod
    def load(cls, path: Path) -> UserRanks:
        """Read a file written by :meth:`save`.

        Raises:
            ValueError: the file is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as saved:
                return cls(saved["users"], saved["hits"], saved["targets"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as err:
            raise ValueError(f"{path} cannot be read as the ranks of a run ({first_line(err)})") from err


@contextmanager
def recorded_ranks(trainer: Any, loader: Any) -> Iterator[list[UserRanks]]:
    """Record the ranks of the evaluations of one loader inside the context.

    Args:
        trainer: RecBole's trainer, or one of this package's.
        loader: RecBole's loader that is evaluated.

    Yields:
        A list that holds the ranks once the context ends; empty if no metric of the run has a cut-off.
    """
    evaluate = trainer.evaluator.evaluate
    found: list[np.ndarray] = []
    recorded: list[UserRanks] = []

    def recording(struct: DataStruct) -> Any:
        if "rec.topk" in struct:
            found.append(struct.get("rec.topk").cpu().numpy().copy())
        return evaluate(struct)

    trainer.evaluator.evaluate = recording
    try:
        yield recorded
    finally:
        del trainer.evaluator.evaluate
    if found:
        hits = np.stack([table[:, :-1].astype(bool) for table in found])
        recorded.append(UserRanks(evaluated_users(loader), hits, found[0][:, -1].astype(np.int64)))


def evaluated_users(loader: Any) -> np.ndarray:
    """Return the original user ids of a loader's rows, in the order in which they are evaluated."""
    dataset = loader._dataset
    grouped = getattr(loader, "uid_list", None)  # of a general model, and where candidates are sampled
    ids = dataset.inter_feat[dataset.uid_field] if grouped is None else grouped
    return np.asarray(dataset.id2token(dataset.uid_field, np.asarray(ids)), dtype=np.str_)
