"""The preparation against plain Python over tuples, on files in the publishers' format."""

import csv
import errno
import logging
import os
import re

import numpy as np
import pytest

from recbole_lcrec.preparation.amazon import prepare as module
from recbole_lcrec.preparation.amazon.choice import AmazonOptions
from recbole_lcrec.preparation.amazon.prepare import amazon_artifact, prepare_amazon, require_raw
from recbole_lcrec.preparation.amazon.report import Report
from recbole_lcrec.runtime.artifacts import ArtifactStore, DiskFullError
from tests.data.plain_data import loaders, sequences_in
from tests.preparation.amazon.amazon_raw import (
    item_id,
    json_lines,
    meta_2018,
    meta_2023,
    packed,
    prepared_by_hand,
    random_events,
    ratings_2018,
    review_2018,
    review_2023,
    user_id,
)

CORE = [(user_id(u), item_id(i), 4.0, 1_400_000_000 + 86400 * ((u + i) % 3)) for u in range(5) for i in (0, 1, 2, 4, 5)]
UNTITLED = {3: "", 7: "<span></span>", 9: "var aPageStart = (new Date()).getTime();"}


def table(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def write_raw(folder, events, with_csv=True, reviews="{}_5.json.gz", users_first=False, category="Video_Games"):
    """Write raw files of 2018 in which items 3, 7 and 9 have no title and item 11 has no metadata."""
    folder.mkdir(parents=True, exist_ok=True)
    if with_csv:
        ratings_2018(folder / f"{category}.csv", events, users_first)
    if reviews:
        json_lines(
            folder / reviews.format(category),
            [review_2018(*event, text=f"Body {n}.", summary=f"Head {n}") for n, event in enumerate(events)],
        )
    titles = {i: UNTITLED.get(i, f"Game {i}") for i in range(11)}
    json_lines(folder / f"meta_{category}.json.gz", [meta_2018(item_id(i), title) for i, title in titles.items()])
    return {item_id(i) for i in titles if i not in UNTITLED}


@pytest.mark.parametrize("with_csv", [True, False], ids=["ratings", "reviews alone"])
@pytest.mark.parametrize("keep_repeats", [False, True])
def test_kept_interactions_match_plain_python(tmp_path, with_csv, keep_repeats):
    events = random_events(np.random.default_rng(3))
    titled = write_raw(tmp_path / "raw", events, with_csv, users_first=keep_repeats)
    counts, kept = prepared_by_hand(events, titled, keep_repeats=keep_repeats)
    assert len(kept) > 40 and counts == sorted(counts, reverse=True) and len(set(counts)) == len(counts)
    options = AmazonOptions(keep_repeats=keep_repeats)
    report = prepare_amazon("Games", tmp_path / "raw", tmp_path, options=options, show_progress=False)
    rows = table(tmp_path / "Games.inter")
    found = [
        (r["user_id:token"], r["item_id:token"], float(r["rating:float"]), int(r["timestamp:float"])) for r in rows
    ]
    assert found == [event[:4] for event in kept]
    assert [step.interactions for step in report.steps] == counts
    assert report.steps[-1].triple() == (len({e[0] for e in kept}), len({e[1] for e in kept}), len(kept))
    assert [r["review:token_seq"] for r in rows] == [f"Body {first_line(events, e)}." for e in kept]
    assert [r["summary:token_seq"] for r in rows] == [f"Head {first_line(events, e)}" for e in kept]
    assert {r["item_id:token"] for r in table(tmp_path / "Games.item")} == {e[1] for e in kept}
    assert sorted(os.listdir(tmp_path)) == ["Games.inter", "Games.item", "Games.report.json", "raw"]
    assert report == Report.load(tmp_path / "Games.report.json")


def first_line(events, kept):
    return next(n for n, event in enumerate(events) if (*event[:2], event[3]) == (*kept[:2], kept[3]))


def test_the_5_core_reviews_give_the_same_as_the_full_file(tmp_path):
    events = random_events(np.random.default_rng(4))
    write_raw(tmp_path / "all", events, with_csv=False, reviews="{}.json.gz")
    users, items = [e[0] for e in events], [e[1] for e in events]
    five = [e for e in events if users.count(e[0]) >= 5 and items.count(e[1]) >= 5]
    write_raw(tmp_path / "five", five, with_csv=False)
    for folder in ("all", "five"):
        prepare_amazon("Games", tmp_path / folder, tmp_path / f"{folder}-out", show_progress=False)
    first, second = (
        [(r["user_id:token"], r["item_id:token"]) for r in table(tmp_path / f"{folder}-out" / "Games.inter")]
        for folder in ("all", "five")
    )
    assert sorted(first) == sorted(second) and first


def test_a_difference_from_the_papers_counts_is_a_warning(tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    write_raw(tmp_path / "raw", [*CORE, *((user_id(u), item_id(7), 1.0, 1_500_000_000) for u in range(5))])
    report = prepare_amazon("Games", tmp_path / "raw", tmp_path, show_progress=False)
    assert report.expected == (50_546, 16_859, 452_989) and report.steps[-1].triple() == (5, 5, 25)
    assert "Table II of the paper" in report.table() and "452,989" in report.table()
    assert report.with_untitled == (5, 6, 30)  # with item 7, whose title is a tag
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any("-50,541 users" in text and "5 / 6 / 30" in text for text in warnings)
    monkeypatch.setattr(module, "expected_counts", lambda name, edition: (5, 5, 25))
    caplog.clear()
    assert prepare_amazon("Games", tmp_path / "raw", tmp_path, show_progress=False).difference() is None
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]


def test_untitled_items_can_be_kept(tmp_path):
    write_raw(tmp_path / "raw", [*CORE, *((user_id(u), item_id(3), 1.0, 1_500_000_000) for u in range(5))])
    options = AmazonOptions(keep_untitled=True)
    report = prepare_amazon("Games", tmp_path / "raw", tmp_path, options=options, show_progress=False)
    assert report.steps[-1].triple() == (5, 6, 30)
    assert {row["item_id:token"]: row["title:token_seq"] for row in table(tmp_path / "Games.item")}[item_id(3)] == ""


def test_item_texts_are_one_clean_line(tmp_path):
    raw = tmp_path / "raw"
    records = [meta_2018(item_id(i), f"Game {i}") for i in range(6)]
    records[0] |= {
        "title": "Say &amp;quot;Hi&amp;quot;\tto\nall \U0001f3ae\x00 <i>now</i> \ud83d",
        "description": ["One<br/>two", "", "'three'"],
        "brand": "by\n    Some, Body",
        "category": ["Video Games", "PC", "</span></span></span>", "<a href='x'>junk</a>"],
    }
    records[1] |= {"title": "['bracketed", "description": [], "brand": "Visit Amazon's A. Uthor Page", "category": []}
    json_lines(raw / "meta_Video_Games.json.gz", [meta_2018(item_id(0), ""), *records, meta_2018(item_id(0), "Later")])
    body = 'It\tis <b>good</b>.\nReally\x00 \u2028\U0001f44d "yes"'
    json_lines(raw / "Video_Games.json.gz", [review_2018(*event, text=body, summary=None) for event in CORE])
    report = prepare_amazon("Games", raw, tmp_path, show_progress=False)
    first, second = table(tmp_path / "Games.item")[:2]
    assert list(first.values()) == [
        item_id(0), 'Say "Hi" to all \U0001f3ae now ?', "One two 'three'", "Some, Body", "Video Games,PC",
    ]  # fmt: skip
    assert list(second.values())[1:] == ["['bracketed", "", "A. Uthor", ""]
    reviews = {(row["summary:token_seq"], row["review:token_seq"]) for row in table(tmp_path / "Games.inter")}
    assert reviews == {("", 'It is good . Really \U0001f44d "yes"')}
    assert report.notes["duplicate lines of metadata"] == 2 and report.notes["interactions with a review"] == 25


def test_a_deeply_nested_description_is_read(tmp_path):
    raw, deep = tmp_path / "raw", ["deep", "down"]
    for _ in range(500):
        deep = [deep]
    json_lines(raw / "Video_Games.json.gz", [review_2018(*event) for event in CORE])
    json_lines(
        raw / "meta_Video_Games.json.gz", [meta_2018(item_id(i), f"Game {i}", description=deep) for i in range(6)]
    )
    prepare_amazon("Games", raw, tmp_path, show_progress=False)
    assert {row["description:token_seq"] for row in table(tmp_path / "Games.item")} == {"deep down"}


def test_amazon_2023_in_milliseconds(tmp_path):
    raw = tmp_path / "raw"
    events = [(f"{user}AHB", item, 5.0, 1000 * time + 7 * n) for n, (user, item, _, time) in enumerate(CORE)]
    text = "user_id,parent_asin,rating,timestamp,history\n"
    text += "".join(f"{user},{item},{rating},{time},X1 X2\n" for user, item, rating, time in events)
    packed(raw / "Video_Games.csv.gz", text)
    json_lines(raw / "meta_Video_Games.jsonl.gz", [meta_2023(item_id(i), f"Game {i}", store=None) for i in range(6)])
    json_lines(raw / "Video_Games.jsonl.gz", [review_2023(*e, text=f"T{n}") for n, e in enumerate(events)])
    report = prepare_amazon("Video_Games", raw, tmp_path, show_progress=False)
    assert report.edition == "2023" and report.expected is None and report.steps[-1].triple() == (5, 5, 25)
    kept = sorted(range(25), key=lambda n: (events[n][0], events[n][3]))
    rows = table(tmp_path / "Video_Games.inter")
    assert [round(float(row["timestamp:float"]) * 1000) for row in rows] == [events[n][3] for n in kept]
    assert rows[0]["timestamp:float"] == "1400000000" and rows[1]["timestamp:float"].count(".") == 1
    assert [row["review:token_seq"] for row in rows] == [f"T{n}" for n in kept]
    first = table(tmp_path / "Video_Games.item")[0]
    assert first["brand:token"] == "Other" and first["categories:token_seq"] == "Video Games,PC"


def test_recbole_reads_the_written_files(tmp_path):
    """Ids with blanks, tabs, commas and quotation marks, and texts with quotation marks, through RecBole itself."""
    ids = ["a b", "c,d", "e\tf", '"g"', "h'i"]
    events = [(ids[n // 5], ids[n % 5], 3.0, 1_400_000_000 + n) for n in range(25)]
    raw = tmp_path / "shop" / "raw"
    json_lines(raw / "shop.json.gz", [review_2018(*event, text='"Quoted" it') for event in events])
    json_lines(raw / "meta_shop.json.gz", [meta_2018(item, f'"{item}" of it') for item in ids])
    prepare_amazon("shop", raw, tmp_path / "shop", show_progress=False)
    rows = table(tmp_path / "shop" / "shop.inter")
    assert [(row["user_id:token"], row["item_id:token"]) for row in rows] == [event[:2] for event in events]
    train, _, _ = loaders("SASRec", tmp_path, tmp_path, load_col={"inter": ["user_id", "item_id", "timestamp"]})
    assert set(train._dataset.field2id_token["user_id"][1:]) == set(ids)
    assert set(train._dataset.field2id_token["item_id"][1:]) == set(ids)


def test_equal_times_keep_the_order_of_the_file(tmp_path):
    events = [(user_id(0), item_id(i), 1.0, 1_400_000_000) for i in (4, 1, 0, 6, 2)]
    events += [(user_id(u), item, 1.0, 1_300_000_000) for u in range(1, 5) for _, item, _, _ in events[:5]]
    write_raw(tmp_path / "raw", events, reviews=None)
    prepare_amazon("Games", tmp_path / "raw", tmp_path, show_progress=False)
    assert sequences_in(tmp_path / "Games.inter")[user_id(0)] == [item_id(i) for i in (4, 1, 0, 6, 2)]
    assert "review:token_seq" not in table(tmp_path / "Games.inter")[0]


def test_a_changed_raw_file_makes_a_new_artifact(tmp_path):
    write_raw(tmp_path / "raw", CORE)
    store = ArtifactStore(tmp_path / "artifacts")
    raw = require_raw("Games", tmp_path / "raw")
    first, report = amazon_artifact(raw, store, show_progress=False)
    again, same = amazon_artifact(raw, store, show_progress=False)
    assert not first.reused and again.reused and first.path == again.path and report == same
    changed = raw.interactions
    os.utime(changed, ns=(1, changed.stat().st_mtime_ns + 1))
    assert amazon_artifact(raw, store, show_progress=False)[0].path != first.path
    other, _ = amazon_artifact(raw, store, AmazonOptions(k_user=2), show_progress=False)
    assert other.path != first.path


class FullDisk:
    """A row writer on a disk without space for the third row."""

    def __init__(self, *_, **__):
        self.rows = 0

    def writerow(self, _):
        self.rows += 1
        if self.rows == 3:
            raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_older_files(tmp_path, monkeypatch):
    write_raw(tmp_path / "raw", CORE)
    prepare_amazon("Games", tmp_path / "raw", tmp_path, show_progress=False)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("Games.*")}
    monkeypatch.setattr(module.csv, "writer", FullDisk)
    place = re.escape(str(tmp_path))
    message = rf"no space left in {place} \(No space left on device\); partial files have been removed: free"
    with pytest.raises(DiskFullError, match=message):
        prepare_amazon("Games", tmp_path / "raw", tmp_path, show_progress=False)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("Games.*")} == before
    assert sorted(os.listdir(tmp_path)) == [*sorted(before), "raw"]
    with pytest.raises(DiskFullError):
        amazon_artifact(require_raw("Games", tmp_path / "raw"), ArtifactStore(tmp_path / "store"), show_progress=False)
    assert not [path for path in (tmp_path / "store").iterdir() if path.is_dir()]


def test_a_read_only_folder_is_named(tmp_path):
    write_raw(tmp_path / "raw", CORE)
    (tmp_path / "file").write_text("")  # as root, no folder is read-only
    with pytest.raises(ValueError, match="file is not writable"):
        prepare_amazon("Games", tmp_path / "raw", tmp_path / "file", show_progress=False)


def test_metadata_of_other_items_are_rejected(tmp_path):
    write_raw(tmp_path / "raw", CORE)
    json_lines(tmp_path / "raw" / "meta_Video_Games.json.gz", [meta_2018("0000031852", "Tutu")])
    with pytest.raises(ValueError, match=r"contains none of the 5 items.*'B000000000'.*'0000031852'"):
        prepare_amazon("Games", tmp_path / "raw", tmp_path, show_progress=False)


def test_an_empty_result_names_the_step(tmp_path):
    write_raw(tmp_path / "raw", CORE[:7])
    with pytest.raises(ValueError, match=r"read: 7.*5-core of users, 5-core of items: 0.*lower k_user"):
        prepare_amazon("Games", tmp_path / "raw", tmp_path, show_progress=False)
    assert os.listdir(tmp_path) == ["raw"]


@pytest.mark.parametrize("changes", [{"k_user": 0}, {"k_item": 0}, {"bad_line_limit": -1}])
def test_invalid_options_are_rejected(changes):
    with pytest.raises(ValueError, match="must be at least 1"):
        AmazonOptions(**changes)
