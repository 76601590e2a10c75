"""Read MiniOneRec's CSV files: each row is a target item with the history before it."""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_lcrec.data.reserved_ids import usable_id

__all__ = ["COLUMNS", "Row", "SourceFiles", "find_source", "read_rows", "sid_tokens"]

COLUMNS = (
    *("user_id", "history_item_title", "item_title", "history_item_id", "item_id"),
    *("history_item_sid", "item_sid"),
)
_NEEDED = ("user_id", "history_item_id", "item_id")
_SPLITS = ("train", "valid", "test")
_SID = re.compile(r"(?:<[a-z]_[0-9]+>)+")
_TOKEN = re.compile(r"<[a-z]_[0-9]+>")
_LONGEST_FIELD = 131_072  # limit of the csv module, in characters; also for the texts that ast parses
_LONGEST_HISTORY = 10_000


@dataclass(frozen=True)
class SourceFiles:
    """The files of one data set.

    Attributes:
        rows: CSV files in time order: training, validation, test.
        items: texts in the published format, ``.item.json``; None if there are none.
        index: the published ``.index.json``; None if there is none.
    """

    rows: tuple[Path, ...]
    items: Path | None = None
    index: Path | None = None


@dataclass(frozen=True)
class Row:
    """A target item with its history.

    Attributes:
        place: file and line, for messages.
        user: the user's id.
        history: ids of the items before the target, oldest first.
        target: the target's id.
        titles: titles of history and target, in this order; None if the row does not have one for each.
        sids: indices of history and target, each as one text; None if the row does not have one for each.
    """

    place: str
    user: str
    history: tuple[str, ...]
    target: str
    titles: tuple[str, ...] | None
    sids: tuple[str, ...] | None


def find_source(folder: Path, name: str) -> SourceFiles:
    """Find the files of a data set: ``train/<name>_*.csv`` and so on, or ``train.csv`` and so on.

    A single CSV file in a folder may have any name. Texts and index are ``<name>.item.json`` and ``<name>.index.json``,
    in the folder ``index`` or beside the CSV files.

    Args:
        folder: the source folder.
        name: the category, which is the prefix of the file names.

    Raises:
        ValueError: one of the three files is missing, or several match.
    """
    rows = []
    for split in _SPLITS:
        inside = sorted((folder / split).glob("*.csv"))
        matching = [path for path in inside if path.stem == name or path.stem.startswith(f"{name}_")]
        single = folder / f"{split}.csv"
        found = (inside if len(inside) == 1 else matching) or ([single] if single.is_file() else [])
        if len(found) != 1:
            what = f"{len(found)} files match" if found else f"there is neither {single} nor"
            raise ValueError(
                f"{split}: {what} {folder / split / (name + '_*.csv')}; select the files with --train, --valid and "
                "--test, or the category with --category"
            )
        rows += found
    places = [folder / "index", folder]
    items, index = (
        next((path for place in places if (path := place / f"{name}.{kind}.json").is_file()), None)
        for kind in ("item", "index")
    )
    return SourceFiles(tuple(rows), items, index)


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of one file.

    Raises:
        ValueError: the file is missing, empty, not UTF-8 or has another structure, or a row is damaged; names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = csv.reader(stream, strict=True)
            header = next(lines, None)
            if header is None:
                raise ValueError(f"{path} is empty; download it again")
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
                    raise ValueError(
                        f"{place}: {len(fields)} fields, but the header has {len(header)}; correct the file"
                    )
                yield _row(place, dict(zip(header, fields, strict=True)))
    except OSError as err:
        raise ValueError(f"{path} cannot be read ({err})") from err
    except UnicodeDecodeError as err:
        raise ValueError(f"{path} is not UTF-8 ({err}); download it again, or save it as UTF-8") from err
    except csv.Error as err:
        raise ValueError(f"{path}, line {lines.line_num} is damaged ({err}); download the file again") from err


def sid_tokens(sid: str, place: str) -> list[str]:
    """Split an index in one text into its tokens: ``<a_1><b_2>`` becomes ``["<a_1>", "<b_2>"]``.

    Raises:
        ValueError: the text is not an index.
    """
    if not _SID.fullmatch(sid):
        raise ValueError(f"{place}: expected an index such as <a_1><b_2><c_3>, found {sid!r:.80}")
    return _TOKEN.findall(sid)


def _row(place: str, fields: dict[str, str]) -> Row:
    try:
        user = usable_id(fields["user_id"], "a user (user_id)")
        target = usable_id(fields["item_id"], "an item (item_id)")
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
        raise ValueError(f"unusable id of an item: {value!r}")
    return usable_id(value, "an item (history_item_id)")


def _list(text: str) -> list[Any]:
    """Parse a printed Python list without evaluating code; an empty field is an empty list."""
    if not text.strip():
        return []
    if len(text) > _LONGEST_FIELD:
        raise ValueError(f"a list of {len(text):,} characters; at most {_LONGEST_FIELD:,} are read")
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as err:
        raise ValueError(f"expected a printed Python list, found {text!r:.80}") from err
    if not isinstance(value, list):
        raise ValueError(f"expected a printed Python list, found {text!r:.80}")
    return value


def _aligned(fields: dict[str, str], history: str, target: str, length: int) -> tuple[str, ...] | None:
    """Return one text per item of the row; None if the columns do not exist.

    MiniOneRec omits unknown titles and indices, so a shorter list cannot be assigned to the items of the history; then
    only the target's text is used.
    """
    if target not in fields:
        return None
    listed = _list(fields.get(history, ""))
    if len(listed) != length:
        listed = [""] * length
    return (*("" if one is None else str(one) for one in listed), fields[target])
