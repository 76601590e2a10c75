"""Ids that RecBole does not read as ids.

Knows what RecBole's reader takes for missing, and what it calls its padding. Refuses to know where ids come from.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["READ_AS_MISSING", "RESERVED_IDS", "missing_words"]

READ_AS_MISSING = {
    *("#N/A", "#N/A N/A", "#NA", "<NA>", "N/A", "n/a", "NA", "NULL", "null", "None"),
    *("NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
}
"""Words that RecBole, as pandas does, takes for a missing value."""
RESERVED_IDS = frozenset([*READ_AS_MISSING, "[PAD]"])
"""Ids that RecBole's reader takes for missing values, and the name that RecBole gives its padding."""


def missing_words(ids: Iterable[str]) -> list[str]:
    """Those ids that RecBole takes for a missing value, and whose rows it removes."""
    return [one for one in ids if one in READ_AS_MISSING]
