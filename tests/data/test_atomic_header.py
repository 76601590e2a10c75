"""Headers of files that are atomic, and of files that are not."""

import bz2
import gzip
import lzma

import pytest

from recbole_lcrec.data.atomic_header import atomic_columns, require_columns

HEADER = "item_id:token\ttitle:token_seq\tprice:float\n"
TEXT = f"{HEADER}i1\tcaf\u00e9\t1.5\n"


@pytest.fixture
def written(tmp_path):
    def write(content):
        path = tmp_path / "shop.item"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize(
    ("encoding", "read_as"), [("utf-8", "utf-8"), ("latin-1", "latin-1"), ("utf-8-sig", "utf-8-sig")]
)
def test_names_and_types_in_order(written, encoding, read_as):
    columns = atomic_columns(written(TEXT.encode(encoding)), "\t", read_as)
    assert list(columns.items()) == [("item_id", "token"), ("title", "token_seq"), ("price", "float")]


def test_other_separators_and_line_endings(written):
    path = written(b"item_id:token,vector:float_seq\r\ni1,1 2\r\n")
    assert atomic_columns(path, ",", "utf-8") == {"item_id": "token", "vector": "float_seq"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; its first line must name the columns"),
        (HEADER.encode(), "has a header but no rows"),
        (HEADER.encode() + b"\n \n", "has a header but no rows"),
        (gzip.compress(TEXT.encode()), r"is compressed \(gzip\); decompress it"),
        (bz2.compress(TEXT.encode()), r"is compressed \(bzip2\); decompress it"),
        (lzma.compress(TEXT.encode()), r"is compressed \(xz\); decompress it"),
        (TEXT.encode("latin-1"), "is not utf-8 .*--encoding"),
        (TEXT.encode("utf-8-sig"), "starts with a byte-order mark; .*--encoding=utf-8-sig"),
        (b"item_id:token\titem_id:token\na\tb\n", "names the column 'item_id' twice"),
        (b"item_id:token\na\tb\n", r"first row has 2 fields, but the header names 1 columns.*field_separator"),
    ],
)
def test_files_that_are_not_atomic_are_named(written, content, message):
    path = written(content)
    with pytest.raises(ValueError, match=message) as caught:
        atomic_columns(path, "\t", "utf-8")
    assert str(path) in str(caught.value)


def test_missing_required_columns_are_named(written):
    path = written(TEXT.encode())
    require_columns(path, ["title", "price"], "\t", "utf-8", "text_title_fields")
    with pytest.raises(ValueError, match="no column 'brand', required by index_label_field; its columns are item_id, "):
        require_columns(path, ["title", "brand"], "\t", "utf-8", "index_label_field")


@pytest.mark.parametrize(
    "content", [TEXT.replace("\n", "\n\n", 1), f"PK{TEXT}", TEXT.replace("price:float", "price:int")]
)
def test_headers_that_recbole_reads_are_accepted(written, content):
    """Blank lines after the header, names that start like compressed files, unknown types of unneeded columns."""
    path = written(content.encode())
    names = ["PKitem_id" if content.startswith("PK") else "item_id", "title"]
    require_columns(path, names, "\t", "utf-8", "text_title_fields")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TEXT.replace(":float", ""), r"name 'price' with its type, as price:token, .* not ''"),
        (TEXT.replace(":float", ":double"), r"name 'price' with its type, .* not 'double'"),
    ],
)
def test_columns_without_a_recbole_type(written, content, message):
    with pytest.raises(ValueError, match=message):
        require_columns(written(content.encode()), ["item_id", "price"], "\t", "utf-8", "whoever asks")


def test_a_wrong_separator_is_reported(written):
    path = written(TEXT.replace("\t", ",").encode())
    with pytest.raises(ValueError, match=r"with columns separated by '\\t' \(field_separator\)"):
        require_columns(path, ["item_id"], "\t", "utf-8", "ITEM_ID_FIELD")


def test_an_unknown_encoding_is_named(written):
    with pytest.raises(ValueError, match="encoding = 'utf8x': Python has no encoding of this name"):
        atomic_columns(written(TEXT.encode()), "\t", "utf8x")


def test_a_wrong_separator_is_suggested(written):
    path = written(b"item_id:token,title:token_seq\ni1,lamp\n")
    with pytest.raises(ValueError, match=r"no column 'title'.* or set --field_separator"):
        require_columns(path, ["title"], "\t", "utf-8", "text_title_fields")
    with pytest.raises(ValueError, match=r"'item_id' with its type.*\(field_separator\)"):
        require_columns(path, ["item_id"], "\t", "utf-8", "ITEM_ID_FIELD")


def test_ids_must_be_tokens(written):
    path = written(b"item_id:float\n1\n")
    with pytest.raises(ValueError, match="'item_id' is of type float, but ITEM_ID_FIELD needs token: write item_id:to"):
        require_columns(path, ["item_id"], "\t", "utf-8", "ITEM_ID_FIELD", "token")
    require_columns(path, ["item_id"], "\t", "utf-8", "a column")
