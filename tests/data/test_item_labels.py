"""Item labels: one from a token, several from a token_seq, none for blank fields."""

from pathlib import Path

import pytest

from recbole_lcrec.data.item_labels import read_item_labels

TABLE = (
    "item_id:token\tbrand:token\tclass:token_seq\n"
    "b\tSealed Unit &amp; Co., Inc.\tAction Comedy\n"
    "a\t\tDrama\n"
    "c\tACME\t\n"
)


@pytest.fixture
def item_file(tmp_path: Path) -> Path:
    path = tmp_path / "x.item"
    path.write_text(TABLE, encoding="utf-8")
    return path


def test_token_is_one_label_and_token_seq_several(item_file: Path) -> None:
    ids = ["a", "b", "c", "unknown"]
    brands = read_item_labels(item_file, ids, "item_id", "brand")
    assert brands == [frozenset(), {"Sealed Unit & Co., Inc."}, {"ACME"}, frozenset()]
    genres = read_item_labels(item_file, ids, "item_id", "class")
    assert genres == [{"Drama"}, {"Action", "Comedy"}, frozenset(), frozenset()]


def test_a_missing_column_is_named_with_the_existing_ones(item_file: Path) -> None:
    with pytest.raises(ValueError, match=r"no column 'genre', required by index_label_field.* brand, class"):
        read_item_labels(item_file, ["a"], "item_id", "genre")


def test_duplicate_item_rows_are_an_error(item_file: Path) -> None:
    item_file.write_text(TABLE + "a\tB\tC\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"1 item\(s\) have several rows, first \['a'\]"):
        read_item_labels(item_file, ["a"], "item_id", "brand")
