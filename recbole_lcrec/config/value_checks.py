"""Checks of single values; each returns a description of the expected value, or an empty text if the value is right."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

__all__ = [
    "Check",
    "either",
    "flag",
    "integer",
    "list_of",
    "mapping_of",
    "number",
    "one_of",
    "optional",
    "seeds",
    "split_seeds",
    "text",
]

Check = Callable[[Any], str]
"""Function from a value to a description of what was expected instead; empty if the value is right."""


def integer(low: int, high: int | None = None) -> Check:
    """Return a check for an integer in a range, both ends included."""

    def check(value: Any) -> str:
        good = isinstance(value, int) and not isinstance(value, bool) and value >= low
        bound = "" if high is None else f" and at most {high}"
        return "" if good and (high is None or value <= high) else f"an integer of at least {low}{bound}"

    return check


def number(low: float, high: float | None = None, above: bool = False) -> Check:
    """Return a check for a finite number of at least ``low`` (or above it) and at most ``high``."""

    def check(value: Any) -> str:
        real = isinstance(value, (int, float)) and not isinstance(value, bool)
        good = real and (value > low if above else value >= low) and value < float("inf")
        bound = "" if high is None else f" and at most {high}"
        expected = f"a number {'above' if above else 'of at least'} {low}{bound}"
        return "" if good and (high is None or value <= high) else expected

    return check


def text(value: Any) -> str:
    """Check for a name or a path that is not blank."""
    return "" if isinstance(value, str) and value.strip() else "a name or a path"


def flag(value: Any) -> str:
    """Check for a Boolean."""
    return "" if isinstance(value, bool) else "True or False"


def one_of(*choices: Any) -> Check:
    """Return a check for one of some values; its description suggests the nearest one."""

    def check(value: Any) -> str:
        if value in choices:
            return ""
        near = difflib.get_close_matches(str(value), [str(choice) for choice in choices], n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        return "one of " + ", ".join(repr(choice) for choice in choices) + hint

    return check


def optional(check: Check) -> Check:
    """Return a check that also accepts None."""
    return lambda value: "" if value is None else check(value)


def list_of(check: Check, allow_empty: bool = False) -> Check:
    """Return a check for a list whose elements all pass a check."""

    def check_list(value: Any) -> str:
        if not isinstance(value, (list, tuple)) or not (value or allow_empty):
            return f"a list{'' if allow_empty else ' with at least one element'}, each {check(object())}"
        problems = [problem for element in value if (problem := check(element))]
        return f"a list whose elements are each {problems[0]}" if problems else ""

    return check_list


def either(*checks: Check) -> Check:
    """Return a check for values that pass at least one of several checks."""

    def check(value: Any) -> str:
        problems = [each(value) for each in checks]
        return "" if "" in problems else ", or ".join(problems)

    return check


def mapping_of(key: Check, content: Check) -> Check:
    """Return a check for a mapping whose keys and values all pass their check."""

    def check(value: Any) -> str:
        if not isinstance(value, dict) or not value:
            return "a mapping with at least one entry"
        problems = [problem for pair in value.items() if (problem := key(pair[0]) or content(pair[1]))]
        return f"a mapping whose entries are each {problems[0]}" if problems else ""

    return check


def split_seeds(value: Any) -> tuple[int, ...] | None:
    """Return the seeds of a value such as ``2020``, ``(2020, 2021)`` or ``[2020, 2021]``; None for None."""
    if value is None:
        return None
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def seeds(value: Any) -> str:
    """Check for one or more distinct seeds."""
    given = split_seeds(value) or ()
    if given and not any(integer(0, 2**32 - 1)(seed) for seed in given) and len(set(given)) == len(given):
        return ""
    return f"distinct integers of at least 0 and at most {2**32 - 1}, such as 2020,2021,2022"
