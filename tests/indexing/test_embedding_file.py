"""The user's embeddings: rows by item id in any order and float format, and an error for each kind of bad file."""

import logging

import numpy as np
import pytest

from recbole_lcrec.indexing import embedding_file
from recbole_lcrec.indexing.embedding_file import check_embedding_file, load_embedding_file

IDS = ["7", "007", "b c", "x", "y"]
TABLE = np.arange(10, dtype=np.float64).reshape(5, 2) / 4


@pytest.fixture
def files(tmp_path):
    def write(table=TABLE, ids=IDS):
        np.save(tmp_path / "shop.npy", table)
        (tmp_path / "shop.ids").write_text("".join(f"{name}\n" for name in ids), encoding="utf-8")
        return tmp_path / "shop.npy", tmp_path / "shop.ids"

    return write


@pytest.mark.parametrize(
    "table",
    [
        TABLE,
        TABLE.astype(np.float32),
        TABLE.astype(np.float16),
        TABLE.astype(">f4"),
        np.asfortranarray(TABLE),
        np.asfortranarray(TABLE.astype(np.float32)),
    ],
)
@pytest.mark.parametrize("catalogue", [IDS, ["b c", "7"], ["y", "x", "b c", "007", "7"]])
@pytest.mark.parametrize("rows_at_once", [1, 2, 100])
def test_rows_in_catalogue_order(files, table, catalogue, rows_at_once, monkeypatch):
    monkeypatch.setattr(embedding_file, "_ROWS_AT_ONCE", rows_at_once)
    path, ids = files(table)
    found = load_embedding_file(path, ids, catalogue)
    assert found.dtype == np.float32 and found.shape == (len(catalogue), 2)
    np.testing.assert_array_equal(found, [TABLE[IDS.index(item)] for item in catalogue])


def test_exact_rows_are_mapped_copy_on_write(files):
    path, ids = files(TABLE.astype(np.float32))
    found = load_embedding_file(path, ids, IDS)
    assert isinstance(found, np.memmap)
    found[:] = 0
    np.testing.assert_array_equal(np.load(path), TABLE)


def test_default_ids_file_and_count_of_skipped_rows(files, caplog, tmp_path):
    path, ids = files()
    ids.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(IDS).encode())  # as saved by an editor on Windows
    check_embedding_file(path)
    with caplog.at_level(logging.INFO):
        found = load_embedding_file(path, None, ["x", "7"])
    np.testing.assert_array_equal(found, TABLE[[3, 0]])
    assert "5 rows -> [2, 2]; 3 rows of items outside the catalogue skipped" in caplog.text
    other = tmp_path / "elsewhere.txt"
    ids.rename(other)
    np.testing.assert_array_equal(load_embedding_file(path, other, ["x"]), TABLE[[3]])


def test_missing_files(files, tmp_path):
    path, ids = files()
    with pytest.raises(
        ValueError, match=r"index_embedding_file = '.*none.npy': there is no such file; .*leave the key"
    ):
        check_embedding_file(tmp_path / "none.npy")
    ids.unlink()
    for call in (lambda: check_embedding_file(path), lambda: load_embedding_file(path, None, IDS)):
        with pytest.raises(ValueError, match=r"index_embedding_ids = '.*shop.ids': there is no such file; write"):
            call()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.array([["a", None]], dtype=object), "not a complete .npy file of numbers"),
        (np.zeros((5, 2), dtype=np.int64), "holds int64, not float16, float32 or float64"),
        (np.zeros((5, 2), dtype=np.longdouble), "not float16, float32 or float64"),
        (np.zeros(5), r"has shape \[5\], not \[rows, D\]"),
        (np.zeros((5, 2, 2)), r"has shape \[5, 2, 2\]"),
        (np.zeros((5, 0)), r"has shape \[5, 0\]"),
        (np.zeros((0, 2)), r"has shape \[0, 2\]"),
    ],
)
def test_arrays_that_are_no_float_matrix(files, table, message):
    path, ids = files(table)
    for call in (lambda: check_embedding_file(path, ids), lambda: load_embedding_file(path, ids, IDS)):
        with pytest.raises(ValueError, match=f"index_embedding_file = .*{message}.*numpy.save"):
            call()


def test_files_that_are_no_npy_file(files):
    path, ids = files()
    whole = path.read_bytes()
    for content in (whole[:-1], whole[:20], b"", b"1,2\n3,4\n"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not a complete"):
            check_embedding_file(path, ids)
    with path.open("wb") as stream:
        np.savez(stream, TABLE)
    with pytest.raises(ValueError, match="archive of arrays"):
        check_embedding_file(path, ids)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (IDS[:-1], r"has 4 lines, but .*shop.npy has 5 rows"),
        ([*IDS, "z"], r"has 6 lines, but .* has 5 rows"),
        (["7", "007", "7", "x", "y"], r"'7' occurs in lines 1 and 3; keep one"),
        (["7", "007", " ", "x", "y"], r"line 3 is empty"),
        (["7", "007", "b c", "x", "yy"], r"no row for 1 of 5 items of the catalogue, first 'y'; add"),
        (["1", "2", "3", "4", "5"], r"no row for 5 of 5 items"),
    ],
)
def test_ids_that_do_not_match(files, names, message):
    path, ids = files(ids=names)
    with pytest.raises(ValueError, match=f"index_embedding_ids = .*{message}"):
        load_embedding_file(path, ids, IDS)


def test_ids_that_are_not_text(files):
    path, ids = files()
    ids.write_bytes(b"\xff\xfe7\x00")
    with pytest.raises(ValueError, match="not UTF-8 text"):
        load_embedding_file(path, ids, IDS)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_rows_that_are_not_finite_are_named(files, value):
    table = TABLE.copy()
    table[1, 1] = table[3, 0] = value
    path, ids = files(table)
    with pytest.raises(ValueError, match=r"rows of 2 items, first 'x', '007'; correct"):
        load_embedding_file(path, ids, ["x", "7", "007"])
    np.testing.assert_array_equal(load_embedding_file(path, ids, ["7", "y"]), TABLE[[0, 4]])
