"""Read Amazon's metadata: which items have a title, and the texts of the selected items.

The file is read twice, so that only the texts of the selected items are processed.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np

from recbole_lcrec.data.item_text import clean_text
from recbole_lcrec.data.reserved_ids import usable_id
from recbole_lcrec.preparation.amazon.interactions import REVIEW_FIELDS
from recbole_lcrec.preparation.raw_lines import BadLines, json_records
from recbole_lcrec.runtime.errors import RunAborted

__all__ = ["ITEM_COLUMNS", "Metadata", "item_texts", "scan_metadata", "write_items"]

ITEM_COLUMNS = ("item_id:token", "title:token_seq", "description:token_seq", "brand:token", "categories:token_seq")
_PAGE_SOURCE = ("getTime", "aPageStart")  # in titles that contain a page script
_BYLINE = re.compile(r"^\s*by\s*\n\s*")
_AUTHOR_PAGE = re.compile(r"^Visit Amazon's (.+) Page$")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")


@dataclass(frozen=True, eq=False)
class Metadata:
    """The N items of a metadata file.

    Attributes:
        path: the file.
        edition: ``2018`` or ``2023``.
        rows: item id -> row.
        lines: int64 [N], line that an item is read from: the first with a title, otherwise its first.
        titled: bool [N], whether the item has a title.
        duplicates: number of lines beyond the first of each item.
        page_source: number of items whose only titles are page scripts; they count as untitled.
    """

    path: Path
    edition: str
    rows: dict[str, int]
    lines: np.ndarray
    titled: np.ndarray
    duplicates: int
    page_source: int


def scan_metadata(path: Path, edition: str, bad: BadLines, show_progress: bool = False) -> Metadata:
    """Find the items of a metadata file and whether they have a title.

    Raises:
        ValueError: the file is damaged, contains no item, or has too many broken lines.
    """
    key = REVIEW_FIELDS[edition].item
    rows: dict[str, int] = {}
    lines: list[int] = []
    titled: list[bool] = []
    sources: set[int] = set()
    duplicates = 0
    for number, record in json_records(path, bad, show_progress):
        try:
            item = usable_id(record.get(key), f"an item ({key})")
        except ValueError as err:
            bad.add(number, err)
            continue
        title = _title(record.get("title"))
        row = rows.setdefault(item, len(lines))
        if row == len(lines):
            lines.append(number)
            titled.append(bool(title))
        else:
            duplicates += 1
            if title and not titled[row]:
                lines[row], titled[row] = number, True
        if not title and record.get("title"):
            sources.add(row)
    bad.log()
    if not rows:
        raise ValueError(f"{path} contains no item: it is empty or another kind of file; download it again")
    has_title = np.array(titled, dtype=bool)
    page_source = sum(not titled[row] for row in sources)
    getLogger().info(
        f"{path.name}: {len(rows):,} items, {int(has_title.sum()):,} of them with a title; {duplicates:,} duplicate "
        f"line(s), {page_source:,} title(s) that are blank or page source"
    )
    return Metadata(path, edition, rows, np.array(lines, dtype=np.int64), has_title, duplicates, page_source)


def item_texts(record: dict[str, Any], edition: str) -> tuple[str, str, str, str]:
    """Return title, description, brand and categories of one record, each as one line without HTML.

    The categories are joined by commas, as in the published LC-Rec files.
    """
    brand = record.get("brand") if edition == "2018" else record.get("store") or _detail(record, "Brand")
    return (
        _title(record.get("title")),
        clean_text(record.get("description")),
        _brand(brand),
        _categories(record.get("category" if edition == "2018" else "categories")),
    )


def write_items(metadata: Metadata, kept: np.ndarray, target: Path, show_progress: bool = False) -> None:
    """Write the atomic ``.item`` file of selected items, in the order of the metadata file.

    Args:
        metadata: from :func:`scan_metadata`.
        kept: bool [N], the items to write.
        target: path of the file.
        show_progress: whether to show a progress bar.

    Raises:
        RunAborted: the metadata file has changed since it was scanned.
    """
    item_of_line = {int(metadata.lines[row]): item for item, row in metadata.rows.items() if kept[row]}
    key = REVIEW_FIELDS[metadata.edition].item
    written = 0
    with target.open("w", encoding="utf-8", newline="") as stream:
        # RecBole reads atomic files with pandas' default quoting, which is that of csv
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(ITEM_COLUMNS)
        for number, record in json_records(metadata.path, BadLines(metadata.path, limit=None), show_progress):
            item = item_of_line.get(number)
            if item is None:
                continue
            if usable_id(record.get(key), key) != item:
                break
            writer.writerow([item, *item_texts(record, metadata.edition)])
            written += 1
    if written != len(item_of_line):
        raise RunAborted(f"{metadata.path} changed while it was read; start again when it is complete")


def _title(raw: Any) -> str:
    return "" if any(mark in str(raw) for mark in _PAGE_SOURCE) else clean_text(raw)


def _brand(raw: Any) -> str:
    text = clean_text(_BYLINE.sub("", raw) if isinstance(raw, str) else raw)
    author = _AUTHOR_PAGE.match(text)
    return author[1] if author else text


def _categories(raw: Any) -> str:
    """Return the categories up to the first that contains a tag; from there on they are page source."""
    if not isinstance(raw, list):
        return clean_text(raw)
    names = []
    for part in raw:
        if isinstance(part, str) and _TAG.search(part):
            break
        names.append(clean_text(part))
    return ",".join(filter(None, names))


def _detail(record: dict[str, Any], name: str) -> Any:
    details = record.get("details")
    return details.get(name) if isinstance(details, dict) else None
