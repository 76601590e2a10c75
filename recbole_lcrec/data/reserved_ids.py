"""Ids that cannot be used in RecBole's files.

RecBole reads them as missing values or padding, or cannot store them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

__all__ = ["NOT_IN_IDS", "READ_AS_MISSING", "RESERVED_IDS", "missing_words", "usable_id"]

READ_AS_MISSING = {
    *("#N/A", "#N/A N/A", "#NA", "<NA>", "N/A", "n/a", "NA", "NULL", "null", "None"),
    *("NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
}
"""Words that RecBole reads as a missing value, as pandas does."""
RESERVED_IDS = frozenset([*READ_AS_MISSING, "[PAD]"])
"""Ids that RecBole reads as missing values, and the token that it reserves for padding."""
NOT_IN_IDS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
"""Characters that ids cannot contain: control characters except tabs, and lone surrogates."""


def missing_words(ids: Iterable[str]) -> list[str]:
    """Return the ids that RecBole reads as missing values; it drops their rows."""
    return [one for one in ids if one in READ_AS_MISSING]


def usable_id(raw: Any, what: str) -> str:
    """Return an id without surrounding blanks; blanks, tabs and commas inside it are kept.

    Args:
        raw: the id, a string or an integer.
        what: what it identifies, for the message.

    Raises:
        ValueError: the id is missing or empty, contains one of :data:`NOT_IN_IDS`, or is reserved by RecBole.
    """
    text = str(raw).strip() if isinstance(raw, (str, int)) else ""
    if not text or NOT_IN_IDS.search(text):
        raise ValueError(f"unusable id of {what}: {raw!r:.80}")
    if text in RESERVED_IDS:
        raise ValueError(f"unusable id of {what}: RecBole reads {text!r} as a missing value or padding; rename it")
    return text
