"""Which interactions stay: the k-core, and the first of several that are alike.

Knows arrays of codes. Refuses to know what users, items and files are called.
"""

from __future__ import annotations

import numpy as np

__all__ = ["first_of_each", "k_core"]


def k_core(users: np.ndarray, items: np.ndarray, k_user: int = 5, k_item: int = 5) -> np.ndarray:
    """The largest part in which every user has ``k_user`` interactions and every item ``k_item`` (paper IV-A1).

    Users and items that have too few are removed until none is left that has. The order of removal does not matter:
    interactions of the largest part are never removed, so there is one answer.

    Args:
        users: int [T], code of each interaction's user (0, 1, ...).
        items: int [T], code of each interaction's item (0, 1, ...).
        k_user: the fewest interactions of a user.
        k_item: the fewest interactions of an item.

    Returns:
        bool [T], True where the interaction stays.

    Raises:
        ValueError: the arrays differ in length, hold a negative code, or a bound is below 1.
    """
    if users.shape != items.shape or users.ndim != 1:
        raise ValueError(f"users {users.shape} and items {items.shape} must be two arrays [T] of one length")
    if min(k_user, k_item) < 1:
        raise ValueError(f"k_user = {k_user} and k_item = {k_item} must be at least 1")
    if len(users) and min(users.min(), items.min()) < 0:
        raise ValueError("users and items must be codes from 0 on")
    rows = np.arange(len(users))
    while len(rows):
        own_users, own_items = users[rows], items[rows]
        enough = (np.bincount(own_users) >= k_user)[own_users] & (np.bincount(own_items) >= k_item)[own_items]
        if enough.all():
            break
        rows = rows[enough]
    stays = np.zeros(len(users), dtype=bool)
    stays[rows] = True
    return stays


def first_of_each(keys: tuple[np.ndarray, ...], order: tuple[np.ndarray, ...] = ()) -> np.ndarray:
    """Marks one row of those whose keys are all equal.

    Args:
        keys: arrays [T]; at least one.
        order: arrays [T] that decide which row comes first, the weightiest first; then the place in the arrays does.

    Returns:
        bool [T], True for the first row of each group.
    """
    rows = np.lexsort((*reversed(order), *reversed(keys)))  # a stable sort; lexsort's last key weighs most
    differs = np.zeros(len(rows), dtype=bool)
    differs[:1] = True
    for key in keys:
        differs[1:] |= key[rows[1:]] != key[rows[:-1]]
    first = np.empty(len(rows), dtype=bool)
    first[rows] = differs
    return first
