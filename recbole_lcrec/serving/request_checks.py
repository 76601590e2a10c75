"""Checks of requests, and their conversion from original item ids to rows.

They find mistakes before a model runs: a text instead of a list, ids that are not in the catalogue, empty requests.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from recbole_lcrec.config.value_checks import flag, integer
from recbole_lcrec.data.item_choice import rows_of
from recbole_lcrec.data.item_text import clean_text

__all__ = [
    "allowed_choice",
    "checked_intentions",
    "checked_k",
    "excludes_history",
    "history_rows",
    "listed_histories",
    "require_enough",
    "require_request",
]

_NAMED = 5
UNKNOWN = ("error", "drop")


def checked_k(k: Any) -> int:
    """Return the number of requested items; NumPy integers are accepted.

    Raises:
        ValueError: ``k`` is not a positive integer.
    """
    try:
        count = 0 if isinstance(k, (bool, np.bool_)) else operator.index(k)
    except TypeError:
        count = 0
    expected = integer(1)(count)
    if expected:
        raise ValueError(f"k = {k!r}: expected {expected}")
    return count


def excludes_history(exclude_history: Any, default: bool) -> bool:
    """Return whether to exclude items of the users' histories.

    Args:
        exclude_history: the requested value; None: not given.
        default: value if it is not given.

    Raises:
        ValueError: ``exclude_history`` is neither a Boolean nor None.
    """
    if exclude_history is None:
        return default
    value = bool(exclude_history) if isinstance(exclude_history, np.bool_) else exclude_history
    if flag(value):
        raise ValueError(f"exclude_history = {exclude_history!r:.80}: expected {flag(value)}, or None")
    return bool(value)


def listed_histories(histories: Iterable[Iterable[str]]) -> list[list[str]]:
    """Return histories as lists; iterators are consumed once.

    Args:
        histories: histories of B users, original item ids, oldest first.

    Raises:
        ValueError: a history is not a list of item ids.
    """
    users = _listed(histories, "histories", "a list of item ids for each user")
    return [_ids(history, f"histories[{user}]") for user, history in enumerate(users)]


def history_rows(
    histories: Sequence[Sequence[str]], rows: Mapping[str, int], unknown_items: str = "error"
) -> tuple[list[list[int]], int]:
    """Return the item rows of histories.

    Args:
        histories: see :func:`listed_histories`.
        rows: item id -> row.
        unknown_items: ``error``, or ``drop`` to remove unknown ids.

    Returns:
        The rows of each user, and the number of dropped ids.

    Raises:
        ValueError: an id is unknown, or ``unknown_items`` has another value.
    """
    if unknown_items not in UNKNOWN:
        raise ValueError(f"unknown_items = {unknown_items!r}: expected 'error' or 'drop'")
    found, n_dropped = [], 0
    for user, ids in enumerate(histories):
        unknown = [item for item in ids if item not in rows]
        if unknown and unknown_items == "error":
            raise ValueError(
                f"user number {user}: {len(unknown)} of {len(ids)} items of the history are not in the run's item "
                f"index, first {unknown[:_NAMED]}; drop them with unknown_items='drop', or give them indices with "
                "python -m recbole_lcrec.indexing --extend=FOLDER"
            )
        n_dropped += len(unknown)
        found.append([rows[item] for item in ids if item in rows])
    return found, n_dropped


def checked_intentions(intention: str | Sequence[str | None] | None, n_users: int) -> list[str | None]:
    """Return the intention of each user, cleaned as in the tuning; None if none is given.

    Args:
        intention: one for all users, or one for each.
        n_users: number of users.

    Raises:
        ValueError: the number of intentions is wrong, or one is blank or not a text.
    """
    if intention is None:
        return [None] * n_users
    if isinstance(intention, str):
        intention = [intention] * n_users
    texts = _listed(intention, "intention", "a text, or a text or None for each user")
    if len(texts) != n_users:
        raise ValueError(f"{len(texts)} intentions for {n_users} users; give one for each (None if there is none)")
    cleaned: list[str | None] = []
    for user, text in enumerate(texts):
        if text is not None and not isinstance(text, str):
            raise ValueError(f"the intention of user number {user} is {text!r:.80}; give a text, or None")
        cleaned.append(None if text is None else clean_text(text))
        if cleaned[-1] == "":
            raise ValueError(f"the intention of user number {user} is blank: {text!r}; give None if there is none")
    return cleaned


def require_request(
    given: Sequence[Sequence[str]], histories: Sequence[Sequence[int]], intentions: Sequence[str | None]
) -> None:
    """Check that every user has a history or an intention.

    Args:
        given: see :func:`listed_histories`.
        histories: the same histories as rows, without unknown items.
        intentions: see :func:`checked_intentions`.

    Raises:
        ValueError: a user has neither history nor intention.
    """
    for user, (ids, history, intention) in enumerate(zip(given, histories, intentions, strict=True)):
        if history or intention is not None:
            continue
        why = f": none of its {len(ids)} items is in the run's item index" if ids else ""
        raise ValueError(
            f"user number {user} has an empty history{why}, and no intention; give one of the two, or leave the user "
            "out"
        )


def allowed_choice(
    allowed_items: Iterable[str] | Iterable[bool] | np.ndarray | torch.Tensor, rows: Mapping[str, int]
) -> np.ndarray:
    """Return the rows of the items that may be recommended, int64, ascending.

    Args:
        allowed_items: item ids, or a mask bool [N] over the rows: an array, a tensor, a column or a list.
        rows: item id -> row, of all N items.

    Raises:
        ValueError: ``allowed_items`` is neither a list of item ids nor a mask of N items, is empty, or contains an
            unknown item.
    """
    given = _array_or_list(allowed_items)
    if isinstance(given, np.ndarray):
        if given.shape != (len(rows),):
            raise ValueError(
                f"allowed_items is a mask of shape {given.shape}, but the run has {len(rows)} items; give one value "
                "for each, in the order of the recommender's item_ids"
            )
        chosen = np.flatnonzero(given)
    else:
        ids = list(dict.fromkeys(_ids(given, "allowed_items")))
        chosen = rows_of(ids, rows, "allowed_items", "remove them, or use ids of the recommender's item_ids")
    if not len(chosen):
        raise ValueError("allowed_items is empty, so nothing can be recommended; give None for the run's own choice")
    return chosen


def require_enough(allowed: np.ndarray, k: int, excluded: Sequence[Sequence[int]] | None) -> None:
    """Check that ``k`` items are left for every user.

    Args:
        allowed: distinct rows of the items that may be recommended.
        k: number of requested items.
        excluded: item rows that must not be recommended to each user; None: none.

    Raises:
        ValueError: fewer items are left for a user.
    """
    if len(allowed) < k:
        raise ValueError(f"k = {k} items are requested, but only {len(allowed)} are allowed: allow more, or lower k")
    among = set(allowed.tolist()) if excluded is not None else set()
    for user, rows in enumerate(excluded or ()):
        left = len(among) - len(among & set(rows))
        if left < k:
            raise ValueError(
                f"k = {k} items are requested, but {left} are left for user number {user}: {len(among)} are allowed, "
                "and those of the history are excluded; allow more, lower k, or set exclude_history=False"
            )


def _array_or_list(value: Any) -> np.ndarray | list[Any]:
    """Return Booleans as an array of the same shape, anything else as a list."""
    if isinstance(value, torch.Tensor) and value.dtype == torch.bool:
        return np.asarray(value.cpu())
    if isinstance(value, np.ndarray) and value.dtype == np.bool_:
        return value
    listed = _listed(value, "allowed_items", "a list of item ids")
    others = [each for each in listed if not isinstance(each, (bool, np.bool_))]
    if listed and not others:
        return np.array(listed, dtype=bool)
    if len(others) < len(listed):
        raise ValueError(
            f"allowed_items contains Booleans and {others[0]!r:.80}; give a mask with True or False for each item, or "
            "a list of item ids"
        )
    return listed


def _ids(value: Any, name: str) -> list[str]:
    ids = _listed(value, name, "a list of item ids")
    wrong = next((item for item in ids if not isinstance(item, str)), None)
    if wrong is not None or None in ids:
        wrong = getattr(wrong, "item", lambda: wrong)()  # the repr of a NumPy 2 scalar names its type
        raise ValueError(f"{name} contains {wrong!r:.80}; item ids are texts, as in the data set: write '123', not 123")
    return ids


def _listed(value: Any, name: str, expected: str) -> list[Any]:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise ValueError(f"{name} = {value!r:.80} is a {type(value).__name__}; expected {expected}, such as ['A', 'B']")
    return list(value)
