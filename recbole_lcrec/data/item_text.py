"""Item texts: titles and descriptions, cleaned and aligned with the catalogue.

Cleaning handles what product texts contain: HTML, entities, printed Python lists, missing values.
"""

from __future__ import annotations

import ast
import html
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_lcrec.data.item_table import read_item_table

__all__ = ["ItemTexts", "clean_text", "leaves", "read_item_texts", "require_texts"]

_HIDDEN = re.compile(r"<(?:(script|style)\b|!--)", re.IGNORECASE)
_HUGE_REFERENCE = re.compile(r"&#[0-9]{100,};?")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u200b\ufeff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_NAMED = 10


@dataclass(frozen=True)
class ItemTexts:
    """Titles and descriptions of N items, row by row; an item without text has empty strings.

    Raises:
        ValueError: the three columns differ in length.
    """

    item_ids: tuple[str, ...]
    titles: tuple[str, ...]
    descriptions: tuple[str, ...]

    def __post_init__(self) -> None:
        lengths = (len(self.item_ids), len(self.titles), len(self.descriptions))
        if len(set(lengths)) != 1:
            raise ValueError(f"item texts must be aligned, got {lengths} item ids, titles and descriptions")

    def __len__(self) -> int:
        return len(self.item_ids)

    def rows(self, rows: Sequence[int]) -> ItemTexts:
        """Return the texts of some of the items."""
        columns = (self.item_ids, self.titles, self.descriptions)
        return ItemTexts(*(tuple(column[row] for row in rows) for column in columns))


def clean_text(raw: Any) -> str:
    """Convert a raw field to one line of plain text.

    Entities are unescaped (twice, as shops often escape twice) and tags removed; the elements of a list (or of a
    printed list, ``"['a', 'b']"``) are joined by blanks; whitespace and control characters are collapsed. Lone
    surrogates, which no file can store, become question marks. None and NaN give "".
    """
    return " ".join(filter(None, map(_plain, leaves(raw, _parts))))


def leaves(value: Any, parts_of: Callable[[Any], Sequence[Any] | np.ndarray | None]) -> Iterator[Any]:
    """Yield the innermost elements of a nested value in order, without recursion.

    Args:
        value: any value.
        parts_of: returns the elements of a container; None for a leaf.
    """
    pending = [value]
    while pending:
        one = pending.pop()
        parts = parts_of(one)
        if parts is None:
            yield one
        else:
            pending.extend(reversed(parts))


def _parts(raw: Any) -> Sequence[Any] | np.ndarray | None:
    """Return the elements of a list, or of a printed list; None for other values."""
    if isinstance(raw, (list, tuple, np.ndarray)):
        return raw
    if isinstance(raw, str) and (text := raw.strip()).startswith("[") and text.endswith("]"):
        return _parsed_list(text)
    return None


def _plain(raw: Any) -> str:
    """Return one line of plain text for a value that is not a list."""
    if raw is None or (isinstance(raw, (float, np.floating)) and math.isnan(raw)) or raw is pd.NA:
        return ""
    text = _without_hidden(_unescaped(_unescaped(str(raw))))
    return _SURROGATE.sub("?", " ".join(_CONTROL.sub(" ", _TAG.sub(" ", text)).split()))


def _unescaped(text: str) -> str:
    # html.unescape would fail on a number with so many digits
    return html.unescape(_HUGE_REFERENCE.sub("\ufffd", text))


def _without_hidden(text: str) -> str:
    """Remove scripts, styles and comments; one that is never closed stays.

    An unclosed kind is searched for only once. A single regular expression would scan the rest of the text at every
    opening tag, which takes quadratic time.
    """
    shown: list[str] = []
    begin, unclosed = 0, set()
    for opening in _HIDDEN.finditer(text):
        kind = (opening[1] or "").lower()
        if opening.start() < begin or kind in unclosed:
            continue
        closing = re.compile(rf"</{kind}\s*>" if kind else "-->", re.IGNORECASE).search(text, opening.end())
        if closing is None:
            unclosed.add(kind)
        else:
            shown.append(text[begin : opening.start()])
            begin = closing.end()
    return " ".join([*shown, text[begin:]])


def _parsed_list(text: str) -> list[Any] | None:
    """Parse a printed list; None if the text is something else, such as a title in brackets."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def read_item_texts(
    item_file: Path | None,
    item_ids: Sequence[str],
    item_id_field: str,
    title_fields: Sequence[str],
    description_fields: Sequence[str],
    separator: str = "\t",
    encoding: str = "utf-8",
) -> ItemTexts:
    """Read the texts of the catalogue from an atomic ``.item`` file, with RecBole's quoting rules.

    Args:
        item_file: the atomic file; None if the data set has none.
        item_ids: N original item ids; they give the row order.
        item_id_field: name of the id column, without its type.
        title_fields: columns that form the title, joined by blanks in this order.
        description_fields: columns that form the description; may be empty.
        separator: column separator.
        encoding: encoding of the file.

    Returns:
        Texts of the N items. Items without any text are logged and kept with empty strings.

    Raises:
        ValueError: the file or a column does not exist, or an item has two rows.
    """
    if item_file is None:
        raise ValueError(
            "the data set has no item file, so there are no item texts: put <dataset>.item (or <dataset>.item.json) "
            "beside the interactions, or set index_file to an existing index"
        )
    ids = tuple(str(item) for item in item_ids)
    requested = {"text_title_fields": title_fields, "text_description_fields": description_fields}
    table = read_item_table(item_file, ids, item_id_field, requested, separator, encoding).columns
    texts = ItemTexts(ids, _column(table, title_fields), _column(table, description_fields))
    _report_blank(texts, item_file)
    return texts


def require_texts(texts: ItemTexts) -> None:
    """Check that at least one item has text to learn an index from.

    Raises:
        ValueError: every title and every description is empty.
    """
    if not any(texts.titles) and not any(texts.descriptions):
        raise ValueError(
            f"none of the {len(texts)} items has text: set text_title_fields and text_description_fields to columns "
            "with text, or set index_file to an existing index"
        )


def _column(table: pd.DataFrame, names: Sequence[str]) -> tuple[str, ...]:
    columns = [[clean_text(value) for value in table[name]] for name in names]
    return (
        tuple(" ".join(filter(None, parts)) for parts in zip(*columns, strict=True)) if columns else ("",) * len(table)
    )


def _report_blank(texts: ItemTexts, item_file: Path) -> None:
    rows = zip(texts.item_ids, texts.titles, texts.descriptions, strict=True)
    blank = [item for item, title, description in rows if not title and not description]
    if blank:
        names = f": {', '.join(blank)}" if len(blank) <= _NAMED else ""
        getLogger().warning(f"{len(blank)} of {len(texts)} items have no text in {item_file.name}{names}")
