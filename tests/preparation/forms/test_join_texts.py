"""Texts from Amazon's metadata for a data set that has only ratings."""

import errno
import logging
import os

import pytest

from recbole_lcrec.preparation.forms.join_texts import category_in, find_metadata, join_texts
from recbole_lcrec.runtime.artifacts import DiskFullError
from tests.preparation.amazon.amazon_raw import json_lines, meta_2018, meta_2023, packed
from tests.preparation.forms.made import columns, names_in, write_table

NAME = "amazon-video-games-18"
RECORDS = [
    meta_2018("B1", "One &amp; <b>only</b>", brand="by\n    Maker"),
    meta_2018("B9", "not in the data"),
    meta_2018("B2", ""),
    meta_2018("B3", "Three\twith tab 🎮", description=[], category=["a", "b"]),
    meta_2018("B1", "a second line of it"),
]
TEXTS = ("item_id", "title", "description", "brand", "categories")
EXPECTED = [
    ("B3", "Three with tab 🎮", "", "Maker", "a,b"),
    ("B1", "One & only", "A fine thing.", "Maker", "Video Games,PC,Games"),
    ("B4", "", "", "", ""),
    ("B2", "", "A fine thing.", "Maker", "Video Games,PC,Games"),
]


def ratings(tmp_path, items=("B3", "B1", "B4", "B3", "B2"), name=NAME):
    header = ["user_id:token", "item_id:token", "rating:float", "timestamp:float"]
    write_table(tmp_path / name / f"{name}.inter", header, [("u", item, 5.0, at) for at, item in enumerate(items)])
    return tmp_path / name


def test_joined_and_cleaned(tmp_path, caplog):
    folder = ratings(tmp_path)
    json_lines(folder / "raw" / "meta_Video_Games.json.gz", RECORDS)
    with caplog.at_level(logging.INFO):
        counts = join_texts(NAME, folder)
    assert counts == {
        "items": 4,
        "items without metadata": 1,
        "items with metadata but without a title": 1,
        "items with texts": 3,
    }
    assert columns(folder / f"{NAME}.item", *TEXTS) == EXPECTED
    assert "1 items without metadata" in caplog.text
    assert names_in(folder) == [f"{NAME}.inter", f"{NAME}.item", "raw"]


def test_an_older_item_file_keeps_its_columns_and_rows(tmp_path):
    folder = ratings(tmp_path)
    header = ["price:float", "item_id:token", "title:token_seq"]
    write_table(folder / f"{NAME}.item", header, [("9.5", "B1", ""), ("1", "B7", " ")])
    meta = json_lines(tmp_path / "elsewhere.json", RECORDS)
    join_texts(NAME, folder, meta)
    path = folder / f"{NAME}.item"
    assert columns(path, *TEXTS) == [*EXPECTED, ("B7", "", "", "", "")]
    assert columns(path, "price") == [("",), ("9.5",), ("",), ("",), ("1",)]
    assert path.read_text(encoding="utf-8").split("\n")[0].split("\t")[:2] == ["item_id:token", "price:float"]

    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"has texts already \(title, description, brand, categories\)"):
        join_texts(NAME, folder, meta)
    assert path.read_bytes() == before
    join_texts(NAME, folder, meta, overwrite=True)
    assert path.read_bytes() == before


def test_the_edition_of_2023(tmp_path):
    folder = ratings(tmp_path, ("B1", "B2"), "amazon-video-games-23")
    records = [meta_2023("B1", "One"), meta_2023("B5", "Five")]
    json_lines(folder / "raw" / "meta_Video_Games.jsonl.gz", records)
    assert join_texts("amazon-video-games-23", folder)["items without metadata"] == 1
    renamed = json_lines(tmp_path / "meta.json", records)  # the edition is inferred from the data set's name
    assert join_texts("amazon-video-games-23", folder, renamed, overwrite=True)["items with texts"] == 1
    assert columns(folder / "amazon-video-games-23.item", "item_id", "title", "brand")[0] == ("B1", "One", "Maker")


def test_metadata_of_other_data(tmp_path):
    folder = ratings(tmp_path, ("17", "4"))
    meta = json_lines(tmp_path / "meta.json", RECORDS)
    with pytest.raises(ValueError, match=r"none of the 2 items .*: its ids look like 'B1', theirs like '17'"):
        join_texts(NAME, folder, meta)
    assert names_in(folder) == [f"{NAME}.inter"]


def test_categories_in_recboles_names():
    assert category_in("amazon-video-games-18") == ("Video_Games", "2018")
    assert category_in("amazon-movies-tv-23") == ("Movies_and_TV", "2023")
    assert category_in("amazon-fashion-18") == ("AMAZON_FASHION", "2018")
    assert category_in("Toys_and_Games") == ("Toys_and_Games", None)


def test_metadata_file_that_is_found(tmp_path):
    folder = ratings(tmp_path)
    with pytest.raises(
        ValueError, match=r"no metadata .*https://.*meta_Video_Games\.json\.gz, or select the file with --meta"
    ):
        find_metadata(NAME, folder)
    with pytest.raises(ValueError, match="no metadata of 'my-shop'"):
        find_metadata("my-shop", folder)
    toys = json_lines(folder / "raw" / "meta_Toys.json", RECORDS)
    assert find_metadata(NAME, folder) == toys
    books = json_lines(folder / "raw" / "meta_Books.json", RECORDS)
    with pytest.raises(ValueError, match=r"several files contain metadata: meta_Books\.json, meta_Toys\.json"):
        find_metadata(NAME, folder)
    games = json_lines(folder / "raw" / "meta_Video_Games.json.gz", RECORDS)
    assert find_metadata(NAME, folder) == games and books.exists()
    with pytest.raises(ValueError, match="no such metadata file"):
        join_texts(NAME, folder, tmp_path / "none.gz")
    with pytest.raises(ValueError, match="edition = '2014' must be one of 2018, 2023"):
        join_texts(NAME, folder, games, "2014")


@pytest.mark.parametrize("content", [b"", b"{'asin': 'B1'}\n" * 200, b"\x1f\x8b\x08broken"])
def test_files_that_are_not_metadata(tmp_path, content):
    folder = ratings(tmp_path)
    (tmp_path / "meta.json.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"meta\.json\.gz"):
        join_texts(NAME, folder, tmp_path / "meta.json.gz")
    assert names_in(folder) == [f"{NAME}.inter"]


def test_broken_lines_are_counted(tmp_path, caplog):
    folder = ratings(tmp_path)
    lines = '{"asin": "B1", "title": "x"}\n{"asin": \n{"asin": "B3", "title": "nul \\u0000 byte"}\n'
    with caplog.at_level(logging.WARNING):
        join_texts(NAME, folder, packed(tmp_path / "meta.json.gz", lines))
    assert "1 broken line(s) skipped: line 2" in caplog.text
    assert columns(folder / f"{NAME}.item", "item_id", "title")[:2] == [("B3", "nul byte"), ("B1", "x")]


def test_missing_and_damaged_data(tmp_path):
    meta = json_lines(tmp_path / "meta.json", RECORDS)
    with pytest.raises(ValueError, match=r"\.inter cannot be read"):
        join_texts(NAME, tmp_path, meta)
    with pytest.raises(ValueError, match="no column 'iid', required by --item_field"):
        join_texts(NAME, ratings(tmp_path), meta, item_field="iid")
    with pytest.raises(ValueError, match="contains no interaction"):
        join_texts(NAME, ratings(tmp_path, ()), meta)
    folder = ratings(tmp_path)
    write_table(folder / f"{NAME}.item", ["item_id:token"], [("B1",), ("B1",)])
    with pytest.raises(ValueError, match="items have several rows"):
        join_texts(NAME, folder, meta)


def test_a_full_disk_leaves_the_older_file(tmp_path, monkeypatch):
    folder = ratings(tmp_path)
    meta = json_lines(tmp_path / "meta.json", RECORDS)
    path = write_table(folder / f"{NAME}.item", ["item_id:token"], [("B1",)])
    before = path.read_bytes()

    def full(old, new):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DiskFullError, match="the existing item file is unchanged: free some space") as caught:
        join_texts(NAME, folder, meta)
    assert f"no space left in {folder}" in str(caught.value)
    assert path.read_bytes() == before and names_in(folder) == [f"{NAME}.inter", f"{NAME}.item"]


def test_a_read_only_folder_is_an_error(tmp_path, monkeypatch):
    folder = ratings(tmp_path)
    meta = json_lines(tmp_path / "meta.json", RECORDS)

    def read_only(path, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", read_only)
    with pytest.raises(ValueError, match="is not writable"):
        join_texts(NAME, folder, meta)
