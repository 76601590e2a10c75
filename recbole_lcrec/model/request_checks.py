"""What a caller asks for, checked and turned from original item ids into rows.

Knows the mistakes that are easy to make: a text in the place of a list, ids that the catalogue does not hold, nothing
asked at all. Refuses to know prompts and models, so that every mistake is told before a model runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from recbole_lcrec.data.item_choice import rows_of
from recbole_lcrec.data.item_text import clean_text
from recbole_lcrec.value_checks import integer

__all__ = ["allowed_choice", "check_k", "checked_intentions", "history_rows", "require_enough", "require_question"]

_NAMED = 5
UNKNOWN = ("error", "drop")


def check_k(k: Any, beam_size: int) -> None:
    """Makes sure that so many items can be had.

    Raises:
        ValueError: ``k`` is no number of items, or more than there are beams.
    """
    expected = integer(1)(k)
    if expected:
        raise ValueError(f"k = {k!r}: expected {expected}")
    if k > beam_size:
        raise ValueError(
            f"k = {k} items are asked for, but decoding_beam_size = {beam_size} finds only {beam_size}: load the run "
            f"with decoding_beam_size={k} or more, or lower k"
        )


def history_rows(
    histories: Sequence[Sequence[str]], rows: Mapping[str, int], unknown_items: str = "error"
) -> tuple[list[list[int]], int]:
    """Item rows of histories.

    Args:
        histories: of B users, original item ids, oldest first.
        rows: item id -> row.
        unknown_items: ``error``, or ``drop`` for ids that are left out.

    Returns:
        The rows of each user, and how many ids were left out.

    Raises:
        ValueError: something is no list or no item id, or an id is unknown.
    """
    if unknown_items not in UNKNOWN:
        raise ValueError(f"unknown_items = {unknown_items!r}: expected 'error' or 'drop'")
    found, n_dropped = [], 0
    for user, history in enumerate(_listed(histories, "histories", "a list of item ids for each user")):
        ids = _ids(history, f"histories[{user}]")
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
        given: the histories as they came.
        histories: the same as rows.
        intentions: see :func:`checked_intentions`.

    Raises:
        ValueError: a user has neither history nor intention.
    """
    for user, (ids, history, intention) in enumerate(zip(given, histories, intentions, strict=True)):
        if history or intention is not None:
            continue
        why = f": none of its {len(ids)} items is in the run's item index" if len(ids) else ""
        raise ValueError(
            f"user number {user} has an empty history{why}, and no intention; give one of the two, or leave the user "
            "out"
        )


def allowed_choice(allowed_items: Iterable[str] | np.ndarray, rows: Mapping[str, int]) -> np.ndarray:
    """The rows of the items that may come up, ascending int64.

    Args:
        allowed_items: item ids, or a mask bool [N] over the rows.
        rows: item id -> row, of all N items.

    Raises:
        ValueError: it is neither a list of item ids nor a mask of N items, it allows nothing, or an item is unknown.
    """
    if isinstance(allowed_items, np.ndarray) and allowed_items.dtype == np.bool_:
        if allowed_items.shape != (len(rows),):
            raise ValueError(
                f"allowed_items is a mask of shape {allowed_items.shape}, but the run has {len(rows)} items; give one "
                "value for each, in the order of the recommender's item_ids"
            )
        chosen = np.flatnonzero(allowed_items)
    else:
        ids = list(dict.fromkeys(_ids(allowed_items, "allowed_items")))
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
