"""RecBole's sequential data augmentation by index arithmetic.

The rows are the same, without Python loops or copies.
"""

from __future__ import annotations

import inspect
import re
import sys
from logging import getLogger
from typing import Any

import numpy as np
import torch

from recbole_lcrec.bridge.windows import WindowedInteraction, Windows

__all__ = ["FastAugmentation", "augmented_windows", "reason_for_all_lists"]

_KNOWN_MODELS = ("recbole.model.", "recbole_lcrec.")
_READ_NOTHING = ("recbole.model.abstract_recommender", "builtins", "abc", "typing")
"""Modules of base classes that read no batch."""
_KNOWN_TRANSFORMS = (None, "mask_itemseq", "inverse_itemseq", "crop_itemseq", "reorder_itemseq")
"""RecBole's batch transforms that read only the item list."""
_ITEM_LIST = re.compile(r"""config\[["']ITEM_ID_FIELD["']\]\s*\+\s*config\[["']LIST_SUFFIX["']\]""")
_OTHER_LIST = re.compile(r"""LIST_SUFFIX|_list_field|["']\w*_list["']|interaction\.(?:columns|interaction)""")


class FastAugmentation:
    """Mixin for ``SequentialDataset`` classes: the history of each row is a window into the sorted interactions.

    ``inter_feat`` has RecBole's rows, fields and values in RecBole's order. Batches contain the item list, and the
    other lists if the model may read them.
    """

    config: Any
    inter_feat: Any
    uid_field: str
    iid_field: str
    time_field: str
    item_list_length_field: str
    _lists_in_batches: frozenset[str] | None = None

    def data_augmentation(self) -> None:
        """Make one row of every interaction except each user's first: the history before it, and itself as the target.

        Raises:
            ValueError: no user or time field is set.
        """
        self._aug_presets()  # type: ignore[attr-defined]
        self._check_field("uid_field", "time_field")  # type: ignore[attr-defined]
        feat = self.inter_feat
        users, times = feat[self.uid_field].numpy(), feat[self.time_field].numpy()
        order = np.lexsort((times if times.ndim == 1 else times[..., 0], users))
        if (np.diff(order) != 1).any():
            feat._reindex(torch.from_numpy(order))
        windows = augmented_windows(feat[self.uid_field].numpy(), self.config["MAX_ITEM_LIST_LENGTH"])
        targets = windows.ends.long()
        held = {field: feat[field][targets] for field in feat}
        held[self.item_list_length_field] = windows.lengths.long()
        lists = {getattr(self, f"{field}_list_field"): feat[field] for field in feat if field != self.uid_field}
        reason = reason_for_all_lists(getattr(self.config, "model_class", None), self.config["transform"])
        if reason:
            getLogger().info(f"Batches contain every list of the data set, {', '.join(lists)}: {reason}")
        item_list = getattr(self, f"{self.iid_field}_list_field")
        self._lists_in_batches = None if reason else frozenset([item_list])
        self.inter_feat = WindowedInteraction(held, lists, windows)

    def __getitem__(self, index: Any, join: bool = True) -> Any:
        rows = self.inter_feat[index]
        if isinstance(rows, WindowedInteraction):
            rows = rows.read(self._lists_in_batches)
        return self.join(rows) if join else rows  # type: ignore[attr-defined]


def augmented_windows(users: np.ndarray, width: int) -> Windows:
    """Return the history of every interaction that has one.

    Args:
        users: int64 [T], the user of each interaction, grouped by user and in time order.
        width: maximum history length; older interactions are cut off.

    Returns:
        R windows in the order of the interactions; each ends at the position of its target.
    """
    place = np.arange(len(users), dtype=np.int64)
    begins = np.r_[True, users[1:] != users[:-1]][: len(users)]
    place -= np.maximum.accumulate(np.where(begins, place, 0))
    ends = np.flatnonzero(~begins)
    dtype = np.int32 if len(users) < 2**31 else np.int64
    lengths = np.minimum(place[ends], width)
    return Windows(torch.from_numpy(ends.astype(dtype)), torch.from_numpy(lengths.astype(dtype)), width)


def reason_for_all_lists(model: type | None, transform: str | None) -> str | None:
    """Return why a model may read lists other than the item list; None if it reads only the item list.

    Only known sources can be inspected: RecBole's models and this package's. Item features are looked up by the item
    list (FDSA, SASRecF, GRU4RecF, S3Rec); a model that reads a list of times, for example, names it in its source.

    Args:
        model: the model's class; None if it is not known.
        transform: RecBole's ``transform``, applied to each batch.
    """
    if transform not in _KNOWN_TRANSFORMS:
        return f"transform = {transform!r} may read any of them"
    if model is None:
        return "the model is unknown"
    for name in dict.fromkeys(cls.__module__ for cls in model.__mro__):
        if name in _READ_NOTHING or name.startswith("torch."):
            continue
        if not name.startswith(_KNOWN_MODELS):
            return f"{model.__name__} is defined outside RecBole and this package ({name})"
        try:
            source = inspect.getsource(sys.modules[name])
        except (OSError, TypeError):
            return f"the source of {model.__name__} is not available"
        if _OTHER_LIST.search(_ITEM_LIST.sub("", source)):
            return f"the source of {model.__name__} names lists other than the item list"
    return None
