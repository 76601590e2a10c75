"""Ids that RecBole does not accept as ids: it reads them as missing values or as its padding."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["READ_AS_MISSING", "RESERVED_IDS", "missing_words"]

READ_AS_MISSING = {
    *("#N/A", "#N/A N/A", "#NA", "<NA>", "N/A", "n/a", "NA", "NULL", "null", "None"),
    *("NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
}
"""Words that RecBole reads as a missing value, as pandas does."""
RESERVED_IDS = frozenset([*READ_AS_MISSING, "[PAD]"])
"""Ids that RecBole reads as missing values, and the token that it reserves for padding."""


def missing_words(ids: Iterable[str]) -> list[str]:
    """Return the ids that RecBole reads as missing values; it drops their rows."""
    return [one for one in ids if one in READ_AS_MISSING]
