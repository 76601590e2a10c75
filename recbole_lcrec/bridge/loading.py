"""RecBole's data sets with exact time order, and its loaders, for all models.

Four defects of RecBole's ``create_dataset`` and ``data_preparation`` are corrected: times lose their order as float32,
general models split users with few interactions differently than sequential models, only general models can mask the
history, and loading is slow and needs much memory.
"""

from __future__ import annotations

import importlib
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from recbole.data import data_preparation as recbole_data_preparation
from recbole.data import get_dataloader
from recbole.data.dataloader import NegSampleEvalDataLoader
from recbole.data.dataset import Dataset, SequentialDataset

from recbole_lcrec.bridge.atomic_reader import FastReading
from recbole_lcrec.bridge.augmentation import FastAugmentation
from recbole_lcrec.bridge.filtering import CorrectedFiltering
from recbole_lcrec.bridge.masking import mask_histories
from recbole_lcrec.bridge.splits import RowGroups, leave_out_last, split_statistics
from recbole_lcrec.bridge.targets import steps_of, target_shares
from recbole_lcrec.config.registry import model_class, model_part, spec_of
from recbole_lcrec.data.sequences import exact_time_ranks
from recbole_lcrec.data.times import UNIT_BOUNDS, UNITS
from recbole_lcrec.preparation.locate import prepare_data_files

__all__ = ["ExactTimeOrder", "create_dataset", "data_preparation"]

MIN_INTERACTIONS = 3
_A_TIME = 10**8  # smaller numbers may be positions in a history, or any count


class ExactTimeOrder(CorrectedFiltering):
    """Mixin for a RecBole data set class: replaces times by exact positions in the user's history.

    It hooks into RecBole's last filtering step, when rows are final and still numbered as in the file; from then on the
    time field is 0, 1, 2 ... per user (ties in file order), which float32 represents exactly. Splits other than
    leave-one-out may compare users, so for these the positions are those among all interactions.

    Attributes:
        user_lengths: int64 [number of users], interactions of each user after filtering, in order of first appearance;
            None before.
    """

    config: Any
    time_field: str
    user_lengths: np.ndarray | None = None

    def _reset_index(self) -> None:
        leave_one_out = "LS" in (self.config["eval_args"]["split"] or {})
        inter_feat = self.inter_feat
        users = pd.factorize(inter_feat[self.uid_field].to_numpy())[0]
        self.user_lengths = np.bincount(users)
        if self.time_field in inter_feat:
            inter_feat[self.time_field] = exact_time_ranks(
                self._times(),
                users if leave_one_out else np.zeros(len(users), dtype=np.int64),
                inter_feat.index.to_numpy(np.int64),
            )
        super()._reset_index()  # type: ignore[misc]
        if leave_one_out:
            self._warn_of_short_users()

    def _times(self) -> np.ndarray:
        try:
            times = self.inter_feat[self.time_field].to_numpy(np.float64)
        except ValueError as err:
            raise ValueError(
                f"{self.dataset_path}: a {self.time_field} is not a number ({err}); RecBole orders by numbers, and "
                "python -m recbole_lcrec.data import converts dates to numbers"
            ) from err
        counts = np.bincount(np.digitize(times[times >= _A_TIME], UNIT_BOUNDS), minlength=len(UNITS))
        if (counts > 0).sum() > 1:
            units = ", ".join(f"{count:,} in {unit}" for unit, count in zip(UNITS, counts, strict=True) if count)
            getLogger().warning(
                f"{self.dataset_path}: {self.time_field} seems to have mixed units, so the order is wrong: {units}; "
                "convert all to one unit, or use python -m recbole_lcrec.data import --time_format=mixed"
            )
        return times

    def _warn_of_short_users(self) -> None:
        counts = self.user_lengths
        if counts is None or not len(counts):  # RecBole reports an empty file itself
            return
        short = int((counts < MIN_INTERACTIONS).sum())
        if short == len(counts):
            raise ValueError(
                f"all {short} users have fewer than {MIN_INTERACTIONS} interactions, so none can be tested "
                "leave-one-out; check the .inter file and user_inter_num_interval"
            )
        if short:
            getLogger().warning(
                f"{short} of {len(counts)} users have fewer than {MIN_INTERACTIONS} interactions: they are trained on "
                f"but not evaluated (--user_inter_num_interval='[{MIN_INTERACTIONS},inf)' leaves them out)"
            )
        if counts.max() == MIN_INTERACTIONS and "valid_and_test" in self.config["eval_args"]["split"].values():
            getLogger().warning(f"no user has more than {MIN_INTERACTIONS} interactions, so none can be validated")

    def _grouped_index(self, group_by_list: np.ndarray) -> RowGroups:
        return RowGroups.by(group_by_list)

    def _split_index_by_leave_one_out(self, grouped_index: RowGroups, leave_one_num: int) -> list[np.ndarray]:
        """Split as RecBole does, but hold out the same interactions for general and for sequential models.

        Sequential rows begin with a user's second interaction, so RecBole holds out one interaction less of the
        shortest users for general models.
        """
        return leave_out_last(grouped_index, leave_one_num, spared=1 if isinstance(self, SequentialDataset) else 2)


def _with_mixins(dataset_class: type[Dataset], fast: bool) -> type[Dataset]:
    """Return a subclass of the same name with exact time order and, if requested, fast loading."""
    if issubclass(dataset_class, ExactTimeOrder):
        return dataset_class
    mixins: list[type] = [ExactTimeOrder]
    if fast:
        mixins.append(FastReading)
    if fast and issubclass(dataset_class, SequentialDataset):
        if dataset_class.data_augmentation is SequentialDataset.data_augmentation:
            mixins.append(FastAugmentation)
        else:
            getLogger().info(f"{dataset_class.__name__} keeps its own data augmentation")
    return type(dataset_class.__name__, (*mixins, dataset_class), {})


def _dataset_class(config: Any) -> type[Dataset]:
    """Return the class that RecBole's own ``create_dataset`` chooses."""
    module = importlib.import_module("recbole.data.dataset")
    own = getattr(module, config["model"] + "Dataset", None)
    by_type = {"SEQUENTIAL": "SequentialDataset", "KNOWLEDGE": "KnowledgeBasedDataset"}
    return own or getattr(module, by_type.get(config["MODEL_TYPE"].name, "Dataset"))


def create_dataset(config: Any) -> Dataset:
    """Build the data set of the configured model, with exact time order.

    The published LC-Rec form is converted first. Every model gets the same catalogue: the items of the item file. With
    ``fast_loading`` RecBole's models are loaded as this package's always are, with the same rows and fields in the same
    order, but without RecBole's loops and copies.

    Args:
        config: a :class:`recbole_lcrec.config.configurator.Config`.

    Raises:
        ValueError: the data set is missing, damaged or empty, or no user can be tested.
    """
    own: Any = model_part(spec_of(config["model"]), "dataset")
    if own is not None and issubclass(own, ExactTimeOrder):  # it prepares its files itself
        built: Dataset = own(config)
        return built
    prepare_data_files(config)
    return _with_mixins(own or _dataset_class(config), bool(config["fast_loading"]))(config)


def _loaders(config: Any, dataset: Dataset) -> tuple[Any, Any, Any]:
    """Return RecBole's loaders; without its samplers if nothing is sampled, as they keep two sets per user."""
    modes = config["eval_args"]["mode"]
    full = modes == "full" or (isinstance(modes, dict) and set(modes.values()) == {"full"})
    sampled = config["train_neg_sample_args"]["distribution"] != "none"
    if sampled or not full or not issubclass(type(dataset), FastAugmentation):
        return recbole_data_preparation(config, dataset)
    train, valid, test = dataset.build()
    return (
        get_dataloader(config, "train")(config, train, None, shuffle=config["shuffle"]),
        get_dataloader(config, "valid")(config, valid, None, shuffle=False),
        get_dataloader(config, "test")(config, test, None, shuffle=False),
    )


def _log_split(whole: Dataset, *parts: Dataset) -> None:
    lengths = getattr(whole, "user_lengths", None)
    if lengths is None:
        return
    users = {
        name: part.inter_feat[part.uid_field].numpy()
        for name, part in zip(("training", "validation", "test"), parts, strict=True)
    }
    histories = None
    if isinstance(whole, SequentialDataset):
        histories = parts[0].inter_feat[whole.item_list_length_field].numpy()
    width = whole.config["MAX_ITEM_LIST_LENGTH"]
    getLogger().info(split_statistics(lengths, users, histories, width).in_words())
    if whole.config["eval_args"]["order"] == "TO" and len(parts[-1]):
        getLogger().info(target_shares(*steps_of(*parts)).in_words())


def _by_users(config: Any, loader: Any) -> Any:
    """Return a loader that counts ``eval_batch_size`` in users when items are sampled, for models with batches_users.

    RecBole counts a row for each candidate, so a batch of 512 would have only five users with ``uni100``.
    """
    if not (getattr(model_class(config), "batches_users", False) and isinstance(loader, NegSampleEvalDataLoader)):
        return loader
    before = config["eval_batch_size"]
    config["eval_batch_size"] = before * (1 + int(loader.neg_sample_args["sample_num"]))
    try:
        return NegSampleEvalDataLoader(config, loader._dataset, loader._sampler, shuffle=False)
    finally:
        config["eval_batch_size"] = before


def data_preparation(config: Any, dataset: Dataset) -> tuple[Any, Any, Any]:
    """Return RecBole's loaders of the training, validation and test split, and log statistics of the split.

    With ``mask_history`` the loaders return the items to mask, for all models by one rule (see ``masking.py``).

    Returns:
        train_data, valid_data, test_data.

    Raises:
        ValueError: ``checkpoint_dir`` contains loaders saved by RecBole, which RecBole would use instead, or histories
            would be masked although items are sampled.
    """
    saved = Path(config["checkpoint_dir"]) / f"{config['dataset']}-for-{config['model']}-dataloader.pth"
    if saved.exists():
        raise ValueError(f"{saved} contains data loaders of an earlier run; remove it, or set another checkpoint_dir")
    train_data, *evaluated = _loaders(config, dataset)
    valid_data, test_data = (_by_users(config, loader) for loader in evaluated)
    _log_split(dataset, train_data._dataset, valid_data._dataset, test_data._dataset)
    key = next((key for key in ("mask_history", "decoding_exclude_history") if config[key]), None)
    if key is not None:
        valid_data, test_data = mask_histories(config, key, train_data._dataset, valid_data, test_data)
    return train_data, valid_data, test_data
