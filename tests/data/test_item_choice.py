"""Files of allowed items as rows of a catalogue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recbole_lcrec.data.item_choice import allowed_rows, read_allowed, rows_of

IDS = ["b", "a", "d", "c"]


def test_rows_are_ascending_for_any_order_of_ids() -> None:
    rows = rows_of(["c", "b"], {item: row for row, item in enumerate(IDS)}, "mine", "look")
    assert rows.tolist() == [0, 3] and rows.dtype == np.int64
    with pytest.raises(ValueError, match=r"mine: 2 of 3 are not in the catalogue, first \['x', 'y'\]; look"):
        rows_of(["x", "a", "y"], {"a": 0}, "mine", "look")


def test_allowed_items_are_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "stock.txt"
    path.write_text("\ufeffd\n\n b \nd\n", encoding="utf-8")
    assert read_allowed(path) == ["d", "b"]
    assert allowed_rows(path, IDS).tolist() == [0, 2]
    with pytest.raises(ValueError, match="allows 2 items, but 3 are needed"):
        allowed_rows(path, IDS, 3)
    with pytest.raises(ValueError, match=r"1 of 2 are not in the catalogue, first \['d'\]; remove them"):
        allowed_rows(path, ["a", "b"])


def test_unusable_files_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "stock.txt"
    for content, message in ((None, "no such file"), (b"\n \n", "names no item"), (b"\xff\xfe\n", "not UTF-8 text")):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_allowed(path)
    with pytest.raises(ValueError, match=r"is a folder; give a file with one item id per line"):
        read_allowed(tmp_path)
