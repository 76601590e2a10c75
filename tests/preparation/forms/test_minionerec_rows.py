"""Reading MiniOneRec's CSV files: how they are found, and their errors."""

import pytest

from recbole_lcrec.preparation.forms.minionerec import convert_minionerec
from recbole_lcrec.preparation.forms.minionerec_rows import COLUMNS, SourceFiles, find_source, read_rows
from tests.preparation.forms.minionerec_csv import cells, rows_of, split_files, write_csv


def convert(tmp_path, source):
    return convert_minionerec("shop", source, tmp_path / "dataset" / "shop")


def damaged(column, text):
    made = cells("A0", [0, 1], 2)
    made[COLUMNS.index(column)] = text
    return made


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (damaged("history_item_id", "[1, 2"), "expected a printed Python list, found '\\[1, 2'"),
        (damaged("history_item_id", "__import__('os').getcwd()"), "expected a printed Python list"),
        (damaged("history_item_id", "(1, 2)"), "expected a printed Python list"),
        (damaged("history_item_id", "[" * 5000), "expected a printed Python list"),
        (damaged("history_item_id", "[None]"), "unusable id"),
        (damaged("history_item_id", "[True]"), "unusable id"),
        (damaged("history_item_id", repr(list(range(10_001)))), "a history of 10,001 items"),
        (damaged("item_id", ""), "unusable id"),
        (damaged("item_id", "a\x00b"), "unusable id"),
        (damaged("user_id", " "), "unusable id"),
        (damaged("item_sid", "a_1 b_2"), "expected an index such as"),
        (damaged("item_sid", "<a_1><b_2"), "expected an index such as"),
        (damaged("history_item_title", "['a"), "expected a printed Python list"),
        (["A0", "[1]"], "2 fields, but the header has 7"),
    ],
)
def test_a_damaged_row_is_named_by_its_line(tmp_path, bad, message):
    """The row before has a title of two lines, so the damaged row starts on line 4."""
    path = write_csv(tmp_path / "r.csv", [cells("A1", [0], 5), bad])
    with pytest.raises(ValueError, match=rf"r\.csv, line 4: {message}"):
        convert(tmp_path, SourceFiles((path,)))
    assert not (tmp_path / "dataset").exists()


def test_overlong_and_unterminated_fields(tmp_path):
    path = write_csv(tmp_path / "r.csv", [damaged("item_title", "x" * 200_000)])
    with pytest.raises(ValueError, match=r"r\.csv, line 2 is damaged \(field larger"):
        list(read_rows(path))
    path.write_text('user_id,history_item_id,item_id\nA,[1],2\nA,"[1, 2],3\n')
    with pytest.raises(ValueError, match=r"r\.csv, line 3 is damaged"):
        list(read_rows(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"user_id,item_id\n", "no column 'history_item_id'; it has user_id, item_id"),
        (b"user_id,history_item_id,item_id\n", "no row"),
        (b"user_id,history_item_id,item_id\nA,[1],\xff\n", "is not UTF-8"),
    ],
)
def test_files_that_are_not_minionerec(tmp_path, content, message):
    path = tmp_path / "r.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        convert(tmp_path, SourceFiles((path,)))
    with pytest.raises(ValueError, match="cannot be read"):
        convert(tmp_path, SourceFiles((tmp_path / "none.csv",)))


def test_source_files_are_found(tmp_path):
    rows = rows_of({"A0": list(range(12))}, 10)
    plain = tmp_path / "plain"
    for split in ("train", "valid", "test"):
        write_csv(plain / f"{split}.csv", [cells("A0", [1], 2)])
    assert [path.name for path in find_source(plain, "any").rows] == ["train.csv", "valid.csv", "test.csv"]

    two = split_files(split_files(tmp_path / "two", rows), rows, "Toys_5_2016.csv")
    assert {path.name for path in find_source(two, "Toys").rows} == {"Toys_5_2016.csv"}
    with pytest.raises(ValueError, match=r"train: there is neither .*train\.csv nor .*other_\*\.csv"):
        find_source(two, "other")
    write_csv(two / "test" / "Toys_6.csv", [])
    with pytest.raises(ValueError, match="test: 2 files match"):
        find_source(two, "Toys")
