"""CSV files as MiniOneRec reads them: a row is a target with the history before it.

Knows where the files lie, their columns, and lists written as Python writes them. Refuses to know which rows belong
together.
"""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_lcrec.preparation.amazon.interactions import identifier

__all__ = ["COLUMNS", "Row", "SourceFiles", "find_source", "read_rows", "sid_tokens"]

COLUMNS = (
    *("user_id", "history_item_title", "item_title", "history_item_id", "item_id"),
    *("history_item_sid", "item_sid"),
)
_NEEDED = ("user_id", "history_item_id", "item_id")
_SPLITS = ("train", "valid", "test")
_SID = re.compile(r"(?:<[a-z]_[0-9]+>)+")
_TOKEN = re.compile(r"<[a-z]_[0-9]+>")
_LONGEST_FIELD = 131_072  # csv's own limit, in characters; what ast parses is never longer
_LONGEST_HISTORY = 10_000


@dataclass(frozen=True)
class SourceFiles:
    """The files of one data set.

    Attributes:
        rows: CSV files in the order of time: training, validation, test.
        items: texts in the published form, ``.item.json``; None where there are none.
        index: the published ``.index.json``; None where there is none.
    """

    rows: tuple[Path, ...]
    items: Path | None = None
    index: Path | None = None


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        place: file and line, for messages.
        user: the user's id.
        history: ids of the items before the target, oldest first.
        target: the target's id.
        titles: titles of history and target, in this order; None where the row does not tell one for each.
        sids: indices of history and target in one text each; None where the row does not tell one for each.
    """

    place: str
    user: str
    history: tuple[str, ...]
    target: str
    titles: tuple[str, ...] | None
    sids: tuple[str, ...] | None


def find_source(folder: Path, name: str) -> SourceFiles:
    """Looks for the files of a data set: ``train/<name>_*.csv`` and its like, or ``train.csv`` and its like.

    Where a folder holds a single CSV file, it may be called as it likes. Texts and index are ``<name>.item.json`` and
    ``<name>.index.json`` in the folder ``index`` or beside the CSV files.

    Args:
        folder: the source.
        name: the category, with which the files' names begin.

    Raises:
        ValueError: one of the three files is missing, or several could be it.
    """
    rows = []
    for split in _SPLITS:
        inside = sorted((folder / split).glob("*.csv"))
        own = [path for path in inside if path.stem == name or path.stem.startswith(f"{name}_")]
        single = folder / f"{split}.csv"
        found = (inside if len(inside) == 1 else own) or ([single] if single.is_file() else [])
        if len(found) != 1:
            what = f"{len(found)} files could be it" if found else f"there is neither {single} nor"
            raise ValueError(
                f"{split}: {what} {folder / split / (name + '_*.csv')}; name the files by --train, --valid and --test, "
                "or the category by --category"
            )
        rows += found
    places = [folder / "index", folder]
    items, index = (
        next((path for place in places if (path := place / f"{name}.{kind}.json").is_file()), None)
        for kind in ("item", "index")
    )
    return SourceFiles(tuple(rows), items, index)


def read_rows(path: Path) -> Iterator[Row]:
    """Yields the rows of one file.

    Raises:
        ValueError: the file is missing, empty, no UTF-8 or no such table, or a row is damaged; names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = csv.reader(stream, strict=True)
            header = next(lines, None)
            if header is None:
                raise ValueError(f"{path} is empty; fetch it again")
            absent = [column for column in _NEEDED if column not in header]
            if absent:
                raise ValueError(
                    f"{path}: no column {', '.join(map(repr, absent))}; it has {', '.join(header)[:200]}, but needs "
                    f"{', '.join(COLUMNS)}"
                )
            first = lines.line_num + 1
            for fields in lines:
                place, first = f"{path}, line {first}", lines.line_num + 1
                if not fields:
                    continue
                if len(fields) != len(header):
                    raise ValueError(f"{place}: {len(fields)} fields, but the header has {len(header)}; mend the file")
                yield _row(place, dict(zip(header, fields, strict=True)))
    except OSError as err:
        raise ValueError(f"{path} cannot be read ({err})") from err
    except UnicodeDecodeError as err:
        raise ValueError(f"{path} is no UTF-8 ({err}); fetch it again, or save it as UTF-8") from err
    except csv.Error as err:
        raise ValueError(f"{path}, line {lines.line_num} is damaged ({err}); fetch the file again") from err


def sid_tokens(sid: str, place: str) -> list[str]:
    """The tokens of an index in one text: ``<a_1><b_2>`` is ``["<a_1>", "<b_2>"]``.

    Raises:
        ValueError: it is no such text.
    """
    if not _SID.fullmatch(sid):
        raise ValueError(f"{place}: expected an index such as <a_1><b_2><c_3>, found {sid!r:.80}")
    return _TOKEN.findall(sid)


def _row(place: str, fields: dict[str, str]) -> Row:
    try:
        user = identifier(fields["user_id"], "a user (user_id)")
        target = identifier(fields["item_id"], "an item (item_id)")
        history = tuple(_item_id(one) for one in _list(fields["history_item_id"]))
        titles = _aligned(fields, "history_item_title", "item_title", len(history))
        sids = _aligned(fields, "history_item_sid", "item_sid", len(history))
    except ValueError as err:
        raise ValueError(f"{place}: {err}") from err
    if len(history) > _LONGEST_HISTORY:
        raise ValueError(f"{place}: a history of {len(history):,} items; at most {_LONGEST_HISTORY:,} are read")
    return Row(place, user, history, target, titles, sids)


def _item_id(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool):
        raise ValueError(f"no usable id of an item: {value!r}")
    return identifier(value, "an item (history_item_id)")


def _list(text: str) -> list[Any]:
    """A list as Python writes it, read without evaluating anything; an empty field is an empty list."""
    if not text.strip():
        return []
    if len(text) > _LONGEST_FIELD:
        raise ValueError(f"a list of {len(text):,} characters; at most {_LONGEST_FIELD:,} are read")
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as err:
        raise ValueError(f"expected a list as Python writes it, found {text!r:.80}") from err
    if not isinstance(value, list):
        raise ValueError(f"expected a list as Python writes it, found {text!r:.80}")
    return value


def _aligned(fields: dict[str, str], history: str, target: str, length: int) -> tuple[str, ...] | None:
    """One text for each item of the row; None without these columns, or where items of the history lack theirs.

    MiniOneRec leaves out titles and indices that it does not know, so a shorter list says of no item which is its own;
    the target's is then taken alone.
    """
    if target not in fields:
        return None
    listed = _list(fields.get(history, ""))
    if len(listed) != length:
        listed = [""] * length
    return (*("" if one is None else str(one) for one in listed), fields[target])
