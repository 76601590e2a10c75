"""RecBole's data sets with exact time order, for every model that the command runs, and its loaders.

Knows RecBole's ``create_dataset`` and ``data_preparation`` and mends three things around them: times lose their order
as float32, general models split short users otherwise than sequential ones, and only general models can mask the
history. Refuses to know item indices and language models.
"""

from __future__ import annotations

import importlib
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_lcrec.compat import prepare_recbole

prepare_recbole()

from recbole.data import data_preparation as recbole_data_preparation  # noqa: E402
from recbole.data.dataloader import FullSortEvalDataLoader  # noqa: E402
from recbole.data.dataset import Dataset, SequentialDataset  # noqa: E402

from recbole_lcrec.data.locate import prepare_data_files  # noqa: E402
from recbole_lcrec.data.sequences import exact_time_ranks  # noqa: E402

__all__ = ["ExactTimeOrder", "HistoryMaskedLoader", "create_dataset", "data_preparation"]

MIN_INTERACTIONS = 3
_NOTHING = np.empty(0, dtype=np.int64)


class ExactTimeOrder:
    """Mixed into a RecBole data set class: times become exact places in the user's history.

    It hooks RecBole's last filtering step, when rows are final and still numbered as in the file; from then on the
    time field holds 0, 1, 2 ... per user (ties in file order), which float32 keeps exactly. Splits other than
    leave-one-out may compare users, so there the places are those among all interactions.
    """

    config: Any
    inter_feat: Any
    uid_field: str
    time_field: str

    def _reset_index(self) -> None:
        leave_one_out = "LS" in (self.config["eval_args"]["split"] or {})
        inter_feat = self.inter_feat
        if self.time_field in inter_feat:
            users = inter_feat[self.uid_field].to_numpy()
            inter_feat[self.time_field] = exact_time_ranks(
                inter_feat[self.time_field].to_numpy(np.float64),
                users if leave_one_out else np.zeros(len(users), dtype=np.int64),
                inter_feat.index.to_numpy(np.int64),
            )
        super()._reset_index()  # type: ignore[misc]
        if leave_one_out:
            self._warn_of_short_users()

    def _warn_of_short_users(self) -> None:
        counts = self.inter_feat[self.uid_field].value_counts()
        short = int((counts < MIN_INTERACTIONS).sum())
        if short == len(counts):
            raise ValueError(
                f"every one of the {short} users has fewer than {MIN_INTERACTIONS} interactions, so none can be tested "
                "leave-one-out; check the .inter file and user_inter_num_interval"
            )
        if short:
            getLogger().warning(
                f"{short} of {len(counts)} users have fewer than {MIN_INTERACTIONS} interactions: they are trained on "
                f"but not evaluated (--user_inter_num_interval='[{MIN_INTERACTIONS},inf)' leaves them out)"
            )
        if counts.max() == MIN_INTERACTIONS and "valid_and_test" in self.config["eval_args"]["split"].values():
            getLogger().warning(f"no user has more than {MIN_INTERACTIONS} interactions, so none can be validated")

    def _split_index_by_leave_one_out(self, grouped_index: Any, leave_one_num: int) -> list[list[int]]:
        """As RecBole's, but a general model's users are split where sequential models split them.

        Sequential rows begin with a user's second interaction, so RecBole holds out one interaction fewer for general
        models' shortest users; here both hold out the same ones.
        """
        if isinstance(self, SequentialDataset):
            return super()._split_index_by_leave_one_out(grouped_index, leave_one_num)  # type: ignore[misc]
        parts: list[list[int]] = [[] for _ in range(leave_one_num + 1)]
        for index in map(list, grouped_index):
            held_out = min(leave_one_num, max(len(index) - 2, 0))
            kept = len(index) - held_out
            parts[0].extend(index[:kept])
            for i in range(held_out):
                parts[leave_one_num + 1 - held_out + i].append(index[kept + i])
        return parts


def _with_exact_time(dataset_class: type[Dataset]) -> type[Dataset]:
    if issubclass(dataset_class, ExactTimeOrder):
        return dataset_class
    return type(dataset_class.__name__, (ExactTimeOrder, dataset_class), {})


def _dataset_class(config: Any) -> type[Dataset]:
    """The class that RecBole's own ``create_dataset`` takes."""
    module = importlib.import_module("recbole.data.dataset")
    own = getattr(module, config["model"] + "Dataset", None)
    by_type = {"SEQUENTIAL": "SequentialDataset", "KNOWLEDGE": "KnowledgeBasedDataset"}
    return own or getattr(module, by_type.get(config["MODEL_TYPE"].name, "Dataset"))


def create_dataset(config: Any) -> Dataset:
    """Builds the data set of the configured model, with exact time order.

    The published LC-Rec form is converted first. Every model gets the same catalogue: the items of the item file.

    Args:
        config: a :class:`recbole_lcrec.config.Config`.

    Raises:
        ValueError: the data set is missing, damaged or empty, or no user can be tested.
    """
    if config["model"] == "LCRec":
        from recbole_lcrec.dataset import LCRecDataset

        return LCRecDataset(config)
    prepare_data_files(config)
    return _with_exact_time(_dataset_class(config))(config)


class HistoryMaskedLoader(FullSortEvalDataLoader):
    """RecBole's full-sort loader of sequential models, which also names each user's earlier items for masking.

    Args:
        histories: item ids that each user met in earlier splits, user id -> int64 array; none for users not named.
    """

    def __init__(self, config: Any, dataset: Dataset, sampler: Any, histories: dict[int, np.ndarray]) -> None:
        self.histories = histories
        super().__init__(config, dataset, sampler, shuffle=False)

    def collate_fn(self, index: Any) -> tuple[Any, ...]:
        """RecBole's batch of these rows, with ``(rows, item ids)`` to mask; a target is never among them."""
        interaction, _, positive_u, positive_i = super().collate_fn(index)
        users = interaction[self.uid_field].tolist()
        seen = [
            np.setdiff1d(self.histories.get(user, _NOTHING), [target])
            for user, target in zip(users, positive_i.tolist(), strict=True)
        ]
        rows = np.repeat(np.arange(len(seen)), [len(items) for items in seen])
        history = (torch.from_numpy(rows), torch.from_numpy(np.concatenate(seen)))
        return interaction, history, positive_u, positive_i


def _seen_items(*parts: Dataset) -> dict[int, np.ndarray]:
    """User id -> the distinct item ids that the user met in these splits, the first item of the history included."""
    users, items = [], []
    for part in parts:
        feat = part.inter_feat
        users += [feat[part.uid_field].numpy()] * 2
        items += [feat[part.iid_field].numpy(), feat[part.item_id_list_field][:, 0].numpy()]
    user, item = np.concatenate(users), np.concatenate(items)
    order = np.argsort(user, kind="stable")
    unique, starts = np.unique(user[order], return_index=True)
    return {int(u): np.unique(ids) for u, ids in zip(unique, np.split(item[order], starts[1:]), strict=True)}


def data_preparation(config: Any, dataset: Dataset) -> tuple[Any, Any, Any]:
    """RecBole's loaders of the training, validation and test split.

    With ``mask_history`` sequential models' loaders name the earlier items too, as general models' loaders do, so that
    RecBole's trainer masks them for every model alike.

    Returns:
        train_data, valid_data, test_data.

    Raises:
        ValueError: loaders that RecBole once saved lie in ``checkpoint_dir`` (RecBole would take them for these), or
            histories are to be masked where items are sampled.
    """
    saved = Path(config["checkpoint_dir"]) / f"{config['dataset']}-for-{config['model']}-dataloader.pth"
    if saved.exists():
        raise ValueError(f"{saved} holds data loaders of an earlier run; remove it, or set another checkpoint_dir")
    train_data, valid_data, test_data = recbole_data_preparation(config, dataset)
    if config["mask_history"] and isinstance(dataset, SequentialDataset):
        if not all(isinstance(loader, FullSortEvalDataLoader) for loader in (valid_data, test_data)):
            raise ValueError(
                "mask_history = True reaches sequential models only where every item is ranked; give eval_args "
                "mode: full, or set mask_history to False"
            )
        train, valid, test = train_data._dataset, valid_data._dataset, test_data._dataset
        valid_data = HistoryMaskedLoader(config, valid, valid_data._sampler, _seen_items(train))
        test_data = HistoryMaskedLoader(config, test, test_data._sampler, _seen_items(train, valid))
    return train_data, valid_data, test_data
