"""What a check found: how many rows, the first of them by line, what that means, and what can be done.

Knows the words. Refuses to know how a check is made.
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
        "A record has more or fewer fields than the first line has names, or a double quote that is not closed; or a "
        "line of a JSON lines file is no JSON object.",
        "Mend the lines. In csv: export again with double quotes doubled inside of fields, or give --no_quotes.",
    ),
    "blank_user": (
        "rows without a user",
        "Nobody's interaction cannot be learned from.",
        "Fill the ids in, or ignore it.",
    ),
    "blank_item": ("rows without an item", "There is no item to recommend.", "Fill the ids in, or ignore it."),
    "nul_id": ("ids with NUL bytes", "RecBole's files cannot hold them.", "Remove the NUL bytes from the table."),
    "missing_id": (
        "ids that RecBole reads as missing",
        "RecBole's files cannot hold ids such as NA, null or nan: RecBole would drop these rows without a word. Often "
        "they stand for a visitor who is not known.",
        "--reserved_ids=mark keeps them with an underscore behind (NA_); else rename them in the table.",
    ),
    "marked_ids": (
        "ids written with an underscore behind",
        "RecBole reads the ids NA, null and the like as missing, so they are written as NA_, null_ and so on "
        "(--reserved_ids=mark).",
        "Ask for these users and items by the new ids.",
    ),
    "bad_time": (
        "times that cannot be read",
        "Without a time an interaction has no place in the user's sequence. ISO dates and numbers of seconds, "
        "milliseconds, microseconds or nanoseconds since 1970 are understood.",
        "Name the form by --time_format, such as --time_format='%d.%m.%Y %H:%M'.",
    ),
    "mixed_times": (
        "times written in several ways",
        "Each was read by itself, as --time_format=mixed asks.",
        "Compare the range of times in this report with what you expect.",
    ),
    "zone_mixture": (
        "dates without a zone among dates with one",
        "Those without a zone were taken as UTC. If they are local times, they stand some hours off, and the order "
        "within a user's sequence may be wrong.",
        "Write all dates with a zone.",
    ),
    "zoneless": (
        "dates without a zone",
        "They were taken as UTC. That shifts all alike and does not change the order, but for hours around a change "
        "of the clock.",
        "Nothing, unless the order of minutes around such a change matters.",
    ),
    "early_times": (
        "times before 1990",
        "They look like counters or places in a sequence, or like a missing date. Only their order counts.",
        "Check them if you expected dates.",
    ),
    "future_times": ("times in the future", "They become the newest interactions of their users.", "Check the clock."),
    "whole_days": (
        "times of whole days",
        "All times are midnights, so the order within a day is that of the file.",
        "Bring the time of day, if you have it.",
    ),
    "duplicates": (
        "duplicate rows",
        "Every column equals that of an earlier row, so the row was probably exported twice.",
        "If they are real (two of one article on one receipt), give the rows a number of their own.",
    ),
    "same_moment": (
        "same user, item and time again",
        "Rows differ in other columns only. The item follows itself in the user's sequence.",
        "--first_only keeps the first interaction of each user with each item.",
    ),
    "repeats": (
        "repeated user-item pairs",
        "A user met an item again at another time. Repeats are allowed: an item met before can be the right answer.",
        "--first_only keeps the first interaction of each user with each item, as the paper's data have it.",
    ),
    "later_ones": (
        "later interactions with the same item",
        "--first_only asks to leave them out.",
        "Leave the flag out.",
    ),
    "unknown_items": (
        "interactions with items that the item table lacks",
        "The items were added to the catalogue with blank texts. Their index says nothing of what they are.",
        "Add the items to the table, or leave the interactions out by --drop_unknown_items.",
    ),
    "unknown_dropped": (
        "interactions with items that the item table lacks",
        "--drop_unknown_items asks to leave them out.",
        "Add the items to the table.",
    ),
    "core": (
        "interactions of rare users or items",
        "--min_user_interactions and --min_item_interactions ask to leave them out, again and again until all that are "
        "left have enough.",
        "Lower the two numbers.",
    ),
    "rare_items": (
        "items with too few interactions",
        "--min_item_interactions asks to leave them out of the catalogue.",
        "Lower the number.",
    ),
    "short_users": (
        "users with one or two interactions",
        "They are trained on where they have two, and never tested: leave-one-out needs three.",
        "Nothing; --min_user_interactions=3 leaves them out.",
    ),
    "edge_blanks": (
        "ids with blanks at an end",
        "They are kept as they are: 'u1 ' is another user than 'u1'.",
        "Trim the ids in the table, if that is not meant.",
    ),
    "quoted_ids": (
        "ids with tabs, line breaks or double quotes",
        "They are kept, in double quotes. RecBole and this package read them back unchanged; lists of ids, one a line, "
        "cannot hold line breaks.",
        "Rename them, if other tools are to read the files.",
    ),
    "comma_ids": (
        "ids with commas",
        "They are kept. --history=a,b of the recommend command splits at commas; its --input=FILE does not.",
        "Nothing.",
    ),
    "blank_item_rows": ("item rows without an id", "They name no item.", "Fill the ids in, or ignore it."),
    "item_copies": (
        "duplicate item rows",
        "All imported columns equal those of an earlier row, once texts are clean.",
        "Nothing.",
    ),
    "blank_titles": (
        "items without a title",
        "They get an index from what other text there is, and an arbitrary one where there is none.",
        "Fill the titles in.",
    ),
    "no_text": ("items without any text", "Their index says nothing of what they are.", "Fill in a title at least."),
    "placeholder_titles": (
        "titles that only say that one is missing",
        "Titles such as N/A, null or unknown are kept as text, and items that share one look alike.",
        "Leave the field blank or fill it in.",
    ),
    "cleaned_interactions": (
        "interactions with a text made one plain line",
        "HTML tags, entities, line breaks, tabs, control characters and NUL bytes became plain text.",
        "Nothing.",
    ),
    "cleaned_items": (
        "items with a text made one plain line",
        "HTML tags, entities, line breaks, tabs, control characters and NUL bytes became plain text.",
        "Nothing.",
    ),
    "never_bought": (
        "items that nobody bought",
        "They stay in the catalogue, get an index from their text and can be recommended.",
        "Remove what is no longer sold from the item table, or name what may come up by decoding_allowed_items.",
    ),
    "no_items_table": (
        "no table of items",
        "The items have ids and no texts, so no index can be learned from texts.",
        "Add --items=FILE, or give embeddings (index_embedding_file) or an index (index_file).",
    ),
}


@dataclass(frozen=True)
class Example:
    """One row that a check found: ``where`` is a place such as ``orders.csv, line 7``."""

    where: str
    text: str


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        key: its name in the JSON report.
        what: in a few words.
        count: how many.
        total: of how many.
        action: ``kept``, ``dropped``, ``changed`` or ``note``.
        meaning: what it means for a run.
        remedy: what can be done.
        examples: the first ones.
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
    """How many rows of a table may be left out as unusable: a number, or a share of the rows."""

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
        """Whether so many bad rows of so many may be left out."""
        share = self.text.endswith("%")
        number = float(self.text.removesuffix("%"))
        return bad <= (number * rows / 100 if share else number)


def finding(
    key: str, count: int, total: int, action: str, examples: Iterable[Example] = (), note: str = ""
) -> tuple[Finding, ...]:
    """The finding of this name; none where nothing was counted.

    Args:
        key: name of the finding.
        count: how many.
        total: of how many.
        action: what was done.
        examples: the first ones.
        note: said after the meaning.
    """
    if not count:
        return ()
    what, meaning, remedy = _WORDS[key]
    told = f"{meaning} {note}" if note else meaning
    return (Finding(key, what, int(count), int(total), action, told, remedy, tuple(examples)),)


def examples_of(
    source: str, unit: str, lines: np.ndarray, texts: Iterable[object] | None = None, shown: int = _SHOWN
) -> tuple[Example, ...]:
    """The first examples by line.

    Args:
        source: name of the file.
        unit: ``line`` or ``row``.
        lines: int64 [n], ascending.
        texts: n, what stands there; None for nothing.
        shown: at most so many.
    """
    values = [""] * shown if texts is None else islice(texts, shown)
    return tuple(Example(f"{source}, {unit} {n}", _short(text)) for n, text in zip(lines[:shown], values, strict=False))


def _short(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
