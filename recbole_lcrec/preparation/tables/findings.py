"""Findings of the import checks, with examples, meaning and remedy.

Each counts its rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np

__all__ = ["BadRowLimit", "Example", "Finding", "examples_of", "finding"]

_SHOWN = 5
_LONGEST = 120
_WORDS = {
    "broken": (
        "records that cannot be read",
        "A record has more or fewer fields than the header, or a double quote that is not closed; or a line of a JSON "
        "lines file is not a JSON object.",
        "Correct the lines. In csv: export again with double quotes inside fields doubled, or use --no_quotes.",
    ),
    "blank_user": (
        "rows without a user",
        "Nothing can be learned from an interaction without a user.",
        "Fill in the ids, or ignore this.",
    ),
    "blank_item": ("rows without an item", "There is no item to recommend.", "Fill in the ids, or ignore this."),
    "nul_id": ("ids with NUL bytes", "RecBole's files cannot contain them.", "Remove the NUL bytes from the table."),
    "missing_id": (
        "ids that RecBole reads as missing",
        "RecBole reads ids such as NA, null or nan as missing values and would silently drop these rows. Often they "
        "stand for an unknown visitor.",
        "Use --reserved_ids=mark to keep them with an underscore appended (NA_), or rename them in the table.",
    ),
    "marked_ids": (
        "ids with an underscore appended",
        "RecBole reads ids such as NA and null as missing values, so they are written as NA_, null_ and so on "
        "(--reserved_ids=mark).",
        "Use the new ids to refer to these users and items.",
    ),
    "bad_time": (
        "times that cannot be read",
        "An interaction without a time has no position in the user's sequence. ISO dates and numbers of seconds, "
        "milliseconds, microseconds or nanoseconds since 1970 are recognised.",
        "Set the format with --time_format, such as --time_format='%d.%m.%Y %H:%M'.",
    ),
    "mixed_times": (
        "times in several formats",
        "Each was read in its own format, because of --time_format=mixed.",
        "Compare the range of times in this report with what you expect.",
    ),
    "zone_mixture": (
        "dates without a time zone among dates with one",
        "Those without a time zone were taken as UTC. If they are local times, they are off by some hours, and the "
        "order within a user's sequence may be wrong.",
        "Write all dates with a time zone.",
    ),
    "zoneless": (
        "dates without a time zone",
        "They were taken as UTC. This shifts all of them equally and does not change the order, except in the hours "
        "around a daylight saving change.",
        "Nothing, unless the order in those hours matters.",
    ),
    "early_times": (
        "times before 1990",
        "They look like counters or positions in a sequence, or like a missing date. Only their order is used.",
        "Check them if you expected dates.",
    ),
    "future_times": (
        "times in the future",
        "They become the most recent interactions of their users.",
        "Check the clock that recorded them.",
    ),
    "whole_days": (
        "times of whole days",
        "All times are midnight, so the order within a day is that of the file.",
        "Export the time of day, if you have it.",
    ),
    "duplicates": (
        "duplicate rows",
        "Every column equals that of an earlier row, so the row was probably exported twice.",
        "If they are real (two units of a product on one receipt), add a column with a row number.",
    ),
    "same_moment": (
        "repeated user, item and time",
        "Rows differ only in other columns. The item follows itself in the user's sequence.",
        "--first_only keeps the first interaction of each user with each item.",
    ),
    "repeats": (
        "repeated user-item pairs",
        "A user interacted with an item again at another time. Repeats are allowed: an earlier item can be the right "
        "recommendation.",
        "--first_only keeps the first interaction of each user with each item, as in the paper's data.",
    ),
    "later_ones": (
        "later interactions with the same item",
        "They are dropped because of --first_only.",
        "Remove the flag to keep them.",
    ),
    "unknown_items": (
        "interactions with items that are not in the item table",
        "The items were added to the catalogue without texts, so their index carries no information about them.",
        "Add the items to the table, or drop the interactions with --drop_unknown_items.",
    ),
    "unknown_dropped": (
        "interactions with items that are not in the item table",
        "They are dropped because of --drop_unknown_items.",
        "Add the items to the table to keep them.",
    ),
    "core": (
        "interactions of rare users or items",
        "They are dropped because of --min_user_interactions and --min_item_interactions, repeatedly, until all "
        "remaining users and items have enough.",
        "Lower the two numbers to keep more.",
    ),
    "rare_items": (
        "items with too few interactions",
        "They are removed from the catalogue because of --min_item_interactions.",
        "Lower the number to keep more.",
    ),
    "short_users": (
        "users with one or two interactions",
        "Users with two are trained on; none of them is tested, as leave-one-out needs three.",
        "Nothing; --min_user_interactions=3 drops them.",
    ),
    "edge_blanks": (
        "ids with leading or trailing blanks",
        "They are kept unchanged: 'u1 ' and 'u1' are different users.",
        "Trim the ids in the table if this is not intended.",
    ),
    "quoted_ids": (
        "ids with tabs, line breaks or double quotes",
        "They are kept, in double quotes. RecBole and this package read them back unchanged; lists with one id per "
        "line cannot contain line breaks.",
        "Rename them if other tools will read the files.",
    ),
    "comma_ids": (
        "ids with commas",
        "They are kept. --history=a,b of the recommend command splits at commas; its --input=FILE does not.",
        "Nothing.",
    ),
    "blank_item_rows": ("item rows without an id", "They name no item.", "Fill in the ids, or ignore this."),
    "item_copies": (
        "duplicate item rows",
        "All imported columns equal those of an earlier row after the texts are cleaned.",
        "Nothing.",
    ),
    "blank_titles": (
        "items without a title",
        "Their index is learned from their other texts, and is arbitrary if there are none.",
        "Fill in the titles.",
    ),
    "no_text": (
        "items without any text",
        "Their index carries no information about them.",
        "Fill in at least a title.",
    ),
    "placeholder_titles": (
        "placeholder titles",
        "Titles such as N/A, null or unknown are kept as text, and items that share one look alike.",
        "Fill in the titles, or leave them blank.",
    ),
    "cleaned_interactions": (
        "interactions with cleaned texts",
        "HTML tags, entities, line breaks, tabs, control characters and NUL bytes were converted to plain text.",
        "Nothing.",
    ),
    "cleaned_items": (
        "items with cleaned texts",
        "HTML tags, entities, line breaks, tabs, control characters and NUL bytes were converted to plain text.",
        "Nothing.",
    ),
    "never_bought": (
        "items without interactions",
        "They stay in the catalogue, get an index from their text and can be recommended.",
        "Remove discontinued items from the item table, or restrict recommendations with decoding_allowed_items.",
    ),
    "no_items_table": (
        "no item table",
        "The items have ids but no texts, so no index can be learned from texts.",
        "Add --items=FILE, or provide embeddings (index_embedding_file) or an index (index_file).",
    ),
}


@dataclass(frozen=True)
class Example:
    """An example row of a finding: ``where`` is its position, such as ``orders.csv, line 7``."""

    where: str
    text: str


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        key: its name in the JSON report.
        what: short description.
        count: number of rows affected.
        total: number of rows checked.
        action: ``kept``, ``dropped``, ``changed`` or ``note``.
        meaning: what it means for a run.
        remedy: what users can do.
        examples: the first affected rows.
    """

    key: str
    what: str
    count: int
    total: int
    action: str
    meaning: str
    remedy: str
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True)
class BadRowLimit:
    """Limit of unusable rows of a table that may be dropped: a number, or a percentage of the rows."""

    text: str = "1%"

    def __post_init__(self) -> None:
        try:
            number = float(self.text.removesuffix("%"))
        except ValueError:
            number = -1.0
        share = self.text.endswith("%")
        if not 0 <= number < math.inf or (number > 100 if share else not number.is_integer()):
            raise ValueError(
                f"--bad_row_limit={self.text!r} must be a number of rows such as 100, or a share such as 1%"
            )

    def allows(self, bad: int, rows: int) -> bool:
        """Return whether this many bad rows out of ``rows`` may be dropped."""
        share = self.text.endswith("%")
        number = float(self.text.removesuffix("%"))
        return bad <= (number * rows / 100 if share else number)


def finding(
    key: str, count: int, total: int, action: str, examples: Iterable[Example] = (), note: str = ""
) -> tuple[Finding, ...]:
    """Return the finding with this key as a tuple of one; an empty tuple if the count is 0.

    Args:
        key: name of the finding.
        count: number of rows affected.
        total: number of rows checked.
        action: what was done with them.
        examples: the first affected rows.
        note: appended to the meaning.
    """
    if not count:
        return ()
    what, meaning, remedy = _WORDS[key]
    explained = f"{meaning} {note}" if note else meaning
    return (Finding(key, what, int(count), int(total), action, explained, remedy, tuple(examples)),)


def examples_of(
    source: str, unit: str, lines: np.ndarray, texts: Iterable[object] | None = None, shown: int = _SHOWN
) -> tuple[Example, ...]:
    """Return the first examples, with their lines.

    Args:
        source: name of the file.
        unit: ``line`` or ``row``.
        lines: int64 [n], ascending.
        texts: n texts to show; None for none.
        shown: maximum number of examples.
    """
    values = [""] * shown if texts is None else islice(texts, shown)
    return tuple(Example(f"{source}, {unit} {n}", _short(text)) for n, text in zip(lines[:shown], values, strict=False))


def _short(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
