"""What a caller asks for, checked and turned from original item ids into rows.

Knows the mistakes that are easy to make: a text in the place of a list, ids that the catalogue does not hold, nothing
asked at all. Refuses to know prompts and models, so that every mistake is told before a model runs.
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
    "history_rows",
    "leaves_out",
    "listed_histories",
    "require_enough",
    "require_question",
]

_NAMED = 5
UNKNOWN = ("error", "drop")


def checked_k(k: Any) -> int:
    """Return the number of requested items; NumPy's integers are numbers, too.

    Raises:
        ValueError: ``k`` is no number of items.
    """
    try:
        count = 0 if isinstance(k, (bool, np.bool_)) else operator.index(k)
    except TypeError:
        count = 0
    expected = integer(1)(count)
    if expected:
        raise ValueError(f"k = {k!r}: expected {expected}")
    return count


def leaves_out(exclude_history: Any, otherwise: bool) -> bool:
    """Whether a user gets nothing of the history again.

    Args:
        exclude_history: what is asked for; None: nothing is said.
        otherwise: what then holds.

    Raises:
        ValueError: it is no truth value.
    """
    if exclude_history is None:
        return otherwise
    value = bool(exclude_history) if isinstance(exclude_history, np.bool_) else exclude_history
    if flag(value):
        raise ValueError(f"exclude_history = {exclude_history!r:.80}: expected {flag(value)}, or None")
    return bool(value)


def listed_histories(histories: Iterable[Iterable[str]]) -> list[list[str]]:
    """Histories as lists, so that what can be gone through only once is gone through once.

    Args:
        histories: of B users, original item ids, oldest first.

    Raises:
        ValueError: something is no list or no item id.
    """
    users = _listed(histories, "histories", "a list of item ids for each user")
    return [_ids(history, f"histories[{user}]") for user, history in enumerate(users)]


def history_rows(
    histories: Sequence[Sequence[str]], rows: Mapping[str, int], unknown_items: str = "error"
) -> tuple[list[list[int]], int]:
    """Item rows of histories.

    Args:
        histories: see :func:`listed_histories`.
        rows: item id -> row.
        unknown_items: ``error``, or ``drop`` for ids that are left out.

    Returns:
        The rows of each user, and how many ids were left out.

    Raises:
        ValueError: an id is unknown, or ``unknown_items`` says neither.
    """
    if unknown_items not in UNKNOWN:
        raise ValueError(f"unknown_items = {unknown_items!r}: expected 'error' or 'drop'")
    found, n_dropped = [], 0
    for user, ids in enumerate(histories):
        unknown = [item for item in ids if item not in rows]
        if unknown and unknown_items == "error":
            raise ValueError(
                f"user number {user}: {len(unknown)} of {len(ids)} items of the history are not in the run's item "
                f"index, first {unknown[:_NAMED]}; leave them out by unknown_items='drop', or give them indices: "
                "python -m recbole_lcrec.indexing --extend=FOLDER"
            )
        n_dropped += len(unknown)
        found.append([rows[item] for item in ids if item in rows])
    return found, n_dropped


def checked_intentions(intention: str | Sequence[str | None] | None, n_users: int) -> list[str | None]:
    """The intention of each user, cleaned as those of the tuning are; None where nothing is said.

    Args:
        intention: one for all users, or one for each.
        n_users: how many users there are.

    Raises:
        ValueError: there are more or fewer than users, or one is blank or no text.
    """
    if intention is None:
        return [None] * n_users
    if isinstance(intention, str):
        intention = [intention] * n_users
    wishes = _listed(intention, "intention", "a text, or a text or None for each user")
    if len(wishes) != n_users:
        raise ValueError(f"{len(wishes)} intentions for {n_users} users; give one for each (None: nothing said)")
    cleaned: list[str | None] = []
    for user, wish in enumerate(wishes):
        if wish is not None and not isinstance(wish, str):
            raise ValueError(f"the intention of user number {user} is {wish!r:.80}; give a text, or None")
        cleaned.append(None if wish is None else clean_text(wish))
        if cleaned[-1] == "":
            raise ValueError(f"the intention of user number {user} is without words: {wish!r}; give None for none")
    return cleaned


def require_question(
    given: Sequence[Sequence[str]], histories: Sequence[Sequence[int]], intentions: Sequence[str | None]
) -> None:
    """Makes sure that something is known of every user.

    Args:
        given: see :func:`listed_histories`.
        histories: the same as rows.
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
    """The rows of the items that may come up, ascending int64.

    Args:
        allowed_items: item ids, or a mask bool [N] over the rows: an array, a tensor, a column or a list.
        rows: item id -> row, of all N items.

    Raises:
        ValueError: it is neither a list of item ids nor a mask of N items, it allows nothing, or an item is unknown.
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
        chosen = rows_of(ids, rows, "allowed_items", "take them out, or use the ids of the recommender's item_ids")
    if not len(chosen):
        raise ValueError("allowed_items is empty, so nothing may come up; give None to allow what the run allows")
    return chosen


def require_enough(allowed: np.ndarray, k: int, excluded: Sequence[Sequence[int]] | None) -> None:
    """Makes sure that every user has ``k`` items to get.

    Args:
        allowed: rows of the items that may come up, distinct.
        k: items that are asked for.
        excluded: item rows that each user must not get; None: there are none.

    Raises:
        ValueError: there are fewer; says how many.
    """
    if len(allowed) < k:
        raise ValueError(f"k = {k} items are asked for, but {len(allowed)} may come up: allow more, or lower k")
    among = set(allowed.tolist()) if excluded is not None else set()
    for user, rows in enumerate(excluded or ()):
        left = len(among) - len(among & set(rows))
        if left < k:
            raise ValueError(
                f"k = {k} items are asked for, but user number {user} has {left} to get, as {len(among)} may come up "
                "and those of the history are left out: allow more, lower k, or set exclude_history=False"
            )


def _array_or_list(value: Any) -> np.ndarray | list[Any]:
    """Truth values as an array of the same shape, anything else as a list."""
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
            f"allowed_items holds truth values and {others[0]!r:.80}; a mask has True or False for each item, a list "
            "of items their ids alone"
        )
    return listed


def _ids(value: Any, name: str) -> list[str]:
    ids = _listed(value, name, "a list of item ids")
    strange = next((item for item in ids if not isinstance(item, str)), None)
    if strange is not None or None in ids:
        strange = getattr(strange, "item", lambda: strange)()  # NumPy 2 names its own kind of number
        raise ValueError(f"{name} holds {strange!r:.80}; item ids are texts, as in the data set: write '123', not 123")
    return ids


def _listed(value: Any, name: str, expected: str) -> list[Any]:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise ValueError(f"{name} = {value!r:.80} is a {type(value).__name__}; expected {expected}, such as ['A', 'B']")
    return list(value)
