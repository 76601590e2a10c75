"""Tables that almost match a supported format are read as intended, or rejected with a helpful error."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recbole_lcrec.data.item_text import clean_text
from recbole_lcrec.preparation.tables.columns import parse_types
from recbole_lcrec.preparation.tables.importing import ImportOptions, import_tables
from recbole_lcrec.preparation.tables.reading import RawTable, open_table
from recbole_lcrec.preparation.tables.rows import require_numbers

CSV = "user_id,item_id,timestamp\nä,x,1700000000\nä,y,1700000100\nb,x,1700000000\n"
FIELDS = {name: name for name in ("user_id", "item_id", "timestamp")}


def read(path: Path, content: bytes | str, encoding: str | None = None) -> RawTable:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_table(path, encoding=encoding).read(FIELDS, repeated=("user_id", "item_id"))


@pytest.mark.parametrize(
    ("named", "written"), [("utf-8", "utf-8-sig"), ("UTF8", "utf-8-sig"), ("utf-16-le", "utf-16"), ("utf-16", "utf-16")]
)
def test_a_byte_order_mark_is_not_part_of_the_header(tmp_path: Path, named: str, written: str) -> None:
    assert read(tmp_path / "t.csv", CSV.encode(written), named).columns["user_id"].tolist() == ["ä", "ä", "b"]


@pytest.mark.parametrize("name", ["hex", "rot13", "base64"])
def test_codecs_that_are_not_text_encodings(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"--encoding='{name}' is unknown"):
        read(tmp_path / "t.csv", CSV, name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\n" + CSV, "line 1 is blank; remove it"),
        ("sep=;\n" + CSV.replace(",", ";"), "line 1 names the separator; remove it"),
        ('[{"user_id": 1},\n{"user_id": 2}]', "is one JSON array; write its records as JSON lines"),
        (json.dumps([{"user_id": 1}], indent=1), "is one JSON array"),
        (json.dumps({"user_id": 1}, indent=1), "no line with a JSON object.*line 1: not JSON .*one object per line"),
        ('{"user_id": 1}'.encode("utf-16"), "JSON lines in utf-16, but only UTF-8 is supported"),
        (CSV + "b,x," + "9" * 200_000 + "\n", None),
    ],
)
def test_almost_valid_tables(tmp_path: Path, content: str | bytes, message: str | None) -> None:
    if message is None:
        (broken,) = read(tmp_path / "t", content).broken
        assert broken.line == 5 and "field of over 131,072 characters" in broken.reason
        return
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "t", content)


def test_json_lines_in_a_given_encoding(tmp_path: Path) -> None:
    line = json.dumps({"user_id": "ä", "item_id": 1, "timestamp": 2}, ensure_ascii=False) + "\n"
    assert read(tmp_path / "t.jsonl", line.encode("cp1252"), "cp1252").columns["user_id"].tolist() == ["ä"]
    assert read(tmp_path / "t.jsonl", "\ufeff" + line).columns["user_id"].tolist() == ["ä"]
    with pytest.raises(ValueError, match=r"line 1: not JSON .*0xe4"):
        read(tmp_path / "t.jsonl", line.encode("cp1252"))


def test_lone_surrogates(tmp_path: Path) -> None:
    """JSON can contain half of an emoji, a UTF-8 file cannot: it is invalid in an id, and a question mark in a text."""
    lines = ['{"user_id": "a", "item_id": 1, "timestamp": 2, "review": "cut \\ud83d"}']
    lines += ['{"user_id": "a\\ud83d", "item_id": 1, "timestamp": 2}', '{"user_id": "\\ud83c\\udfae", "item_id": 1}']
    table = read(tmp_path / "t.jsonl", "\n".join(lines))
    assert table.columns["user_id"].tolist() == ["a", "🎮"]
    assert [(one.line, "user_id contains half of a character" in one.reason) for one in table.broken] == [(2, True)]
    (tmp_path / "t.jsonl").write_text(lines[0])
    report = import_tables(ImportOptions("shop", tmp_path / "t.jsonl", data_path=tmp_path))
    assert (tmp_path / "shop" / "shop.inter").read_text().endswith("\tcut ?\n")
    assert "cleaned_interactions" in {one.key for one in report.findings}
    assert clean_text("\ud83d a") == "? a"


def test_parquet_columns_are_read_unchanged(tmp_path: Path) -> None:
    """Whole numbers beside missing ones keep all digits, a pandas index is a column, bytes are text."""
    path, big = tmp_path / "t.parquet", 2**53 + 1
    columns = [pa.array([big, None]), pa.array([b"x", "ü".encode()]), pa.array([1, 2]), pa.array([b"\xff", b""])]
    pq.write_table(pa.Table.from_arrays([*columns, columns[3]], [*FIELDS, "photo", "photo"]), path)
    table = open_table(path).read(FIELDS)
    assert table.columns.to_numpy().tolist() == [[str(big), "x", "1"], ["", "ü", "2"]]
    with pytest.raises(ValueError, match="column 'photo' contains bytes that are not UTF-8"):
        pq.write_table(pa.Table.from_arrays(columns, [*FIELDS, "photo"]), path)
        open_table(path).read({**FIELDS, "photo": "photo"})
    pd.DataFrame({"item_id": [7, 9, 8], "user_id": ["a", "b", "c"], "timestamp": 1}).set_index("item_id").to_parquet(
        path
    )
    assert open_table(path).read(FIELDS).columns["item_id"].tolist() == ["7", "9", "8"]


def test_columns_of_number_lists(tmp_path: Path) -> None:
    content = CSV.replace("timestamp", "timestamp,vector").replace("00\n", "00,1 -2.5e3\n")
    (tmp_path / "t.csv").write_text(content)
    table = open_table(tmp_path / "t.csv").read({**FIELDS, "vector": "vector"})
    types = parse_types(["vector=float_seq"])
    require_numbers(table, types)
    table.columns.loc[1, "vector"] = "[1.5, 2]"
    require_numbers(table, types)
    table.columns.loc[1, "vector"] = "1 red"
    with pytest.raises(ValueError, match=r"line 3: '1 red'.*--types vector=token"):
        require_numbers(table, types)
    table.columns.loc[1, "vector"] = "[PAD]"
    with pytest.raises(ValueError, match=r"line 3: '\[PAD\]'"):
        require_numbers(table, {"vector": "float"})


def test_an_unrelated_item_table_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(CSV)
    (tmp_path / "items.csv").write_text("item_id,title\nB2,Lamp\nB1,Rug\n")
    with pytest.raises(ValueError, match=r"none of its items: they look like 'x', .*like 'B1'; .*items\.item_id="):
        import_tables(ImportOptions("shop", tmp_path / "t.csv", tmp_path / "items.csv", tmp_path))
    assert not (tmp_path / "shop").exists()
