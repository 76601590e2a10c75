"""Corrections of RecBole's interaction filters.

RecBole drops wrong rows in one case and logs nothing in another.
"""

from __future__ import annotations

from logging import getLogger
from typing import Any

__all__ = ["CorrectedFiltering"]

_NAMED = 5


class CorrectedFiltering:
    """Mixin for RecBole data set classes that drops exactly the intended rows and logs how many.

    RecBole removes rows without a user and then rows without an item, but takes row labels for positions, so the second
    step removes the wrong rows. And it drops interactions of users or items that the user or item file does not list
    without a log line.
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
                    lines = (rows[:_NAMED] + 2).tolist()  # line numbers in the file, after the header
                    getLogger().warning(
                        f"{self.dataset_path}: {len(rows):,} rows of {name} have no {field} (blank, or a word read "
                        f"as missing, such as NA or null) and are dropped, first lines {lines}"
                    )
                    feat.drop(rows, inplace=True)
        self._listed = [
            (field, name, feat[field])  # before filtering by value, which may remove rows of these files
            for field, name in ((self.uid_field, "user"), (self.iid_field, "item"))
            if (feat := getattr(self, f"{name}_feat")) is not None
        ]

    def _filter_inter_by_user_or_item(self) -> None:
        before = self.inter_feat
        users_and_items = {field: before[field] for field, _, _ in self._listed}
        super()._filter_inter_by_user_or_item()  # type: ignore[misc]
        for field, name, listed in self._listed:
            self._report_unlisted(users_and_items[field], name, listed)
        self._listed = []  # no longer needed

    def _report_unlisted(self, before: Any, name: str, listed: Any) -> None:
        """Log the interactions that were dropped because a file does not list their user or item."""
        if len(self.inter_feat) == len(before):
            return
        gone = before[~before.index.isin(self.inter_feat.index)]
        unknown = gone[~gone.isin(listed)]
        message = (
            f"{self.dataset_path}: {len(unknown):,} of {len(before):,} interactions refer to {unknown.nunique():,} "
            f"{name}s that the {name} file does not list, first {unknown.unique()[:_NAMED].tolist()}"
        )
        if len(unknown) == len(before):
            first = listed.iloc[:_NAMED].tolist()
            raise ValueError(f"{message}; it lists others, first {first}: the two files do not belong together")
        if len(unknown):
            getLogger().warning(f"{message}; they are dropped; add the {name}s to the {name} file to keep them")
