"""Damaged files, broken lines, reserved ids and mixed times."""

import gzip
import json
import logging

import pytest

from recbole_lcrec.preparation.amazon.interactions import milliseconds, read_interactions
from recbole_lcrec.preparation.amazon.metadata import scan_metadata
from recbole_lcrec.preparation.raw_lines import BadLines, csv_records, json_records, read_lines
from tests.preparation.amazon.amazon_raw import json_lines, meta_2018, packed, review_2018

GOOD = [review_2018(f"A{n}", f"B{n}", 5.0, 1_400_000_000 + n) for n in range(2000)]


def test_a_truncated_gzip_names_the_file_and_the_lines(tmp_path):
    path = json_lines(tmp_path / "Video_Games.json.gz", GOOD)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"Video_Games.json.gz is damaged.*[\d,]+ lines could be read.*download"):
        list(read_lines(path))
    path.write_bytes(gzip.compress(b"x\n" * 99)[:-8] + b"\0" * 8)  # complete, but with a wrong checksum
    with pytest.raises(ValueError, match="99 lines could be read"):
        list(read_lines(path))
    path.write_bytes(b"\x1f\x8b\x08" + b"\xff" * 50)
    with pytest.raises(ValueError, match="0 lines could be read"):
        list(read_lines(path))


def test_gzip_is_detected_by_content_not_by_name(tmp_path):
    for name, content in (("a.json.gz", b"{}\n"), ("a.json", gzip.compress(b"{}\n"))):
        (tmp_path / name).write_bytes(content)
        assert list(read_lines(tmp_path / name)) == [(1, b"{}\n")]


def test_broken_json_lines_are_counted_and_named(tmp_path, caplog):
    lines = [json.dumps(record) for record in GOOD[:4]]
    lines[1:1] = ["{'asin': 'python'}", "", "[1]"]
    path = packed(tmp_path / "r.json.gz", "\n".join(lines).encode() + b'\n{"asin": "\xff"}\n{"asin": "tab\there"}\n')
    bad = BadLines(path)
    records = list(json_records(path, bad))
    assert [number for number, _ in records] == [1, 5, 6, 7, 9] and records[-1][1] == {"asin": "tab\there"}
    bad.log()
    assert bad.count == 3
    assert all(words in caplog.text for words in ("3 broken line(s)", "line 2: not JSON", "line 4: a list", "line 8"))


def test_too_many_broken_lines_are_an_error(tmp_path):
    path = packed(tmp_path / "r.json.gz", "oops\n" * 50)
    with pytest.raises(ValueError, match=r"more than 3 broken lines.*line 1: not JSON.*line 4"):
        list(json_records(path, BadLines(path, limit=3)))
    bad = BadLines(path, limit=50)
    assert not list(json_records(path, bad)) and bad.count == 50


def test_csv_is_read_line_by_line(tmp_path):
    path = tmp_path / "r.csv"
    path.write_bytes(b'\xef\xbb\xbfB1,A1,5.0,1\r\n"B,2","A ""x""",4,2\n\nB3,\xff,1,1\n"open,A4,1,1\nB5,A\x005,1,1\n')
    bad = BadLines(path)
    assert [row for _, row in csv_records(path, bad)] == [
        ["B1", "A1", "5.0", "1"], ["B,2", 'A "x"', "4", "2"], ["B5", "A\x005", "1", "1"],
    ]  # fmt: skip
    assert bad.count == 2


def test_ids_with_blanks_and_commas_stay_unusable_are_named(tmp_path, caplog):
    records = [
        review_2018(" A 1 ", "B,1\t2", 5.0, 1_400_000_000),
        review_2018("", "B1", 5.0, 1_400_000_000),
        review_2018("A2", None, 5.0, 1_400_000_000),
        review_2018("A2", "B\x00", 5.0, 1_400_000_000),
        review_2018("A2", "B2", "many", 1_400_000_000),
        review_2018("A2", "B2", 4, "1400000001"),
        review_2018("A2", "B3", 4, "yesterday"),
        {key: value for key, value in review_2018("A2", "B4", 4, 0).items() if key != "unixReviewTime"},
    ]
    path = json_lines(tmp_path / "r.json.gz", records)
    bad = BadLines(path)
    found = read_interactions(path, "2018", {}, bad)
    assert found.user_ids == ["A 1", "A2"] and found.item_ids == ["B,1\t2", "B2", "B4"]
    assert found.times.tolist() == [
        1_400_000_000_000,
        1_400_000_001_000,
        1_472_688_000_000,
    ]  # the first of September 2016
    assert found.users.tolist() == [0, 1, 1] and found.ratings.tolist() == [5, 4, 4]
    assert bad.count == 5 and "line 4: unusable id of an item: 'B\\x00'" in caplog.text


@pytest.mark.parametrize("reserved", ["null", " NA ", "nan", "None", "[PAD]"])
def test_reserved_ids_are_broken_lines(tmp_path, caplog, reserved):
    records = [
        review_2018(reserved, "B1", 5.0, 1_400_000_000),
        review_2018("A1", reserved, 5.0, 1_400_000_000),
        review_2018("A1", "Null", 5.0, 1_400_000_000),  # only the exact words are reserved
    ]
    path = json_lines(tmp_path / "r.json.gz", records)
    bad = BadLines(path)
    found = read_interactions(path, "2018", {}, bad)
    assert found.user_ids == ["A1"] and found.item_ids == ["Null"] and bad.count == 2
    assert f"line 1: unusable id of a user: RecBole reads {reserved.strip()!r}" in caplog.text
    assert (
        f"line 2: unusable id of an item: RecBole reads {reserved.strip()!r}" in caplog.text
        and "rename it" in caplog.text
    )
    meta = json_lines(tmp_path / "m.json.gz", [meta_2018(reserved, "lost"), meta_2018("B1", "kept")])
    lines = BadLines(meta)
    assert scan_metadata(meta, "2018", lines).rows == {"B1": 0} and lines.count == 1


def test_infinite_numbers_are_broken_lines(tmp_path, caplog):
    huge = 10**400
    records = [
        review_2018("A1", "B1", 5.0, huge),
        review_2018("A1", "B2", huge, 1_400_000_000),
        review_2018("A1", "B3", 1e300, 1_400_000_000),  # does not fit into 32 bits
        review_2018("A1", "B4", 4.5, 1_400_000_000),
    ]
    path = json_lines(tmp_path / "r.json.gz", records)
    bad = BadLines(path)
    found = read_interactions(path, "2018", {}, bad)
    assert found.item_ids == ["B4"] and found.ratings.tolist() == [4.5] and bad.count == 3
    assert "line 1: time 1000" in caplog.text and "line 2: rating 1000" in caplog.text
    assert "line 3: rating 1e+300 is not a number, or too large" in caplog.text


def test_seconds_and_milliseconds_are_distinguished(tmp_path, caplog):
    assert milliseconds(909_000_000) == (909_000_000_000, False)
    assert milliseconds("1523092443644") == (1_523_092_443_644, True)
    assert milliseconds("1.4e9") == (1_400_000_000_000, False)
    for wrong in (0, -5, "nan", None, 1.5e15, "2016-01-01"):
        with pytest.raises(ValueError, match="neither seconds nor milliseconds"):
            milliseconds(wrong)
    path = tmp_path / "r.csv"
    path.write_text("B1,A1,5.0,1400000000\nB2,A1,5.0,1400000000001\n")
    caplog.set_level(logging.WARNING)
    assert read_interactions(path, "2018", {"B1"}, BadLines(path)).times.tolist() == [
        1_400_000_000_000,
        1_400_000_000_001,
    ]
    assert "seconds (1) and in milliseconds (1)" in caplog.text


@pytest.mark.parametrize("users_first", [True, False])
def test_the_item_column_is_the_one_in_the_metadata(tmp_path, users_first):
    path = tmp_path / "r.csv"
    path.write_text("A1,B1,5.0,1400000000\nA2,B2,5.0,1400000000\n")
    found = read_interactions(path, "2018", {"B2"} if users_first else {"A1"}, BadLines(path))
    assert found.item_ids == (["B1", "B2"] if users_first else ["A1", "A2"])


def test_empty_files_and_other_tables_are_rejected(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("")
    with pytest.raises(ValueError, match=r"r\.csv contains no interaction"):
        read_interactions(path, "2018", {}, BadLines(path))
    path.write_text("user_id,asin,rating,timestamp\nA,B,1,1\n")
    with pytest.raises(ValueError, match="no column parent_asin"):
        read_interactions(path, "2023", {}, BadLines(path))
    path.write_text("A,B\n")
    with pytest.raises(ValueError, match="line 1: 2 fields, expected 4"):
        read_interactions(path, "2018", {}, BadLines(path, limit=0))
    meta = packed(tmp_path / "meta.json.gz", "")
    with pytest.raises(ValueError, match="contains no item"):
        scan_metadata(meta, "2018", BadLines(meta))


def test_the_first_line_with_a_title_counts(tmp_path):
    titles = [("B1", ""), ("B2", "two"), ("B1", "one"), ("B1", "uno"), ("B3", "x.getTime()"), ("B2", "")]
    path = json_lines(tmp_path / "m.json.gz", [*(meta_2018(*title) for title in titles), {"title": "no id"}])
    bad = BadLines(path)
    found = scan_metadata(path, "2018", bad)
    assert found.rows == {"B1": 0, "B2": 1, "B3": 2} and found.lines.tolist() == [3, 2, 5]
    assert found.titled.tolist() == [True, True, False]
    assert (found.duplicates, found.page_source, bad.count) == (3, 1, 1)
