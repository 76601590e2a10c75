"""Selection of interactions: k-core filtering, and the first of several equal ones."""

from __future__ import annotations

import numpy as np

__all__ = ["first_of_each", "k_core"]


def k_core(users: np.ndarray, items: np.ndarray, k_user: int = 5, k_item: int = 5) -> np.ndarray:
    """Return the largest subset in which each user has ``k_user`` and each item ``k_item`` interactions (paper IV-A1).

    Users and items with too few interactions are removed until none is left. The order of removal does not matter:
    interactions of the largest subset are never removed, so the result is unique.

    Args:
        users: int [T], code of each interaction's user (0, 1, ...).
        items: int [T], code of each interaction's item (0, 1, ...).
        k_user: minimum number of interactions per user.
        k_item: minimum number of interactions per item.

    Returns:
        bool [T], True where the interaction is kept.

    Raises:
        ValueError: the arrays differ in length or contain a negative code, or a minimum is below 1.
    """
    if users.shape != items.shape or users.ndim != 1:
        raise ValueError(f"users {users.shape} and items {items.shape} must be two arrays [T] of equal length")
    if min(k_user, k_item) < 1:
        raise ValueError(f"k_user = {k_user} and k_item = {k_item} must be at least 1")
    if len(users) and min(users.min(), items.min()) < 0:
        raise ValueError("users and items must be codes from 0")
    rows = np.arange(len(users))
    while len(rows):
        kept_users, kept_items = users[rows], items[rows]
        enough = (np.bincount(kept_users) >= k_user)[kept_users] & (np.bincount(kept_items) >= k_item)[kept_items]
        if enough.all():
            break
        rows = rows[enough]
    stays = np.zeros(len(users), dtype=bool)
    stays[rows] = True
    return stays


def first_of_each(keys: tuple[np.ndarray, ...], order: tuple[np.ndarray, ...] = ()) -> np.ndarray:
    """Mark the first row of each group of rows with equal keys.

    Args:
        keys: arrays [T]; at least one.
        order: arrays [T] that determine which row comes first, most significant first; ties keep the array order.

    Returns:
        bool [T], True for the first row of each group.
    """
    rows = np.lexsort((*reversed(order), *reversed(keys)))  # stable; the last key is the most significant
    differs = np.zeros(len(rows), dtype=bool)
    differs[:1] = True
    for key in keys:
        differs[1:] |= key[rows[1:]] != key[rows[:-1]]
    first = np.empty(len(rows), dtype=bool)
    first[rows] = differs
    return first
