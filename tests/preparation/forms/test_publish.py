"""Export in the published format: order, numbers, companion files, and errors."""

import errno
import json
import logging
from pathlib import Path

import pytest

from recbole_lcrec.preparation.export.atomic_export import export_atomic
from recbole_lcrec.preparation.export.publish import SourceColumns, publish
from recbole_lcrec.preparation.export.renumber import is_whole_number, numbers_of
from recbole_lcrec.preparation.forms import staging
from tests.preparation.forms.made import names_in, read_published, write_json, write_published, write_table

INTER = [
    ("A2 x", "B9", "50"),
    ("A1", "B1", "1400000000.25"),
    ("A1", "B7", "1400000000.125"),
    ("A2 x", "B1", "50"),
    ("A1", "B9", "1400000000.25"),
    ("A2 x", "B9", "7"),
]
ITEMS = [
    ("B5", "never bought", "d5"),
    ("B1", 'tab\tand "quotes"', ""),
    ("B7", "🎮\x00game", "two  blanks"),
    ("B9", "nine", ""),
]
SEQUENCES = {"0": [0, 0, 1], "1": [2, 1, 0]}  # A2 x: B9, B9, B1; A1: B7, B1, B9


def atomic(
    folder,
    name="shop",
    inter=INTER,
    items=ITEMS,
    item_header=("item_id:token", "title:token_seq", "description:token_seq"),
):
    write_table(folder / f"{name}.inter", ["user_id:token", "item_id:token", "timestamp:float"], inter)
    if items is not None:
        write_table(folder / f"{name}.item", item_header, items)
    return folder


def test_other_ids_are_numbered_by_first_appearance(tmp_path):
    counts = publish("shop", atomic(tmp_path / "shop"), tmp_path / "out")
    assert counts == {"users": 2, "items": 4, "interactions": 6, "items with texts": 4}
    found = read_published(tmp_path / "out", "shop")
    assert found["inter"] == SEQUENCES
    assert found["item2id"] == {"0": "B9", "1": "B1", "2": "B7", "3": "B5"}
    assert found["user2id"] == {"0": "A2 x", "1": "A1"}
    assert found["item"]["1"] == {"title": 'tab and "quotes"', "description": "", "brand": "", "categories": ""}
    assert [found["item"][number]["title"] for number in "023"] == ["nine", "🎮 game", "never bought"]
    assert list(found["item"]) == ["0", "1", "2", "3"]
    assert names_in(tmp_path / "out") == ["shop.inter.json", "shop.item.json", "shop.item2id", "shop.user2id"]


def test_whole_numbers_stay_unless_renumbered(tmp_path):
    inter = [("7", "30", "2"), ("7", "10", "1"), ("3", "30", "1")]
    items = [("10", "ten"), ("20", "twenty"), ("30", "thirty")]
    folder = atomic(tmp_path / "shop", inter=inter, items=items, item_header=("item_id:token", "title:token_seq"))
    publish("shop", folder, tmp_path / "kept")
    kept = read_published(tmp_path / "kept", "shop")
    assert kept["inter"] == {"7": [10, 30], "3": [30]}
    assert list(kept["item"]) == ["10", "20", "30"] and "item2id" not in kept and "user2id" not in kept
    publish("shop", folder, tmp_path / "new", renumber=True)
    new = read_published(tmp_path / "new", "shop")
    assert new["inter"] == {"0": [0, 1], "1": [1]}
    assert new["item2id"] == {"0": "10", "1": "30", "2": "20"} and new["user2id"] == {"0": "7", "1": "3"}
    assert new["item"]["2"]["title"] == "twenty"


def test_what_counts_as_a_whole_number():
    assert all(map(is_whole_number, ["0", "7", "123456789012345678901234567890"]))
    assert not any(map(is_whole_number, ["", "07", "-1", "1.0", "1e3", "٣", " 1", "B1"]))
    assert numbers_of(["5", "1"]) == {"5": "5", "1": "1"}
    assert numbers_of(["5", "01"]) == {"5": "0", "01": "1"}


def test_index_and_intentions_are_renumbered_along(tmp_path, caplog):
    folder = atomic(tmp_path / "shop")
    index = {"B1": ["<a_1>"], "B9": ["<a_9>"], "B7": ["<a_7>"], "B5": ["<a_5>"]}
    write_json(folder / "shop.index.json", index)
    user = {
        "user_explicit_preference": {"A1": ["likes one"], "gone": ["x"]},
        "user_vague_intention": {
            "train": {
                "A1": {"item": "B1", "inters": ["B7"], "querys": ["q"]},
                "A2 x": {"item": "B1", "inters": "B9, B9", "querys": ["r"]},
            },
            "test": {"A1": {"item": "B9", "inters": ["B7", "gone"], "querys": ["t"]}},
        },
    }
    write_json(folder / "shop.user.json", user)
    lines = [
        {"user": "A1", "position": 1, "item": "B1", "intention": "ü"},
        {"user": "A1", "until": 2, "preference": "p"},
    ]
    (folder / "shop.intentions.jsonl").write_text("\n".join(map(json.dumps, [*lines, {"user": "gone"}])))
    with caplog.at_level(logging.WARNING):
        publish("shop", folder, tmp_path / "out")
    found = read_published(tmp_path / "out", "shop")
    assert found["index"] == {"1": ["<a_1>"], "0": ["<a_9>"], "2": ["<a_7>"], "3": ["<a_5>"]}
    assert found["user"] == {
        "user_explicit_preference": {"1": ["likes one"]},
        "user_vague_intention": {
            "train": {
                "1": {"item": 1, "inters": [2], "querys": ["q"]},
                "0": {"item": 1, "inters": [0, 0], "querys": ["r"]},
            },
            "test": {},
        },
    }
    written = (tmp_path / "out" / "shop.intentions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in written] == [{**lines[0], "user": "1", "item": 1}, {**lines[1], "user": "1"}]
    assert "shop.user.json: 2 entries" in caplog.text and "shop.intentions.jsonl: 1 entries" in caplog.text


def test_explicit_files_take_precedence(tmp_path):
    source = write_published(tmp_path / "shop", "shop", inter={"0": [1]}, index={"1": ["<a_0>"]})
    own = write_json(tmp_path / "own.json", {"1": ["<a_5>"]})
    texts = write_json(tmp_path / "texts.json", {"user_explicit_preference": {"0": ["p"]}})
    publish("shop", source, tmp_path / "out", index_file=own, user_file=texts)
    assert (tmp_path / "out" / "shop.index.json").read_bytes() == own.read_bytes()
    assert (tmp_path / "out" / "shop.user.json").read_bytes() == texts.read_bytes()
    with pytest.raises(ValueError, match=r"none\.json: no such file"):
        publish("shop", source, tmp_path / "again", index_file=tmp_path / "none.json")
    other = write_json(tmp_path / "other.json", {"1": ["<a_5>"], "77": ["<a_6>"]})
    with pytest.raises(ValueError, match=r"1 of its 2 items are not in the data, first \['77'\]"):
        publish("shop", source, tmp_path / "again", index_file=other)
    assert not (tmp_path / "again").exists() or names_in(tmp_path / "again") == []


def test_columns_by_flags(tmp_path):
    rows = [("u", "i", "3", "4")]
    write_table(tmp_path / "s" / "s.inter", ["uid:token", "iid:token", "rating:float", "when:float"], rows)
    write_table(
        tmp_path / "s" / "s.item", ["iid:token", "movie_title:token_seq", "class:token_seq"], [("i", "M", "A B")]
    )
    names = SourceColumns("uid", "iid", "when", title="movie_title", categories="class")
    publish("s", tmp_path / "s", tmp_path / "o", columns=names)
    found = read_published(tmp_path / "o", "s")
    assert found["inter"] == {"0": [0]}
    assert found["item"] == {"0": {"title": "M", "description": "", "brand": "", "categories": "A B"}}
    for wrong, message in (
        (SourceColumns(), r"no column 'user_id', required by --user_field; its columns are uid, iid, rating, when"),
        (SourceColumns("uid", "iid"), r"no column 'timestamp', required by --time_field"),
        (SourceColumns("uid", "iid", "when"), r"no column 'title', required by --title_field"),
        (SourceColumns("uid", "iid", "when", "class", brand="maker"), r"no column 'maker', required by --brand_field"),
    ):
        with pytest.raises(ValueError, match=message):
            publish("s", tmp_path / "s", tmp_path / "p", columns=wrong)


def test_without_an_item_file(tmp_path):
    assert publish("shop", atomic(tmp_path / "shop", items=None), tmp_path / "out")["items"] == 3
    assert "item" not in read_published(tmp_path / "out", "shop")


@pytest.mark.parametrize(
    ("inter", "message"),
    [
        ([("u", "i", "")], r"1 interactions have no time \(the first on line 2\)"),
        ([("u", "i", "1"), ("u", "i", "yesterday")], r"the first on line 3"),
        ([], "contains no interaction"),
        ([("", "i", "1")], "contains no interaction"),
    ],
)
def test_interactions_that_cannot_be_ordered(tmp_path, inter, message):
    with pytest.raises(ValueError, match=message):
        publish("shop", atomic(tmp_path / "shop", inter=inter), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_rows_with_reserved_ids_are_dropped_and_counted(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        publish("shop", atomic(tmp_path / "shop", inter=[*INTER, ("NA", "B1", "1"), ("A1", "", "1")]), tmp_path / "out")
    assert read_published(tmp_path / "out", "shop")["inter"] == SEQUENCES
    assert "2 rows without a user or an item" in caplog.text and "the first is line 8" in caplog.text


def test_duplicate_item_rows_are_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"1 id\(s\) have several rows, first \['B9'\]"):
        publish("shop", atomic(tmp_path / "shop", items=[*ITEMS, ("B9", "again", "")]), tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"user_id:token\titem_id:token\n\xff\tx\n", b"a:token\ta:token\n1\t2\n"])
def test_files_that_are_not_tables(tmp_path, content):
    folder = atomic(tmp_path / "shop")
    (folder / "shop.inter").write_bytes(content)
    with pytest.raises(ValueError, match=r"shop\.inter"):
        publish("shop", folder, tmp_path / "out")


def test_source_and_foreign_files_are_not_overwritten(tmp_path):
    source = write_published(tmp_path / "shop", "shop", inter={"0": [1]}, index={"1": ["<a_0>"]})
    before = {path: path.read_bytes() for path in source.iterdir()}
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=r"shop\.inter\.json"):
            publish("shop", source, source, overwrite=overwrite)
    with pytest.raises(ValueError, match="use another folder"):
        export_atomic("shop", source, source, overwrite=True)
    assert {path: path.read_bytes() for path in source.iterdir()} == before

    other = write_published(tmp_path / "out", "shop", inter={"5": [6]}, item2id=[("x", 6)], user2id=[("y", 5)])
    with pytest.raises(ValueError, match="exists already"):
        publish("shop", source, other)
    assert read_published(other, "shop")["inter"] == {"5": [6]}
    publish("shop", source, other, overwrite=True)
    assert read_published(other, "shop") == {"inter": {"0": [1]}, "index": {"1": ["<a_0>"]}}
    export_atomic("shop", source, other, overwrite=True)
    assert names_in(other) == ["shop.index.json", "shop.inter", "shop.item"]


def test_a_single_foreign_file_is_not_overwritten(tmp_path):
    source = write_published(tmp_path / "shop", "shop", inter={"0": [1]}, index={"1": ["<a_0>"]})
    mine = write_json(tmp_path / "out" / "shop.index.json", {"mine": []})
    with pytest.raises(ValueError, match=r"shop\.index\.json would be replaced"):
        publish("shop", source, tmp_path / "out")
    assert json.loads(mine.read_text()) == {"mine": []} and names_in(tmp_path / "out") == ["shop.index.json"]


def test_a_read_only_folder_is_an_error(tmp_path, monkeypatch):
    source = write_published(tmp_path / "shop", "shop", inter={"0": [1]})
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is not writable"):
        publish("shop", source, tmp_path / "file" / "shop")

    def read_only(path, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(ValueError, match=r"is not writable .*Permission denied"):
        publish("shop", source, tmp_path / "out")


def test_a_full_disk_leaves_existing_files(tmp_path, monkeypatch):
    source = write_published(tmp_path / "shop", "shop", inter={"0": [1]})
    out = write_published(tmp_path / "out", "shop", inter={"5": [6]})

    def full(path, *args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space left"):
            publish("shop", source, out, overwrite=True)
    assert read_published(out, "shop") == {"inter": {"5": [6]}} and names_in(out) == ["shop.inter.json"]


def test_the_interaction_file_moves_last(tmp_path, monkeypatch):
    moved = []
    monkeypatch.setattr(staging.os, "replace", lambda old, new: moved.append(Path(new).name))
    publish("shop", atomic(tmp_path / "shop"), tmp_path / "out")
    assert moved[-1] == "shop.inter.json" and len(moved) == 4
