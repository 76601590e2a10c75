"""Parse time stamps in common formats into whole nanoseconds since 1970.

Reads ISO dates, numbers in units from seconds to nanoseconds, and ``strptime`` formats.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pandas as pd

__all__ = ["KINDS", "UNITS", "UNIT_BOUNDS", "Times", "decimal_seconds", "looks_like_dates", "parse_times"]

UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
KINDS = (
    "unreadable",
    "seconds",
    "milliseconds",
    "microseconds",
    "nanoseconds",
    "dates with a zone",
    "dates without one",
)
UNIT_BOUNDS = (10**11, 10**14, 10**17)
"""Upper bounds of numbers in each of :data:`UNITS` since 1970; the last unit has no bound."""
_DATE_IN_DIGITS = (
    r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?:(?:[01][0-9]|2[0-3])(?:[0-5][0-9]){1,2})?"
)
_WHOLE = r"[+-]?(?:[0-9]{1,18}|[0-8][0-9]{18})"  # fits into 64 bits
_EXPONENT = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?[eE][+-]?0*[0-9]{1,3}")  # larger exponents would give huge texts
_ZONE = r"[T ][0-9:.,]+ ?(?:[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)$"
_WITH_ZONE, _WITHOUT = KINDS.index("dates with a zone"), KINDS.index("dates without one")


@dataclass(frozen=True, eq=False)
class Times:
    """R parsed time stamps.

    Attributes:
        nanoseconds: int64 [R], since 1970 in UTC; 0 where unreadable.
        kinds: int8 [R], indices into :data:`KINDS`.
    """

    nanoseconds: np.ndarray
    kinds: np.ndarray

    def counts(self) -> dict[str, int]:
        """Count the readable times by kind."""
        counts = np.bincount(self.kinds, minlength=len(KINDS)).tolist()
        return {kind: count for kind, count in zip(KINDS[1:], counts[1:], strict=True) if count}


def parse_times(texts: np.ndarray, time_format: str | None = None) -> Times:
    """Parse time stamps.

    A number may have an exponent and is parsed without rounding. Its unit is inferred from its size: below 1e11 seconds
    (year 5138), below 1e14 milliseconds, below 1e17 microseconds, otherwise nanoseconds. Dates without a time zone are
    taken as UTC. Times outside the years 1678 to 2261 cannot be represented and count as unreadable.

    Args:
        texts: object [R].
        time_format: ``s``, ``ms``, ``us`` or ``ns`` for numbers of that unit only, ``iso`` for dates only, a
            ``strptime`` format such as ``%d.%m.%Y %H:%M``; None or ``mixed`` to infer it for each text.

    Raises:
        ValueError: the format is invalid.
    """
    column = pd.Series(texts, dtype=object).str.strip()
    nanoseconds, kinds = np.zeros(len(column), dtype=np.int64), np.zeros(len(column), dtype=np.int8)
    if time_format and "%" in time_format:
        _fill_dates(column, np.ones(len(column), dtype=bool), nanoseconds, kinds, time_format)
        return Times(nanoseconds, kinds)
    if time_format not in (None, "mixed", "iso", *UNITS):
        raise ValueError(
            f"--time_format={time_format!r} must be {', '.join(UNITS)}, iso, mixed, or a strptime format with %"
        )
    if time_format != "iso":
        _fill_numbers(_written_out(column), nanoseconds, kinds, time_format if time_format in UNITS else None)
    if time_format not in UNITS:
        dates = (kinds == 0) & column.str.match(r"[0-9]{4}-[0-9]{2}|[0-9]{8}T").to_numpy(bool)
        _fill_dates(column, dates, nanoseconds, kinds, "ISO8601")
    return Times(nanoseconds, kinds)


def looks_like_dates(texts: np.ndarray) -> bool:
    """Return whether there are numbers and all of them look like dates written as digits, such as 20240131."""
    column = _written_out(pd.Series(texts, dtype=object).str.strip())
    numbers = column[column.str.fullmatch(r"[0-9]+").to_numpy(bool)]
    return bool(len(numbers) and numbers.str.fullmatch(_DATE_IN_DIGITS).all())


def decimal_seconds(nanoseconds: np.ndarray) -> np.ndarray:
    """Format nanoseconds as decimal seconds, exactly: object [R] of texts without trailing zeros."""
    whole, rest = np.divmod(np.abs(nanoseconds), 10**9)
    texts = whole.astype(str).astype(object)
    for row in np.flatnonzero(rest):
        texts[row] += f".{rest[row]:09d}".rstrip("0")
    for row in np.flatnonzero(nanoseconds < 0):
        texts[row] = "-" + texts[row]
    return texts


def _written_out(column: pd.Series) -> pd.Series:
    """Rewrite numbers with exponents as plain decimals, exactly; other texts are unchanged."""
    texts = column.to_numpy(object, copy=True)
    for row, text in enumerate(texts):
        if (
            isinstance(text, str) and ("e" in text or "E" in text) and _EXPONENT.fullmatch(text)
        ):  # a fast check first: most columns contain no such letter
            texts[row] = format(Decimal(text), "f")
    return pd.Series(texts, dtype=object)


def _fill_numbers(column: pd.Series, nanoseconds: np.ndarray, kinds: np.ndarray, unit: str | None) -> None:
    rows = np.flatnonzero(column.str.fullmatch(_WHOLE).to_numpy(bool))
    parts = np.flatnonzero(column.str.fullmatch(_WHOLE + r"\.[0-9]*").to_numpy(bool))
    split = [text.partition(".") for text in column.iloc[parts]]
    whole = np.concatenate(
        [column.iloc[rows].to_numpy().astype(np.int64), np.array([int(text) for text, _, _ in split], dtype=np.int64)]
    )
    rows = np.concatenate([rows, parts])
    size = np.searchsorted(UNIT_BOUNDS, np.abs(whole), side="right") if unit is None else list(UNITS).index(unit)
    factors = np.broadcast_to(np.array(list(UNITS.values()))[size], whole.shape)
    fits = np.abs(whole) < (2**63 - 1) // factors - 1
    value = np.where(fits, whole, 0) * factors
    for place, (text, _, decimals) in enumerate(split, start=len(rows) - len(split)):
        if decimals.strip("0"):
            fraction = int(decimals[:18].ljust(18, "0")) * int(factors[place]) // 10**18
            value[place] += -fraction if text.startswith("-") else fraction
    nanoseconds[rows] = value
    kinds[rows] = np.where(fits, 1 + np.broadcast_to(size, whole.shape), 0)


def _fill_dates(
    column: pd.Series, rows: np.ndarray, nanoseconds: np.ndarray, kinds: np.ndarray, time_format: str
) -> None:
    if not rows.any():
        return
    texts = column[rows]
    if time_format == "ISO8601":
        texts = texts.str.replace(r" ?UTC$", "Z", regex=True)
        zoned = texts.str.contains(_ZONE).to_numpy(bool)
    else:
        zoned = np.full(len(texts), "%z" in time_format.lower())
    try:
        moments = pd.to_datetime(texts, format=time_format, utc=True, errors="coerce")
    except (ValueError, TypeError) as err:
        raise ValueError(f"--time_format={time_format!r} is not a valid time format: {err}") from err
    held = (moments >= pd.Timestamp("1678-01-01", tz="UTC")) & (moments < pd.Timestamp("2262-01-01", tz="UTC"))
    held = held.to_numpy(bool)
    places = np.flatnonzero(rows)
    nanoseconds[places[held]] = moments[held].dt.as_unit("ns").astype(np.int64).to_numpy()
    kinds[places] = np.where(held, np.where(zoned, _WITH_ZONE, _WITHOUT), 0)
