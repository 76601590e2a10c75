"""Tables of every format are read as the texts that were written, with their line numbers."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recbole_lcrec.data.times import parse_times
from recbole_lcrec.preparation.tables.columns import Header, guess_type, match_columns, parse_pairs, parse_types
from recbole_lcrec.preparation.tables.reading import RawTable, open_table

ROWS = [
    ["007", "1e5", "NA", "plain"],
    ["null", "True", "0x10", "two\nlines"],
    [" u1 ", "ünï 🎮", "", 'said "hi", left'],
    ["nan", "1.0", "None", "tab\there"],
]
NAMES = ["a", "b", "c", "d"]


def written(path: Path, separator: str = ",", encoding: str = "utf-8", pack: bool = False) -> Path:
    stream = io.StringIO()
    csv.writer(stream, delimiter=separator, lineterminator="\n").writerows([NAMES, *ROWS])
    content = stream.getvalue().encode(encoding)
    path.write_bytes(gzip.compress(content) if pack else content)
    return path


def read(path: Path, names: list[str] = NAMES, **how: object) -> RawTable:
    return open_table(path, **how).read({name: name for name in names})  # type: ignore[arg-type]


@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("pack", [False, True])
def test_texts_are_read_unchanged(tmp_path: Path, separator: str, encoding: str, pack: bool) -> None:
    table = read(written(tmp_path / "my.data", separator, encoding, pack))
    assert table.columns.to_numpy().tolist() == ROWS
    assert table.lines.tolist() == [2, 3, 5, 6], "the second row takes two lines"
    assert not table.broken and len(set(table.digests.tolist())) == 4


def test_only_requested_columns_are_read_and_renamed(tmp_path: Path) -> None:
    table = open_table(written(tmp_path / "my.csv")).read({"title": "d", "user_id": "a"}, repeated=("user_id",))
    assert table.columns.columns.tolist() == ["title", "user_id"]
    assert table.columns["user_id"].tolist() == [row[0] for row in ROWS]
    assert open_table(tmp_path / "my.csv").read({"only": "b"}).columns["only"].tolist() == [row[1] for row in ROWS]


def test_digests_cover_unrequested_columns(tmp_path: Path) -> None:
    path = tmp_path / "my.csv"
    path.write_text("a,b\n1,x\n1,y\n1,x\n")
    digests = read(path, ["a"]).digests.tolist()
    assert digests[0] == digests[2] != digests[1]


def test_broken_records_are_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "my.csv"
    path.write_text('a,b\n1,2\n1,2,3\n\n4\n"x"y,5\n6,"two\nlines"\n7,8\n9,"open\n10,11\n')
    table = read(path, ["a", "b"])
    assert table.columns.to_numpy().tolist() == [["1", "2"], ["6", "two\nlines"], ["7", "8"]]
    assert table.lines.tolist() == [2, 7, 9]
    assert [(record.line, record.n_lines) for record in table.broken] == [(3, 1), (5, 1), (6, 1), (10, 2)]
    assert "3 fields where the first line has 2" in table.broken[0].reason
    assert "--no_quotes" in table.broken[2].reason and "never closed" in table.broken[3].reason


def test_quotes_as_ordinary_characters(tmp_path: Path) -> None:
    path = tmp_path / "my.tsv"
    path.write_text('a\tb\n12" vinyl\t"Best of" vinyl\n"open\tx\n')
    table = read(path, ["a", "b"], quotes=False)
    assert table.columns.to_numpy().tolist() == [['12" vinyl', '"Best of" vinyl'], ['"open', "x"]]


def test_nul_bytes_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "my.csv"
    path.write_bytes(b"a,b\n1,x\0y\n")
    assert read(path, ["a", "b"]).columns["b"].tolist() == ["x\0y"]


def test_invalid_utf8_is_named_by_line_and_byte(tmp_path: Path) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes("a,b\n1,x\n2,Café\n".encode("cp1252"))
    with pytest.raises(ValueError, match=r"latin\.csv: line 3, byte 6 \(0xe9\) is not utf-8.*--encoding=cp1252.*Café"):
        read(path, ["a", "b"])
    assert read(path, ["a", "b"], encoding="cp1252").columns["b"].tolist() == ["x", "Café"]
    with pytest.raises(ValueError, match="'latin-99' is unknown"):
        read(path, ["a"], encoding="latin-99")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (gzip.compress(b""), "is empty"),
        (b"a,b\n", "no rows"),
        (b"PK\x03\x04rest", "save it as CSV"),
        (gzip.compress(b"a,b\n" + bytes(range(48, 120)) * 99)[:40], "damaged"),
        (b"PAR1 and nothing", "parquet"),
    ],
)
def test_files_that_are_not_tables(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "my.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read(path, ["a"])
    assert str(path) in str(caught.value)


def test_no_such_file_and_separator(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.csv cannot be read"):
        open_table(tmp_path / "nowhere.csv")
    with pytest.raises(ValueError, match="cannot be read"):
        open_table(tmp_path)
    path = written(tmp_path / "my.csv", "#")
    assert read(path, separator="#").columns.to_numpy().tolist() == ROWS
    with pytest.raises(ValueError, match="one character"):
        open_table(path, separator="ab")
    assert open_table(written(tmp_path / "my.tsv", "\t"), separator="tab").columns == tuple(NAMES)


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "my.jsonl"
    records = [{"a": 7, "b": ["x", "y"], "c": None}, {"a": "007", "c": 1.5}, {"a": True, "b": {"k": 1}}]
    lines = [json.dumps(record) for record in records]
    path.write_text("\n".join([lines[0], "", "[1]", '{"a": ', *lines[1:]]))
    table = read(path, ["a", "b", "c"])
    assert table.columns.to_numpy().tolist() == [["7", "x y", ""], ["007", "", "1.5"], ["true", '{"k": 1}', ""]]
    assert table.lines.tolist() == [1, 5, 6] and [record.line for record in table.broken] == [3, 4]


@pytest.mark.parametrize("escapes", [True, False])
def test_json_columns_that_appear_late(tmp_path: Path, escapes: bool) -> None:
    """Expected names are found on any line, others on the first thousand."""
    path = tmp_path / "my.jsonl"
    records: list[dict[str, Any]] = [{"a": n} for n in range(2500)]
    records[1200]["größe"], records[1900]["b"], records[2400]["c"] = "XL", "z", "y"
    path.write_text("\n".join(json.dumps(record, ensure_ascii=escapes) for record in records), encoding="utf-8")
    assert open_table(path).columns == ("a",)
    assert open_table(path, expected={"b", "größe", "nowhere"}).columns == ("a", "größe", "b")
    table = open_table(path, expected={"b"}).read({"x": "b", "y": "a"})
    assert table.columns["x"].tolist() == ["z" if n == 1900 else "" for n in range(2500)]


@pytest.mark.parametrize("line", ["", "[1]", "{}"])
def test_json_lines_with_a_late_first_record(tmp_path: Path, line: str) -> None:
    path = tmp_path / "my.jsonl"
    path.write_text('{"}\n' * (line != "") + f"{line}\n" * 1100 + '{"a": 1, "b": 2}\n{"c": 3}')
    assert open_table(path).columns == ("a", "b")


def test_parquet(tmp_path: Path) -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        pytest.skip("pyarrow is not there, or does not go with this NumPy")
    frame = pd.DataFrame(
        {
            "text": ["007", None, "NA"],
            "whole": [1, 2, 3],
            "gaps": [1.0, np.nan, 3.0],
            "price": [1.5, 2.0, np.nan],
            "time": pd.to_datetime(["2024-01-31T10:00:00.5Z", None, "2024-02-01T00:00:00Z"], format="ISO8601"),
            "day": [date(2024, 1, 31), None, date(2024, 2, 1)],
            "words": [["a", "b"], None, []],
        }
    )
    frame.to_parquet(tmp_path / "my.parquet")
    table = read(tmp_path / "my.parquet", list(frame.columns))
    assert table.unit == "row" and table.lines.tolist() == [1, 2, 3]
    columns = {name: table.columns[name].tolist() for name in frame.columns}
    assert columns["text"] == ["007", "", "NA"] and columns["whole"] == ["1", "2", "3"]
    assert columns["gaps"] == ["1", "", "3"] and columns["price"] == ["1.5", "2.0", ""]
    assert columns["day"] == ["2024-01-31", "", "2024-02-01"] and columns["words"] == ["a b", "", ""]
    moments = [datetime(2024, 1, 31, 10, 0, 0, 500_000, UTC), datetime(2024, 2, 1, tzinfo=UTC)]
    times = parse_times(table.columns["time"].to_numpy(object))
    assert times.nanoseconds[[0, 2]].tolist() == [int(moment.timestamp() * 1000) * 10**6 for moment in moments]


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my.parquet").write_bytes(b"PAR1....PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)  # the import fails
    with pytest.raises(ValueError, match="pip install pyarrow"):
        open_table(tmp_path / "my.parquet")


# --- columns ---------------------------------------------------------------------------------------------------------


def matched(inter: list[str], items: list[str] | None, *words: str) -> dict[str, dict[str, str]]:
    headers = {"interactions": Header(Path("i.csv"), tuple(inter))}
    if items is not None:
        headers["items"] = Header(Path("p.csv"), tuple(items))
    return match_columns(headers, parse_pairs(words))


def test_pairs_with_commas_or_blanks() -> None:
    pairs = parse_pairs(["user_id=customer,item_id=sku", "timestamp=order date title=name", "items.x=a=b"])
    assert [str(pair) for pair in pairs] == [
        "user_id=customer",
        "item_id=sku",
        "timestamp=order date",
        "title=name",
        "items.x=a=b",
    ]
    for wrong in ("user_id", "=x", "user id=x", "other.x=y"):
        with pytest.raises(ValueError, match="is not a pair"):
            parse_pairs([wrong])
    assert parse_types(["price=float,about=token_seq"]) == {"price": "float", "about": "token_seq"}
    with pytest.raises(ValueError, match="did you mean 'float'"):
        parse_types(["price=floats"])
    with pytest.raises(ValueError, match="is fixed"):
        parse_types(["user_id=float"])


def test_standard_names_need_no_pair() -> None:
    found = matched(["rating", "timestamp", "item_id", "user_id", "other"], ["title", "item_id", "colour"])
    assert found == {
        "interactions": {name: name for name in ("user_id", "item_id", "timestamp", "rating")},
        "items": {"item_id": "item_id", "title": "title"},
    }


def test_each_table_uses_the_pair_that_fits_it() -> None:
    found = matched(
        ["customer", "sku", "at", "name"],
        ["id", "name", "paint"],
        "user_id=customer item_id=sku item_id=id timestamp=at title=name colour=paint",
    )
    assert found["interactions"] == {"user_id": "customer", "item_id": "sku", "timestamp": "at"}
    assert found["items"] == {"item_id": "id", "title": "name", "colour": "paint"}
    qualified = matched(
        ["user_id", "id", "sku", "timestamp"], ["id", "sku"], "interactions.item_id=sku", "items.item_id=id"
    )
    assert qualified["interactions"]["item_id"] == "sku" and qualified["items"]["item_id"] == "id"


@pytest.mark.parametrize(
    ("inter", "items", "words", "message"),
    [
        (["userid", "item_id", "timestamp"], None, [], "no column 'user_id'.*'userid'.*did you mean 'userid'"),
        (["user_id", "item_id", "timestamp"], ["id"], [], r"p\.csv: no column 'item_id'"),
        (["customer", "item_id", "timestamp"], None, ["user_id=custmer"], "'custmer'.*did you mean 'customer'"),
        (["user_id", "item_id", "timestamp"], None, ["title=name"], "add --items"),
        (["user_id", "item_id", "timestamp", "x"], ["item_id", "x"], ["y=x"], r"items\.y=x or interactions\.y=x"),
        (["user_id", "a", "b", "timestamp"], None, ["item_id=a item_id=b"], "both 'a' and 'b'"),
        (["user_id", "user_id", "item_id", "timestamp"], None, [], "several columns are called 'user_id'"),
        (
            ["user_id", "item_id", "timestamp", "rating"],
            ["item_id", "stars"],
            ["items.rating=stars"],
            "both tables have a field 'rating'",
        ),
    ],
)
def test_columns_that_do_not_match(inter: list[str], items: list[str] | None, words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        matched(inter, items, *words)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1.5", "2", ""], "float"),
        (["1", "2", "3"], "token"),
        (["01.5", "2.5"], "token"),
        (["1.5", "n/a"], "token"),
        (["red", "dark blue", "green"], "token"),
        (["a long text", "another text", "x"], "token_seq"),
        (["", " "], "token"),
    ],
)
def test_types_are_guessed_cautiously(values: list[str], kind: str) -> None:
    assert guess_type("items", "other", np.array(values, dtype=object)) == kind
    assert guess_type("items", "title", np.array(values, dtype=object)) == "token_seq"
