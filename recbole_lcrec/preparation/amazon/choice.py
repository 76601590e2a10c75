"""Select the interactions of a data set, in the order of the paper's steps (IV-A1)."""

from __future__ import annotations

from dataclasses import dataclass
from logging import getLogger

import numpy as np

from recbole_lcrec.preparation.amazon.interactions import Interactions
from recbole_lcrec.preparation.amazon.metadata import Metadata
from recbole_lcrec.preparation.five_core import first_of_each, k_core
from recbole_lcrec.preparation.step_counts import StepCounts

__all__ = ["AmazonOptions", "choose"]


@dataclass(frozen=True)
class AmazonOptions:
    """Options of the preparation of raw files.

    Attributes:
        k_user: minimum interactions per user.
        k_item: minimum interactions per item.
        keep_repeats: whether to keep a user's later interactions with the same item.
        keep_untitled: whether to keep items with metadata but no title.
        with_reviews: whether to write summaries and reviews, if there are any.
        bad_line_limit: broken lines per file that are skipped before an error is raised.

    Raises:
        ValueError: a minimum is below 1, or the limit below 0.
    """

    k_user: int = 5
    k_item: int = 5
    keep_repeats: bool = False
    keep_untitled: bool = False
    with_reviews: bool = True
    bad_line_limit: int = 100

    def __post_init__(self) -> None:
        if min(self.k_user, self.k_item) < 1 or self.bad_line_limit < 0:
            raise ValueError(
                f"k_user = {self.k_user}, k_item = {self.k_item} must be at least 1 and bad_line_limit = "
                f"{self.bad_line_limit} at least 0"
            )

    @property
    def as_paper(self) -> bool:
        """Whether the result is comparable with the paper's counts."""
        return self.k_user == self.k_item == 5 and not self.keep_repeats

    @property
    def below_five(self) -> bool:
        """Whether the result may contain interactions that a ``_5`` file of reviews lacks."""
        return min(self.k_user, self.k_item) < 5


def choose(
    interactions: Interactions, metadata: Metadata, options: AmazonOptions
) -> tuple[np.ndarray, list[StepCounts], dict[str, int]]:
    """Select the interactions to keep.

    Returns:
        Rows of ``interactions``, int64 [R], ascending; counts after each step, starting with all that was read; and the
        numbers of items without metadata and without a title.

    Raises:
        ValueError: the metadata contain none of the items, or no interaction remains.
    """
    users, items, times = interactions.users, interactions.items, interactions.times
    rows = np.arange(len(interactions))
    steps = [_counts("read", interactions, rows)]

    def step(name: str, stays: np.ndarray) -> None:
        nonlocal rows
        rows = rows[stays]
        steps.append(_counts(name, interactions, rows))

    step("without duplicates (user, item, time)", first_of_each((users, items, times)))
    if not options.keep_repeats:
        step("first of each user-item pair", first_of_each((users[rows], items[rows]), (times[rows],)))
    of_item = np.array([metadata.rows.get(item, -1) for item in interactions.item_ids], dtype=np.int64)
    known = of_item >= 0
    titled = known.copy()
    titled[known] = metadata.titled[of_item[known]]
    if not known.any():
        raise ValueError(
            f"{metadata.path} contains none of the {len(known):,} items of the interactions (such as "
            f"{interactions.item_ids[0]!r}; it has {next(iter(metadata.rows))!r}): the files belong to different "
            "categories or editions"
        )
    if known.sum() < len(known) / 2:
        getLogger().warning(
            f"{metadata.path.name} contains only {int(known.sum()):,} of {len(known):,} items of the interactions; "
            "check that both files belong to the same category and edition"
        )
    good = known if options.keep_untitled else titled
    step("items with metadata" if options.keep_untitled else "items with a title", good[items[rows]])
    step(
        f"{options.k_user}-core of users, {options.k_item}-core of items",
        k_core(users[rows], items[rows], options.k_user, options.k_item),
    )
    if not len(rows):
        listed = "; ".join(f"{each.step}: {each.interactions:,}" for each in steps)
        raise ValueError(f"no interaction is left ({listed}); lower k_user and k_item, or add data")
    missing = {
        "items without metadata": int((~known).sum()),
        "items without a title": int((known & ~titled).sum()),
    }
    return rows, steps, missing


def _counts(step: str, interactions: Interactions, rows: np.ndarray) -> StepCounts:
    users, items = (
        int(np.count_nonzero(np.bincount(codes[rows]))) for codes in (interactions.users, interactions.items)
    )
    return StepCounts(step, users, items, len(rows))
