"""Conversion from one format to another and back keeps the content, and plain RecBole reads every export."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recbole_lcrec import Config, create_dataset
from recbole_lcrec.indexing.item_index import load_index
from recbole_lcrec.preparation.export.atomic_export import export_atomic
from recbole_lcrec.preparation.export.publish import publish
from recbole_lcrec.preparation.forms.convert import convert_published
from recbole_lcrec.preparation.forms.minionerec import convert_minionerec
from recbole_lcrec.preparation.forms.minionerec_rows import find_source
from tests.preparation.amazon.amazon_raw import random_events
from tests.preparation.amazon.test_prepare import write_raw
from tests.preparation.forms.made import columns, read_published, sequences, write_published, write_table
from tests.preparation.forms.minionerec_csv import by_time, random_sequences, rows_of, split_files

REAL = Path(__file__).resolve().parents[4] / "shared" / "data"
FIELDS = ("title", "description", "brand", "categories")
SHOP = {
    "inter": {"4": [3, 1, 3, 3], "0": [1, 10], "17": [10, 2, 1]},
    "item": {
        "1": {
            "title": "Tab\tand\nline",
            "description": ["a list", "of <b>two</b>"],
            "brand": "B, Co.",
            "categories": "x,y",
        },
        "2": {"title": '12" vinyl "Best of"', "description": "['printed', 'list']", "brand": "", "categories": ""},
        "3": {"title": "🎮 ünï 商品\x00", "description": None, "brand": "NA", "categories": "nan"},
        "10": {"title": "'", "description": '"', "brand": "null", "categories": "None"},
        "20": {"title": "nobody bought it", "description": "", "brand": "", "categories": ""},
    },
    "index": {str(item): [f"<a_{item}>", "<b_0>"] for item in (1, 2, 3, 10, 20, 30)},
    "user": {
        "user_explicit_preference": {"4": ["likes <3>"]},
        "user_vague_intention": {"train": {"17": {"item": 1, "inters": [10, 2], "querys": ["q"]}}, "test": {}},
    },
    "item2id": [("B 1", 1), ("B,2", 2), ("B\t3", 3), ("B10", 10), ("B20", 20), ("B30", 30)],
    "user2id": [("A4", 4), ("A0", 0), ("Ä 17", 17)],
}


def content_of(found):
    """Content of a published data set: texts on one line, "" for missing ones, items without any text left out."""
    meant = dict(found)
    texts = {item: {field: line(entry.get(field)) for field in FIELDS} for item, entry in found.get("item", {}).items()}
    meant["item"] = {item: entry for item, entry in texts.items() if any(entry.values())}
    meant["inter"] = {user: [int(item) for item in items] for user, items in found["inter"].items()}
    return meant


def line(text):
    if isinstance(text, list):
        text = " ".join(text)
    return " ".join((text or "").replace("\x00", " ").split())


def both_ways(source, name, folder):
    atomic, back = folder / "atomic", folder / "back"
    export_atomic(name, source, atomic)
    publish(name, atomic, back)
    return back


def test_published_to_atomic_to_published(tmp_path):
    source = write_published(tmp_path / "shop", "shop", **SHOP)
    back = both_ways(source, "shop", tmp_path)
    before, after = content_of(read_published(source, "shop")), content_of(read_published(back, "shop"))
    assert after == before
    assert list(after["inter"]) == list(before["inter"])
    assert (back / "shop.user.json").read_bytes() == (source / "shop.user.json").read_bytes()
    assert (back / "shop.index.json").read_bytes() == (source / "shop.index.json").read_bytes()
    publish("shop", source, tmp_path / "straight")
    assert read_published(tmp_path / "straight", "shop") == read_published(back, "shop")


@pytest.mark.parametrize("name", ["Industrial_and_Scientific", "Games"])
def test_real_published_data(tmp_path, name):
    if not (REAL / name).is_dir():
        pytest.skip(f"{REAL / name} is not there")
    back = both_ways(REAL / name, name, tmp_path)
    before, after = read_published(REAL / name, name), read_published(back, name)
    assert before.keys() == after.keys()
    assert content_of(before) == content_of(after)


def test_amazon_ids_to_published_to_atomic(tmp_path):
    rng = np.random.default_rng(4)
    inter = [(f"A {u}", f"B0,{i}", t) for u, i, t in rng.integers(0, [7, 30, 9], size=(120, 3)).tolist()]
    items = [(f"B0,{i}", f"title {i}", f"d{i}") for i in range(32)]
    folder = tmp_path / "asin"
    write_table(folder / "asin.inter", ["user_id:token", "item_id:token", "timestamp:float"], inter)
    write_table(folder / "asin.item", ["item_id:token", "title:token_seq", "description:token_seq"], items)
    expected = {}
    for user, item, _ in sorted(inter, key=lambda row: row[2]):  # a stable sort
        expected.setdefault(user, []).append(item)

    publish("asin", folder, tmp_path / "published")
    (tmp_path / "atomic").mkdir()
    convert_published(tmp_path / "published", "asin", tmp_path / "atomic")
    back = tmp_path / "atomic"
    users = dict(columns(back / "asin.user", "user_id", "original_user_id"))
    numbers = dict(columns(back / "asin.item", "item_id", "original_id"))
    found = sequences(back / "asin.inter")
    assert {users[user]: [numbers[item] for item in row] for user, row in found.items()} == expected
    texts = columns(back / "asin.item", "original_id", "title", "description")
    assert sorted(texts) == sorted(items)

    publish("asin", back, tmp_path / "again")
    assert read_published(tmp_path / "again", "asin") == read_published(tmp_path / "published", "asin")


def test_an_index_follows_its_items(tmp_path):
    """After renumbering, the index of an item is found under the item's number."""
    folder = tmp_path / "s"
    write_table(
        folder / "s.inter",
        ["user_id:token", "item_id:token", "timestamp:float"],
        [("u", "Z", 0), ("u", "A", 1), ("v", "M", 2)],
    )
    write_table(folder / "s.item", ["item_id:token"], [("A",), ("M",), ("Z",)])
    (folder / "s.index.json").write_text(json.dumps({"A": ["<a_1>"], "M": ["<a_2>"], "Z": ["<a_3>"]}))
    publish("s", folder, tmp_path / "p")
    originals = read_published(tmp_path / "p", "s")["item2id"]
    index = load_index(tmp_path / "p" / "s.index.json", list(originals))
    assert dict(zip(originals.values(), index.codes[:, 0].tolist(), strict=True)) == {"A": 1, "M": 2, "Z": 3}


def make_form(form, folder, name="shop"):
    """Create a data set in one format; return its users, items and interactions."""
    if form == "published":
        write_published(folder, name, **SHOP)
        return 3, 6, 9
    if form == "minionerec":
        rng = np.random.default_rng(1)
        known = random_sequences(rng, repeats=True)
        source = split_files(folder.parent / "csv", by_time(rng, rows_of(known, 10), known), f"{name}_5.csv")
        convert_minionerec(name, find_source(source, name), folder)
        return len(known), len({i for items in known.values() for i in items}), sum(map(len, known.values()))
    write_raw(folder / "raw", random_events(np.random.default_rng(3)))
    export_atomic(name, folder, folder.parent / "counted")
    rows = columns(folder.parent / "counted" / f"{name}.inter", "user_id", "item_id")
    return len({user for user, _ in rows}), len({item for _, item in rows}), len(rows)


PLAIN = """
import json, sys
import recbole_lcrec
from recbole.config import Config
from recbole.data import create_dataset
columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]}
sys.argv, path, name, every = sys.argv[:1], *sys.argv[1:]
config = Config("SASRec", name, config_dict={
    "data_path": path, "load_col": None if every == "all" else columns, "train_neg_sample_args": None, "topk": [1]})
dataset = create_dataset(config)
print("COUNTS", json.dumps([dataset.user_num - 1, dataset.item_num - 1, dataset.inter_num, sorted(dataset.fields())]))
"""


def plain_recbole(folder, name, every="listed"):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PLAIN, str(folder), name, every],
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[3]), "PATH": "", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.rpartition("COUNTS ")[2].splitlines()[0])


@pytest.mark.parametrize(("form", "name"), [("published", "shop"), ("raw", "Games"), ("minionerec", "shop")])
def test_plain_recbole_reads_every_exported_form(tmp_path, form, name):
    users, items, interactions = make_form(form, tmp_path / name, name)
    export_atomic(name, tmp_path / name, tmp_path / "out" / name)
    found = plain_recbole(tmp_path / "out", name)
    assert found[:3] == [users, items, interactions]
    assert "original_id" not in found[3] and "original_user_id" not in found[3]
    if form == "published":
        assert {"original_id", "original_user_id", "title"} <= set(plain_recbole(tmp_path / "out", name, "all")[3])


def test_a_run_ignores_original_ids_of_the_published_form(tmp_path):
    folder = write_published(tmp_path / "data" / "shop", "shop", **SHOP)
    own = {"data_path": str(tmp_path / "data"), "checkpoint_dir": str(tmp_path / "saved")}
    for model in ("LCRec", "SASRec"):
        config = Config(model, "shop", config_dict={**own, "topk": [1], "valid_metric": "NDCG@1"})
        dataset = create_dataset(config)
        assert (dataset.user_num - 1, dataset.item_num - 1, dataset.inter_num) == (3, 6, 9)
        assert not {"original_id", "original_user_id"} & set(dataset.fields())
        if model == "LCRec":
            titles = dict(zip(dataset.item_texts.item_ids, dataset.item_texts.titles, strict=True))
            assert titles["1"] == "Tab and line" and titles["30"] == ""
    first = config["data_path"]
    (folder / "shop.item2id").write_text("other\t1\n")
    changed = Config("SASRec", "shop", config_dict={**own, "topk": [1], "valid_metric": "NDCG@1"})
    create_dataset(changed)
    assert changed["data_path"] != first


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"inter": '{"0": [1, 2'}, r"shop\.inter\.json is not valid JSON"),
        ({"inter": ""}, r"shop\.inter\.json is not valid JSON"),
        ({"inter": {}}, r"shop\.inter\.json contains no interaction"),
        ({"inter": '{"0": [1], "0": [2]}'}, r"key '0' appears twice"),
        ({"inter": {"0": ["a\nb"]}}, "contains a line break or a control character"),
        ({"inter": {"u\x00": [1]}}, "contains a line break or a control character"),
        ({"inter": {"0": [True]}}, "must have a list of item ids"),
        (
            {"inter": {"0": [1]}, "item": {"B1": {"title": "x"}}},
            r"none of the items of the sequences: its first is 'B1'",
        ),
        ({"inter": {"0": [1]}, "item": '{"1": {"title"'}, r"shop\.item\.json is not valid JSON"),
        ({"inter": {"0": ["x"]}, "user": {"no": 1}}, r"shop\.user\.json must contain a JSON object with user_explicit"),
    ],
)
def test_bad_input(tmp_path, contents, message):
    source = write_published(tmp_path / "shop", "shop", **contents)
    with pytest.raises(ValueError, match=message):
        publish("shop", source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_ids_with_any_characters_are_converted(tmp_path):
    inter = {"user, one": ["a b", "c,d", "e\tf", "a b"], "🎮": ["c,d", '"quoted"']}
    source = write_published(tmp_path / "shop", "shop", inter=inter)
    export_atomic("shop", source, tmp_path / "atomic" / "shop")
    assert sequences(tmp_path / "atomic" / "shop" / "shop.inter") == inter
    assert plain_recbole(tmp_path / "atomic", "shop")[:3] == [2, 4, 6]
    publish("shop", tmp_path / "atomic" / "shop", tmp_path / "out")
    found = read_published(tmp_path / "out", "shop")
    names = found["item2id"]
    assert {found["user2id"][u]: [names[str(i)] for i in items] for u, items in found["inter"].items()} == inter
