"""Contents and errors of item2id and user2id."""

import logging

import pytest

from recbole_lcrec.preparation.forms.convert import convert_published
from recbole_lcrec.preparation.forms.id_files import original_ids, read_id_file, write_id_file
from tests.preparation.forms.made import columns, read_published, write_published

DATA = {"inter": {"0": [0, 1], "5": [1, 2, 0]}, "item": {str(i): {"title": f"t{i}"} for i in range(4)}}


def test_originals_become_columns(tmp_path):
    source = write_published(
        tmp_path / "s",
        "shop",
        **DATA,
        item2id=[("B00 spaced, odd", 0), ("B1", 1), ("tab\tin it", 2), ("ünï🎮", 3)],
        user2id=[("A0", 0), ("A5", 5)],
    )
    counts = convert_published(source, "shop", tmp_path)
    assert counts["items with an original id"] == 4 and counts["users with an original id"] == 2
    assert columns(tmp_path / "shop.item", "item_id", "original_id", "title") == [
        ("0", "B00 spaced, odd", "t0"),
        ("1", "B1", "t1"),
        ("2", "tab\tin it", "t2"),
        ("3", "ünï🎮", "t3"),
    ]
    assert columns(tmp_path / "shop.user", "user_id", "original_user_id") == [("0", "A0"), ("5", "A5")]
    assert (tmp_path / "shop.item").read_text(encoding="utf-8").split("\n")[0].endswith("\toriginal_id:token")


def test_without_id_files_nothing_is_added(tmp_path):
    convert_published(write_published(tmp_path / "s", "shop", **DATA), "shop", tmp_path)
    assert not (tmp_path / "shop.user").exists()
    assert "original" not in (tmp_path / "shop.item").read_text()


def test_more_or_fewer_lines_than_data_are_counted(tmp_path, caplog):
    path = tmp_path / "shop.item2id"
    path.write_text("B1\t1\nB7\t7\nB8\t8\n\nB1\t1\n")
    with caplog.at_level(logging.WARNING):
        assert original_ids(path, ["1", "2"], "items") == {"1": "B1"}
    assert "1 of 2 items have no original id, and 2 of 3 lines are for items that are not in the data" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("B0\t0\nB1 1\n", r"item2id, line 2: expected an id, a tab and a whole number, found 'B1 1'"),
        ("B0\t0\nB1\tx\n", "line 2"),
        ("B0\t0\n\t1\n", "line 2"),
        ("B0\t-1\n", "line 1"),
        ("B\x00\t0\n", "line 1"),
        ("B\rC\t0\n", "line 1"),
        ("B0\t0\nB1\t1\nB2\t0\n", "'0' stands for 'B0' on line 1, and for 'B2' on line 3"),
        ("B0\t0\nB1\t1\nB0\t2\n", "'B0' stands for '0' on line 1, and for '2' on line 3"),
        ("B0\t100\n", r"lists none of the items of the data: its first number is '100', the data's first id '0'"),
        ("", "lists none of the items"),
    ],
)
def test_damaged_id_files(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        convert_published(write_published(tmp_path / "s", "shop", **DATA, item2id=text), "shop", tmp_path)


def test_id_files_that_are_not_utf8(tmp_path):
    path = tmp_path / "x.item2id"
    path.write_bytes("é\t0\n".encode("latin-1"))
    with pytest.raises(ValueError, match="not a readable id file"):
        read_id_file(path)


def test_windows_line_endings_and_byte_order_mark(tmp_path):
    path = tmp_path / "x.item2id"
    path.write_bytes(b"\xef\xbb\xbfB0\t0\r\nB1\t1\r\n")
    assert read_id_file(path) == {"0": "B0", "1": "B1"}


def test_written_id_files_are_read_back(tmp_path):
    originals = {"3": "with\ttab", "0": " blanks ", "1": "a,b"}
    write_id_file(tmp_path / "x.item2id", originals)
    assert read_id_file(tmp_path / "x.item2id") == originals
    assert read_published(tmp_path, "x") == {"item2id": originals}
    for bad in ({"0": "two\nlines"}, {"0": " "}, {"x": "a"}):
        with pytest.raises(ValueError):
            write_id_file(tmp_path / "y", bad)
