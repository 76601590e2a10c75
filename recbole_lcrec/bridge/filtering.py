"""RecBole's filters of interactions, where its own take out other rows than they mean, or rows without a word.

Knows RecBole's ``Dataset`` before its ids are numbered. Refuses to know order and splits.
"""

from __future__ import annotations

from logging import getLogger
from typing import Any

__all__ = ["MendedFiltering"]

_NAMED = 5


class MendedFiltering:
    """Mixed into a RecBole data set class: the rows that leave are the ones meant, and the log counts them.

    RecBole takes the labels of rows for their places while it removes those without a user and then those without an
    item, so that the second step removes others. And what the user or item file does not list leaves without a word.
    """

    inter_feat: Any
    uid_field: str
    iid_field: str
    dataset_path: str

    def _filter_nan_user_or_item(self) -> None:
        for field, own in ((self.uid_field, "user_feat"), (self.iid_field, "item_feat")):
            for name in (own, "inter_feat"):
                feat = getattr(self, name)
                if feat is None or field is None:
                    continue
                rows = feat.index[feat[field].isna()]
                if len(rows):
                    lines = (rows[:_NAMED] + 2).tolist()  # as in the file, below its header
                    getLogger().warning(
                        f"{self.dataset_path}: {len(rows):,} rows of {name} have no {field} (blank, or what readers "
                        f"take for missing, such as NA and null) and are left out, first lines {lines}"
                    )
                    feat.drop(rows, inplace=True)
        self._listed = [
            (field, name, feat[field])  # before values are filtered, which may take rows of these files
            for field, name in ((self.uid_field, "user"), (self.iid_field, "item"))
            if (feat := getattr(self, f"{name}_feat")) is not None
        ]

    def _filter_inter_by_user_or_item(self) -> None:
        before = self.inter_feat
        users_and_items = {field: before[field] for field, _, _ in self._listed}
        super()._filter_inter_by_user_or_item()  # type: ignore[misc]
        for field, name, listed in self._listed:
            self._tell_of_unlisted(users_and_items[field], name, listed)
        self._listed = []  # ids as texts, which nothing needs from here on

    def _tell_of_unlisted(self, before: Any, name: str, listed: Any) -> None:
        """Counts the interactions that left because a file does not list their user or item."""
        if len(self.inter_feat) == len(before):
            return
        gone = before[~before.index.isin(self.inter_feat.index)]
        unknown = gone[~gone.isin(listed)]
        told = (
            f"{self.dataset_path}: {len(unknown):,} of {len(before):,} interactions are with {unknown.nunique():,} "
            f"{name}s that the {name} file does not list, first {unknown.unique()[:_NAMED].tolist()}"
        )
        if len(unknown) == len(before):
            first = listed.iloc[:_NAMED].tolist()
            raise ValueError(f"{told}; it lists others, first {first}: the two files are of different data")
        if len(unknown):
            getLogger().warning(f"{told}; they are left out, so add the {name}s to the {name} file to keep them")
