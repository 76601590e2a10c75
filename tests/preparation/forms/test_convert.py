"""Published files to atomic files: RecBole and this package must read back what was written."""

import json
import logging
import random

import numpy as np
import pytest

from recbole_lcrec import Config, create_dataset
from recbole_lcrec.data.item_text import read_item_texts
from recbole_lcrec.preparation.forms.convert import convert_published, numbers_first, one_line, read_json_object

SEQUENCES = {"anna": ["1", "3", "1", "10"], "ben": [3, 2, 1], "cleo": ["3"], "dirk": []}
ITEMS = {
    "1": {"title": "Tab\there", "description": "two\nlines\r\n and  blanks", "brand": "B", "categories": "C,D"},
    "2": {"title": '12" vinyl "Best of"', "description": ['said "hi",', None, "then\tleft"]},
    "3": {"title": '"all quoted"', "description": "", "extra": "not read"},
    "10": {"title": "emoji 🎮 ünïcode 商品", "description": None},
    "20": {"title": "item file only, it's 5' tall", "description": "a|b;c"},
    "21": {"title": '"', "description": float("nan")},
}
INDEX = {"1": ["<a_0>"], "20": ["<a_1>"], "30": ["<a_2>"]}
TITLES = {
    "1": "Tab here",
    "2": '12" vinyl "Best of"',
    "3": '"all quoted"',
    "10": "emoji 🎮 ünïcode 商品",
    "20": "item file only, it's 5' tall",
    "21": '"',
    "30": "",
}
DESCRIPTIONS = {
    "1": "two lines and blanks",
    "2": 'said "hi", then left',
    "3": "",
    "10": "",
    "20": "a|b;c",
    "21": "",
    "30": "",
}


def publish(folder, sequences=SEQUENCES, items=ITEMS, index=INDEX):
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, content in (("inter", sequences), ("item", items), ("index", index)):
        if content is not None:
            text = content if isinstance(content, str) else json.dumps(content)
            (folder / f"shop.{suffix}.json").write_text(text, encoding="utf-8")
    return folder


def convert(tmp_path, *args, **kwargs):
    target = tmp_path / "atomic"
    target.mkdir()
    return convert_published(publish(tmp_path / "shop", *args, **kwargs), "shop", target), target


def test_counts_and_catalogue(tmp_path):
    counts, target = convert(tmp_path)
    assert counts == {"users": 4, "items": 7, "interactions": 8, "items with texts": 6}
    lines = (target / "shop.item").read_text(encoding="utf-8").splitlines()
    assert lines[0].split("\t") == [
        "item_id:token",
        "title:token_seq",
        "description:token_seq",
        "brand:token",
        "categories:token_seq",
    ]
    assert [line.split("\t")[0] for line in lines[1:]] == ["1", "2", "3", "10", "20", "21", "30"]
    assert json.loads((target / "shop.index.json").read_text()) == INDEX


def test_positions_become_times(tmp_path):
    _, target = convert(tmp_path)
    rows = [line.split("\t") for line in (target / "shop.inter").read_text().splitlines()]
    assert rows[0] == ["user_id:token", "item_id:token", "timestamp:float"]
    assert rows[1:] == [
        ["anna", "1", "0"],
        ["anna", "3", "1"],
        ["anna", "1", "2"],
        ["anna", "10", "3"],
        ["ben", "3", "0"],
        ["ben", "2", "1"],
        ["ben", "1", "2"],
        ["cleo", "3", "0"],
    ]


def test_texts_are_read_back_by_the_package(tmp_path):
    _, target = convert(tmp_path)
    texts = read_item_texts(target / "shop.item", list(TITLES), "item_id", ["title"], ["description"])
    assert texts.titles == tuple(TITLES.values())
    assert texts.descriptions == tuple(DESCRIPTIONS.values())


def test_everything_is_read_back_by_recbole(tmp_path):
    publish(tmp_path / "data" / "shop")
    config = Config(
        "Pop",
        "shop",
        config_dict={
            "data_path": str(tmp_path / "data"),
            "checkpoint_dir": str(tmp_path / "saved"),
            "load_col": {
                "inter": ["user_id", "item_id", "timestamp"],
                "item": ["item_id", "title", "description", "brand", "categories"],
            },
        },
    )
    dataset = create_dataset(config)
    assert dataset.item_num == 1 + 7

    users = dataset.field2id_token["user_id"]
    items = dataset.field2id_token["item_id"]
    read = sorted(
        zip(
            users[dataset.inter_feat["user_id"]],
            dataset.inter_feat["timestamp"],
            items[dataset.inter_feat["item_id"]],
            strict=True,
        )
    )
    written = [(user, place, str(item)) for user, sequence in SEQUENCES.items() for place, item in enumerate(sequence)]
    assert read == sorted(written)

    for field, expected in (("title", TITLES), ("description", DESCRIPTIONS)):
        words = dataset.field2id_token[field]
        texts = {items[row]: " ".join(words[dataset.item_feat[field][row]]) for row in range(1, dataset.item_num)}
        assert texts == expected


@pytest.mark.parametrize(
    ("items", "index", "catalogue"),
    [
        (None, None, ["1", "2", "3", "10"]),
        (None, INDEX, ["1", "2", "3", "10", "20", "30"]),
        (ITEMS, None, ["1", "2", "3", "10", "20", "21"]),
        ({}, {}, ["1", "2", "3", "10"]),
    ],
)
def test_item_and_index_files_may_be_missing(tmp_path, items, index, catalogue):
    counts, target = convert(tmp_path, items=items, index=index)
    ids = [line.split("\t")[0] for line in (target / "shop.item").read_text(encoding="utf-8").splitlines()[1:]]
    assert ids == catalogue and counts["items"] == len(catalogue)
    assert (target / "shop.index.json").exists() == (index is not None)
    texts = read_item_texts(target / "shop.item", ids, "item_id", ["title"], [])
    assert texts.titles == tuple(TITLES[item] if items else "" for item in ids)


def test_catalogue_order_does_not_depend_on_file_order(tmp_path):
    ids = ["7", "007", "b7", "a", "70", "07"]
    orders = [ids, ids[::-1], sorted(ids)]
    written = []
    for number, order in enumerate(orders):
        target = tmp_path / f"atomic{number}"
        target.mkdir()
        source = publish(tmp_path / f"source{number}", {"u": order}, {item: {"title": item} for item in order}, None)
        convert_published(source, "shop", target)
        written.append((target / "shop.item").read_text())
    assert written[0] == written[1] == written[2]
    assert [line.split("\t")[0] for line in written[0].splitlines()[1:]] == ["007", "07", "7", "70", "a", "b7"]


def test_ids_of_thousands_of_digits_are_sorted(tmp_path):
    nines, ten = "9" * 5000, "1" + "0" * 5000
    _, target = convert(tmp_path, {"u": [ten, "b", nines, "12", "012"]}, None, None)
    ids = [line.split("\t")[0] for line in (target / "shop.item").read_text().splitlines()[1:]]
    assert ids == ["012", "12", nines, ten, "b"]


def test_ids_are_sorted_as_numbers():
    draw = random.Random(2)
    numbers = ["".join(draw.choices("0123456789", k=draw.randrange(1, 18))) for _ in range(500)] + ["\u0663", "0", "00"]
    words = ["b7", "a", "-3", "1e3", "\u00b2", "1.5", "NaN", "Infinity"]
    expected = [*sorted(numbers, key=lambda one: (int(one), one)), *sorted(words)]
    assert sorted([*words, *numbers], key=numbers_first) == expected


def test_an_overlong_number_names_its_file(tmp_path):
    with pytest.raises(ValueError, match=r"shop\.inter\.json is not valid JSON \(Exceeds the limit"):
        convert(tmp_path, '{"anna": [' + "9" * 5000 + "]}")


def test_deeply_nested_texts_are_read(tmp_path):
    deep = "[" * 500 + '"deep", "down"' + "]" * 500
    items = '{"1": {"title": ' + deep + ', "description": [["a", [null]], 7]}}'
    _, target = convert(tmp_path, items=items, index=None)
    texts = read_item_texts(target / "shop.item", ["1"], "item_id", ["title"], ["description"])
    assert texts.titles == ("deep down",) and texts.descriptions == ("a 7",)
    nested = ["x"]
    for _ in range(100_000):
        nested = [nested]
    assert one_line(nested) == "x"


def test_reserved_ids_are_counted(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        convert(tmp_path, {"null": ["1", "NA"], "[PAD]": ["2", "[PAD]"], "ben": ["nully"]}, None, None)
    (said,) = caplog.messages
    assert said.startswith("shop: RecBole reads 4 id(s) as missing values") and "null, [PAD], NA, [PAD];" in said


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ('{"anna": ["1", "2', r"shop\.inter\.json is not valid JSON"),
        ("", r"shop\.inter\.json is not valid JSON"),
        ("[[1, 2]]", r"shop\.inter\.json must contain a JSON object, not a list"),
        ({"anna": ["1"], "ben": "123"}, r"shop\.inter\.json: user 'ben' must have a list of item ids, but has '123'"),
        ({"ben": {"1": 2}}, r"user 'ben' must have a list"),
        ({"ben": [["1", 5]]}, r"user 'ben' must have a list"),
        ({"ben": ["1", None]}, r"user 'ben' must have a list"),
    ],
)
def test_damaged_interactions(tmp_path, sequences, message):
    with pytest.raises(ValueError, match=message):
        convert(tmp_path, sequences)


def test_damaged_item_files(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(
        ValueError, match=r"shop\.item\.json: item '2' must have an object of texts, but has \['title'\]"
    ):
        convert(tmp_path / "a", items={**ITEMS, "2": ["title"]})
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match=r"shop\.index\.json must contain a JSON object"):
        convert(tmp_path / "b", index=[1])


def test_a_file_that_is_not_utf8(tmp_path):
    path = tmp_path / "latin.json"
    path.write_bytes('{"a": "é"}'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.json is not valid JSON"):
        read_json_object(path)


def test_many_titles_made_of_awkward_characters(tmp_path):
    rng = np.random.default_rng(3)
    pieces = ['"', '""', "'", "\t", "\n", "\r", "\u2028", "\x85", "a", "é", ",", ";", "\\", "\\t", "#", "|", "🎲", " "]
    titles = {str(item): "x" + "".join(rng.choice(pieces, size=12)) for item in range(200)}
    source = publish(
        tmp_path / "s", {"u": list(titles)}, {item: {"title": text} for item, text in titles.items()}, None
    )
    convert_published(source, "shop", tmp_path)
    texts = read_item_texts(tmp_path / "shop.item", list(titles), "item_id", ["title"], [])
    assert texts.titles == tuple(" ".join(text.split()) for text in titles.values())
