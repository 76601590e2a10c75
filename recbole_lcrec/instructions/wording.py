"""Wording of lists of items in an instruction."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["HISTORY_SEPARATOR", "TITLE_SEPARATOR", "history_text", "titles_text"]

HISTORY_SEPARATOR = ", "
"""Stands between the indices of a history."""

TITLE_SEPARATOR = "; "
"""Stands between titles, which often contain commas themselves."""


def history_text(items: Sequence[str]) -> str:
    """Return a history as an instruction shows it: item indices, oldest first."""
    return HISTORY_SEPARATOR.join(items)


def titles_text(titles: Sequence[str]) -> str:
    """Return a history in words: item titles, oldest first."""
    return TITLE_SEPARATOR.join(titles)
