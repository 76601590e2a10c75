"""Item texts: cleaning by example, alignment with the catalogue, and errors that name the remedy."""

import logging
import random
import re

import numpy as np
import pytest

from recbole_lcrec.data.item_text import ItemTexts, clean_text, read_item_texts, require_texts


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (None, ""),
        (float("nan"), ""),
        (np.float64("nan"), ""),
        ("  a \t b\n\nc\u00a0d ", "a b c d"),
        ("Nuts &amp; bolts &quot;M4&quot;", 'Nuts & bolts "M4"'),
        ("twice &amp;amp; escaped", "twice & escaped"),
        ("<b>Bold</b><br/>new &lt;i&gt;line&lt;/i&gt;", "Bold new line"),
        ("<script>var x = '<p>';</script>kept<!-- not -->", "kept"),
        ("fits 3 < 5 and 7 > 6", "fits 3 < 5 and 7 > 6"),
        ("['first', 'second &amp; third']", "first second & third"),
        ('["it\'s", ""]', "it's"),
        ("[]", ""),
        ("['cut off", "['cut off"),
        ("[Import]", "[Import]"),
        ("[pack of 3] screws [blue]", "[pack of 3] screws [blue]"),
        (["a", None, "b"], "a b"),
        (1995, "1995"),
        ("zero\x00byte", "zero byte"),
        ("emoji 🔩 stays", "emoji 🔩 stays"),
    ],
)
def test_clean_text(raw, clean):
    assert clean_text(raw) == clean


@pytest.mark.parametrize("depth", [3, 500, 100_000])
def test_deeply_nested_lists_are_read(depth):
    deep = ["one", ["['two', ['three']]"], None]
    for _ in range(depth):
        deep = [deep, "after"]
    assert clean_text(deep) == " ".join(["one two three", *["after"] * depth])
    # only what Python can parse is a printed list; anything else is a title in brackets
    assert clean_text("[" * depth + "1" + "]" * depth) == ("1" if depth == 3 else "[" * depth + "1" + "]" * depth)


def test_invalid_character_references_are_read():
    assert clean_text("a&#" + "9" * 5000 + ";b &amp;#" + "9" * 5000 + "; &#65;") == "a\ufffdb \ufffd A"


def test_hidden_markup_is_removed_as_by_one_pattern():
    pattern = re.compile(r"<(script|style)\b.*?</\1\s*>|<!--.*?-->", re.IGNORECASE | re.DOTALL)
    pieces = [
        "<script",
        "<STYLE",
        "<scripts>",
        ">",
        "</script>",
        "</Style \n>",
        "</style",
        "<!--",
        "-->",
        "<!-->",
        "x",
        " ",
    ]
    draw = random.Random(5)
    texts = ["".join(draw.choices(pieces, k=draw.randrange(1, 14))) for _ in range(4000)]
    plain = [" ".join(re.sub(r"</?[a-zA-Z][^<>]*>", " ", pattern.sub(" ", text)).split()) for text in texts]
    assert sum(pattern.search(text) is not None for text in texts) > 1000
    assert [clean_text(text) for text in texts] == plain


@pytest.mark.parametrize("opening", ["<!--", "<script ", "<style>", "<!--<script <style "])
def test_unclosed_tags_take_linear_time(opening):
    """It would take minutes to hours if each opening tag were searched to the end of the text."""
    text = opening * 300_000
    shown = "" if opening == "<style>" else " ".join(text.split())
    assert clean_text(text) == shown


@pytest.fixture
def item_file(tmp_path):
    path = tmp_path / "shop.item"
    path.write_text(
        "item_id:token\ttitle:token_seq\tyear:token\tdescription:token_seq\n"
        "007\tNA\t1995\t['one', 'two']\n"
        "7\tScrew &amp; nut\t\t\n"
        "b\t\t\t\n"
        "unused\tx\ty\tz\n",
        encoding="utf-8",
    )
    return path


def read(path, ids=("b", "7", "007", "absent"), title=("title", "year"), description=("description",)):
    return read_item_texts(path, ids, "item_id", title, description)


def test_texts_come_in_catalogue_order_with_ids_as_text(item_file, caplog):
    with caplog.at_level(logging.WARNING):
        texts = read(item_file)
    assert texts.item_ids == ("b", "7", "007", "absent")
    assert texts.titles == ("", "Screw & nut", "NA 1995", "")
    assert texts.descriptions == ("", "", "one two", "")
    assert "2 of 4 items have no text in shop.item: b, absent" in caplog.text


def test_without_description_fields(item_file):
    assert read(item_file, ids=["7"], description=()).descriptions == ("",)


def test_many_items_without_text_are_only_counted(item_file, caplog):
    with caplog.at_level(logging.WARNING):
        read(item_file, ids=[f"gone{i}" for i in range(11)])
    assert "11 of 11 items have no text" in caplog.text and "gone" not in caplog.text


def test_unknown_field_is_named_with_key_and_columns(item_file):
    with pytest.raises(
        ValueError, match=r"'name', required by text_title_fields; .* item_id, title, year, description"
    ):
        read(item_file, title=("name",))
    with pytest.raises(ValueError, match=r"'blurb', required by text_description_fields"):
        read(item_file, description=("blurb",))
    with pytest.raises(ValueError, match=r"'iid', required by ITEM_ID_FIELD"):
        read_item_texts(item_file, ["7"], "iid", ["title"], [])


def test_duplicate_item_rows_are_an_error(item_file):
    item_file.write_text(item_file.read_text() + "7\tagain\t\t\n")
    with pytest.raises(ValueError, match=r"1 item\(s\) have several rows, first \['7'\]"):
        read(item_file)


def test_no_item_file(tmp_path):
    with pytest.raises(ValueError, match=r"no item file.*index_file"):
        read(None)
    with pytest.raises(ValueError, match="no such item file"):
        read(tmp_path / "none.item")


def test_empty_item_file(tmp_path):
    (tmp_path / "empty.item").write_text("")
    with pytest.raises(ValueError, match="not a readable table"):
        read(tmp_path / "empty.item")


def test_require_texts():
    require_texts(ItemTexts(("1", "2"), ("", ""), ("", "some")))
    with pytest.raises(ValueError, match=r"none of the 2 items has text.*text_title_fields"):
        require_texts(ItemTexts(("1", "2"), ("", ""), ("", "")))


def test_columns_must_be_aligned():
    with pytest.raises(ValueError, match="aligned"):
        ItemTexts(("1",), (), ("a",))
