"""User tables to atomic files: RecBole and this package read them back, and the report covers all changes."""

from __future__ import annotations

import errno
import json
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from recbole_lcrec import Config, create_dataset, data_preparation
from recbole_lcrec.data.item_text import read_item_texts
from recbole_lcrec.preparation.tables import importing as module
from recbole_lcrec.preparation.tables.columns import Pair, parse_pairs
from recbole_lcrec.preparation.tables.findings import BadRowLimit
from recbole_lcrec.preparation.tables.importing import ImportOptions, import_tables
from recbole_lcrec.preparation.tables.page import binned
from recbole_lcrec.preparation.tables.report import ImportReport

ORDERS = """\
customer,sku,bought_at,stars,comment
ann,007,2024-01-03T10:00:00Z,5,fine
bob,1e5,2024-01-01T10:00:00Z,4,"two
lines, ""quoted"" too"
ann,1e5,2024-01-01T09:00:00.250Z,,
ann,a b,2024-01-02T10:00:00+01:00,3,<b>bold</b>
bob,007,2024-01-01T10:00:00Z,4,
ann,007,2024-01-03T10:00:00Z,5,fine
bob,ghost,2024-01-04T10:00:00Z,1,
"""
PRODUCTS = """\
id;name;about;paint
1e5;Blue lamp;"A lamp;\tblue";dark blue
007;"Two
lines 🎮";;red
a b;;;
idle;<script>alert(1)</script>Idle & co;Nothing;red
007;"Two
lines 🎮";;red
"""
COLUMNS = "user_id=customer item_id=sku item_id=id timestamp=bought_at rating=stars review=comment title=name"


def options(folder: Path, orders: str = ORDERS, products: str | None = PRODUCTS, **changes: object) -> ImportOptions:
    (folder / "orders.csv").write_text(orders, encoding="utf-8")
    if products is not None:
        (folder / "products.csv").write_text(products, encoding="utf-8")
    given = {
        "name": "shop",
        "interactions": folder / "orders.csv",
        "items": None if products is None else folder / "products.csv",
        "data_path": folder / "dataset",
        "pairs": parse_pairs([COLUMNS + ("" if products is None else " description=about colour=paint")]),
        **changes,
    }
    if products is None:
        given["pairs"] = tuple(pair for pair in given["pairs"] if pair.ours != "title" and pair.theirs != "id")
    return ImportOptions(**given)


def test_fields_present_in_few_json_lines(tmp_path: Path) -> None:
    """A standard name and one from a pair, both only on late lines."""
    items: list[dict[str, str]] = [{"item_id": str(n), "title": f"thing {n}"} for n in range(1500)]
    items[1300]["brand"], items[1400]["shade"] = "Acme", "red"
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, items)))
    rows = [{"user_id": str(n % 5), "item_id": str(n), "timestamp": 1700000000 + n} for n in range(1500)]
    (tmp_path / "orders.jsonl").write_text("\n".join(map(json.dumps, rows)))
    paths = {"interactions": tmp_path / "orders.jsonl", "items": tmp_path / "items.jsonl"}
    import_tables(ImportOptions("shop", data_path=tmp_path, pairs=parse_pairs(["colour=shade"]), **paths))
    lines = (tmp_path / "shop" / "shop.item").read_text().splitlines()
    assert lines[0].split("\t")[:3] == ["item_id:token", "title:token_seq", "brand:token"]
    assert lines[0].split("\t")[3].startswith("colour:")
    assert [lines[n + 1].split("\t")[2:] for n in (0, 1300, 1400)] == [["", ""], ["Acme", ""], ["", "red"]]


def counted(report: ImportReport) -> dict[str, int]:
    return {one.key: one.count for one in report.findings}


def test_files_written_by_an_import(tmp_path: Path) -> None:
    report = import_tables(options(tmp_path))
    folder = tmp_path / "dataset" / "shop"
    names = ["shop.import.html", "shop.import.json", "shop.inter", "shop.item"]
    assert sorted(path.name for path in folder.iterdir()) == names
    # ann appears first; her rows are in time order, with exact seconds (2024-01-01T00:00:00Z is 1704067200)
    assert (folder / "shop.inter").read_text(encoding="utf-8") == (
        "user_id:token\titem_id:token\ttimestamp:float\trating:float\treview:token_seq\n"
        "ann\t1e5\t1704099600.25\t\t\n"
        "ann\ta b\t1704186000\t3\tbold\n"
        "ann\t007\t1704276000\t5\tfine\n"
        'bob\t1e5\t1704103200\t4\t"two lines, ""quoted"" too"\n'
        "bob\t007\t1704103200\t4\t\n"
        "bob\tghost\t1704362400\t1\t\n"
    )
    assert (folder / "shop.item").read_text(encoding="utf-8") == (
        "item_id:token\ttitle:token_seq\tdescription:token_seq\tcolour:token\n"
        "1e5\tBlue lamp\tA lamp; blue\tdark blue\n"
        "007\tTwo lines 🎮\t\tred\n"
        "a b\t\t\t\n"
        "idle\tIdle & co\tNothing\tred\n"
        "ghost\t\t\t\n"
    )
    assert counted(report) == {
        "duplicates": 1,
        "unknown_items": 1,
        "cleaned_interactions": 2,
        "item_copies": 1,
        "cleaned_items": 4,
        "never_bought": 1,
        "blank_titles": 1,
        "no_text": 1,
    }
    assert [(step.step, *step.triple()) for step in report.steps] == [
        ("rows of the file", 2, 4, 7),
        ("without duplicate rows", 2, 4, 6),
    ]
    saved = json.loads((folder / "shop.import.json").read_text(encoding="utf-8"))
    assert saved["numbers"]["interactions"] == 6 and saved["numbers"]["split"]["test"] == [2, 2]
    assert saved["findings"][0]["examples"] == [{"where": "orders.csv, line 8", "text": "'ann', '007'"}]
    assert saved["columns"]["items"]["colour:token"] == "paint"


AWKWARD = ["007", "1e5", "True", " lead", "trail ", "a b", "a,b", "t\tt", "n\nn", "c\rr", "r\r\nn", '"', '"q"', 'a"b']
AWKWARD += ["#x", "🎮", "é", "\\N", "x:token", "'", "-", "0", "0.0", "inf", "a\u2028b", "a\x85b", "nan_"]


@pytest.mark.parametrize("fast", [True, False])
def test_recbole_reads_the_same_ids_back(tmp_path: Path, fast: bool) -> None:
    rows = [(user, item, n) for n, user in enumerate(AWKWARD) for item in AWKWARD[n % 5 : n % 5 + 4]]

    def quoted(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    orders = "user_id,item_id,timestamp\n" + "".join(f"{quoted(u)},{quoted(i)},{t}\n" for u, i, t in rows)
    products = "item_id,title\n" + "".join(f"{quoted(item)},{quoted('Title of ' + item)}\n" for item in AWKWARD)
    with (tmp_path / "orders.csv").open("w", encoding="utf-8", newline="") as file:
        file.write(orders)
    with (tmp_path / "products.csv").open("w", encoding="utf-8", newline="") as file:
        file.write(products)
    import_tables(ImportOptions("shop", tmp_path / "orders.csv", tmp_path / "products.csv", tmp_path / "dataset"))
    given = {
        "data_path": str(tmp_path / "dataset"),
        "checkpoint_dir": str(tmp_path / "saved"),
        "fast_loading": fast,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]},
    }
    dataset = create_dataset(Config("SASRec", "shop", config_dict=given))
    users, items = dataset.field2id_token["user_id"], dataset.field2id_token["item_id"]
    read = zip(users[dataset.inter_feat["user_id"]], items[dataset.inter_feat["item_id"]], strict=True)
    assert Counter((str(user), str(item)) for user, item in read) == Counter((user, item) for user, item, _ in rows)
    assert {str(item) for item in items[1:]} == set(AWKWARD)
    texts = read_item_texts(tmp_path / "dataset" / "shop" / "shop.item", AWKWARD, "item_id", ["title"], [])
    assert texts.titles == tuple(" ".join(f"Title of {item}".split()) for item in AWKWARD)


def test_split_sizes_are_those_of_a_run(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    rows = [(f"u{u}", f"i{rng.integers(9)}", n) for u in range(30) for n in range(int(rng.integers(1, 8)))]
    lines = "".join(f"{user},{item},{time}\n" for user, item, time in rows)
    report = import_tables(options(tmp_path, "user_id,item_id,timestamp\n" + lines, products=None, pairs=()))
    given = {"data_path": str(tmp_path / "dataset"), "checkpoint_dir": str(tmp_path / "saved")}
    config = Config("SASRec", "shop", config_dict=given)
    loaders = data_preparation(config, create_dataset(config))
    for name, loader in zip(("training", "validation", "test"), loaders, strict=True):
        feat = loader._dataset.inter_feat
        assert report.numbers.split[name] == (len(feat), len(feat["user_id"].unique())), name
    assert counted(report)["no_items_table"] == report.numbers.items == report.numbers.bought


class Page(HTMLParser):
    """Tags and texts of the page, without scripts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.links: list[str] = []
        self.words, self.figures, self.open = "", [], [""]
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        given = dict(attributes)
        self.links += [str(given[name]) for name in ("src", "href") if name in given]
        self.open.append("json" if given.get("type") == "application/json" else tag)

    def handle_endtag(self, tag: str) -> None:
        self.open.append("")

    def handle_data(self, data: str) -> None:
        if self.open[-1] == "json":
            self.figures.append(json.loads(data))
        elif self.open[-1] not in ("script", "style"):
            self.words += data


def test_texts_are_escaped_in_the_page(tmp_path: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    orders = ORDERS.replace("ghost", f'"{evil}"').replace("customer", evil).replace("fine", f'"{evil}"')
    pairs = (Pair("user_id", evil), *parse_pairs([COLUMNS.replace("user_id=customer ", "")]))
    report = import_tables(options(tmp_path, orders, pairs=pairs))
    page = Page((tmp_path / "dataset" / "shop" / "shop.import.html").read_text(encoding="utf-8"))
    assert page.tags["img"] == 0 and all(link.startswith("#") for link in page.links)
    assert page.tags["script"] == 2 + 3 and len(page.figures) == 3
    assert page.words.count(evil) >= 2
    for one in report.findings:
        assert one.meaning in page.words and f"{one.count:,} of {one.total:,}: {one.what}" in page.words
    lengths, times, _ = page.figures
    assert lengths["data"][0]["x"] == ["1", "2", "3"] and lengths["data"][0]["y"] == [0, 0, 2]
    assert sum(times["data"][0]["y"]) == 6


def test_bins_of_lengths() -> None:
    labels, users = binned({1: 5, 10: 2, 11: 3, 20: 1, 21: 4, 150: 6})
    assert labels[:2] == ["1", "2"] and labels[9:] == ["10", "11-20", "21-50", "51-100", "101-200"]
    assert dict(zip(labels, users, strict=True)) == {
        **{str(n): 0 for n in range(2, 10)},
        **{"1": 5, "10": 2, "11-20": 4, "21-50": 4, "51-100": 0, "101-200": 6},
    }


def test_options_that_leave_out(tmp_path: Path) -> None:
    report = import_tables(options(tmp_path, drop_unknown_items=True, first_only=True, min_item_interactions=2))
    lines = (tmp_path / "dataset" / "shop" / "shop.inter").read_text(encoding="utf-8").splitlines()[1:]
    assert sorted(line.split("\t")[1] for line in lines) == ["007", "007", "1e5", "1e5"]
    assert [step.interactions for step in report.steps] == [7, 6, 5, 4]
    items = (tmp_path / "dataset" / "shop" / "shop.item").read_text(encoding="utf-8").splitlines()[1:]
    assert [line.split("\t")[0] for line in items] == ["1e5", "007"] and counted(report)["rare_items"] == 2


def test_types_by_name(tmp_path: Path) -> None:
    import_tables(options(tmp_path, types={"rating": "token", "colour": "token_seq"}))
    folder = tmp_path / "dataset" / "shop"
    assert "rating:token\t" in (folder / "shop.inter").read_text(encoding="utf-8").splitlines()[0]
    assert (folder / "shop.item").read_text(encoding="utf-8").splitlines()[0].endswith("colour:token_seq")
    with pytest.raises(ValueError, match="there is no field 'ratin'; did you mean 'rating'"):
        import_tables(options(tmp_path, types={"ratin": "token"}, overwrite=True))
    with pytest.raises(ValueError, match=r"line 5: 'x'.*--types rating=token"):
        import_tables(options(tmp_path, ORDERS.replace("09:00:00.250Z,,", "09:00:00.250Z,x,"), overwrite=True))


def test_missing_ids_stop_or_are_marked(tmp_path: Path) -> None:
    orders = ORDERS.replace("bob", "null").replace("ghost", "NA")
    with pytest.raises(ValueError, match=r"3 of 7 rows .* 'null'.*--reserved_ids=mark"):
        import_tables(options(tmp_path, orders))
    import_tables(options(tmp_path, orders, reserved_ids="mark"))
    lines = (tmp_path / "dataset" / "shop" / "shop.inter").read_text(encoding="utf-8").splitlines()
    assert lines[-1].startswith("null_\tNA_\t")


def test_an_existing_data_set_needs_overwrite(tmp_path: Path) -> None:
    import_tables(options(tmp_path))
    folder = tmp_path / "dataset" / "shop"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match="--overwrite"):
        import_tables(options(tmp_path, first_only=True))
    with pytest.raises(ValueError, match=r"no column 'user_id', 'item_id', 'timestamp';.*'when'"):
        import_tables(options(tmp_path, "customer,sku,when\na,b,1\n", pairs=(), overwrite=True))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    report = import_tables(options(tmp_path, ORDERS + "cid,007,2024-02-01,5,\n", overwrite=True))
    assert report.numbers.users == 3 and "cid\t007" in (folder / "shop.inter").read_text(encoding="utf-8")


def test_a_full_disk_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, rows: object) -> None:
        path.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    given = options(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_atomic", full)
        with pytest.raises(OSError, match=r"no space left in .*partial files have been removed") as caught:
            import_tables(given)
        assert caught.value.errno == errno.ENOSPC and not (tmp_path / "dataset").exists()
    import_tables(given)
    before = (tmp_path / "dataset" / "shop" / "shop.inter").read_bytes()
    monkeypatch.setattr(module, "write_atomic", full)
    with pytest.raises(OSError, match="no space left"):
        import_tables(options(tmp_path, overwrite=True))
    assert (tmp_path / "dataset" / "shop" / "shop.inter").read_bytes() == before
    assert not [path for path in (tmp_path / "dataset" / "shop").iterdir() if path.name.startswith(".")]


def test_a_read_only_folder_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = options(tmp_path)
    (tmp_path / "dataset").write_text("a file stands in the way")
    with pytest.raises(ValueError, match="is not writable"):
        import_tables(given)
    (tmp_path / "dataset").unlink()

    def forbidden(*args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", forbidden)  # root may write anywhere, so file modes are not enough
    with pytest.raises(ValueError, match=r"is not writable .*Read-only"):
        import_tables(given)


@pytest.mark.parametrize(
    ("orders", "message"),
    [
        ("", "is empty"),
        ("customer,sku,bought_at,stars,comment\n", "no rows"),
        ("customer,sku,bought_at,stars,comment\nann,007,soon,5,x\n", r"1 of 1 rows .*'soon'.*--time_format"),
        ("customer,sku,bought_at,stars,comment\nann,007,20240131,5,x\n", "%Y%m%d"),
    ],
)
def test_unusable_tables_are_errors(tmp_path: Path, orders: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        import_tables(options(tmp_path, orders))
    assert not (tmp_path / "dataset").exists()


def test_one_table_serves_as_both(tmp_path: Path) -> None:
    """Every order repeats the title: the same file is the item table, and its equal rows are merged."""
    orders = "user_id,item_id,timestamp,title\n" + "".join(f"u{n % 3},i{n % 4},{n},Thing {n % 4}\n" for n in range(12))
    given = options(tmp_path, orders, products=orders, pairs=())
    report = import_tables(given)
    assert report.numbers.items == 4 and counted(report)["item_copies"] == 8
    item = (tmp_path / "dataset" / "shop" / "shop.item").read_text(encoding="utf-8")
    assert item == "item_id:token\ttitle:token_seq\n" + "".join(f"i{n}\tThing {n}\n" for n in range(4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "a/b"}, "cannot name a data set"),
        ({"name": ".."}, "cannot name a data set"),
        ({"reserved_ids": "keep"}, "stop, mark"),
        ({"min_user_interactions": -1}, "must be 0 or more"),
        ({"products": None, "drop_unknown_items": True}, "--items=FILE"),
    ],
)
def test_options_out_of_range(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        options(tmp_path, **changes)  # type: ignore[arg-type]


def test_suggested_commands_fit_the_data_set(tmp_path: Path) -> None:
    report = import_tables(options(tmp_path, bad_row_limit=BadRowLimit("0")))
    (index, _), (run, _), (ask, _) = report.commands
    assert "index_" not in index.partition("recbole_lcrec.indexing")[2] and "index_" not in run
    assert "--dataset=shop" in run and f"--data_path={tmp_path / 'dataset'}" in run and "--history=" in ask
