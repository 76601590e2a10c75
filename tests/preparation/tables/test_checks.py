"""Findings and dropped rows of the checks, against counts by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas._libs.parsers import STR_NA_VALUES

from recbole_lcrec.data.item_text import clean_text
from recbole_lcrec.data.reserved_ids import RESERVED_IDS
from recbole_lcrec.preparation.tables.checks import Interactions, choose_rows, read_interactions
from recbole_lcrec.preparation.tables.findings import BadRowLimit, Finding
from recbole_lcrec.preparation.tables.items import Catalogue, clean_columns, complete_catalogue, read_catalogue
from recbole_lcrec.preparation.tables.reading import BrokenRecord, RawTable
from recbole_lcrec.preparation.tables.report import (
    describe,
    describe_texts,
    split_sizes,
    suggest_commands,
)
from recbole_lcrec.preparation.tables.rows import require_numbers

ANY = BadRowLimit("100%")


def table(rows: list[tuple[str, ...]], names: tuple[str, ...] = ("user_id", "item_id", "timestamp")) -> RawTable:
    frame = pd.DataFrame(rows, columns=list(names), dtype=object)
    digests = np.array([hash(row) for row in rows], dtype=np.int64)
    return RawTable(Path("my.csv"), frame, np.arange(2, len(rows) + 2), digests)


def by_key(found: tuple[Finding, ...]) -> dict[str, Finding]:
    assert len({one.key for one in found}) == len(found)
    return {one.key: one for one in found}


def usable(rows: list[tuple[str, ...]], **changes: object) -> Interactions:
    how = {"time_format": None, "reserved_ids": "stop", "limit": ANY, **changes}
    return read_interactions(table(rows), **how)[0]  # type: ignore[arg-type]


def test_reserved_ids_match_pandas() -> None:
    assert STR_NA_VALUES - {""} | {"[PAD]"} == RESERVED_IDS


def test_unusable_rows_are_counted_and_named() -> None:
    rows = [("u", "a", "1"), (" ", "a", "2"), ("u", "", "3"), ("u", "b\0", "4"), ("null", "b", "5"), ("u", "b", "soon")]
    own = table(rows)
    own = RawTable(own.path, own.columns, own.lines, own.digests, (BrokenRecord(9, 2, "3 fields"),))
    kept, steps, found = read_interactions(own, None, "stop", ANY)
    assert kept.columns["item_id"].tolist() == ["a"] and kept.lines.tolist() == [2]
    counted = by_key(found)
    expected = {"broken": 2, "blank_user": 1, "blank_item": 1, "nul_id": 1, "missing_id": 1, "bad_time": 1}
    assert {key: counted[key].count for key in expected} == expected
    assert all(counted[key].total == 8 and counted[key].action == "dropped" for key in expected)
    assert (
        counted["bad_time"].examples[0].where == "my.csv, line 7" and counted["bad_time"].examples[0].text == "'soon'"
    )
    assert [step.triple() for step in steps] == [(3, 4, 8), (1, 1, 1)]


def test_too_many_unusable_rows() -> None:
    rows = [("u", "a", str(n)) for n in range(95)] + [("u", "a", f"bad {n}") for n in range(5)]
    kept, _, _ = read_interactions(table(rows), None, "stop", BadRowLimit("5%"))
    assert len(kept) == 95
    for limit in ("4%", "4", "1%"):
        with pytest.raises(ValueError, match=r"5 of 100 rows \(5\.0%\).*line 97: .*'bad 0'.*--time_format"):
            read_interactions(table(rows), None, "stop", BadRowLimit(limit))
    for wrong in ("-1", "1.5", "101%", "some", "nan", "inf", ""):
        with pytest.raises(ValueError, match="--bad_row_limit"):
            BadRowLimit(wrong)


def test_marked_ids() -> None:
    rows = [("null", "a", "1"), ("u", "NA", "2"), ("u", "a", "3")]
    kept, _, found = read_interactions(table(rows), None, "mark", BadRowLimit("0"))
    assert kept.columns["user_id"].tolist() == ["null_", "u", "u"] and kept.columns["item_id"].tolist()[1] == "NA_"
    assert [one.count for one in found if one.key == "marked_ids"] == [1, 1]
    with pytest.raises(ValueError, match="'NA_' exists already"):
        read_interactions(table([*rows, ("u", "NA_", "4")]), None, "mark", ANY)


def test_mixed_time_units_are_reported_with_shares() -> None:
    rows = [("u", "a", "1700000000"), ("u", "a", "1700000000000"), ("u", "b", "1700000001"), ("u", "c", "2024-01-31")]
    with pytest.raises(ValueError, match=r"2 \(50\.0%\) seconds.*line 2.*1 \(25\.0%\) millis.*line 3.*1 .* dates"):
        usable(rows)
    kept, _, found = read_interactions(table(rows), "mixed", "stop", ANY)
    assert kept.nanoseconds[:2].tolist() == [1_700_000_000 * 10**9] * 2
    assert by_key(found)["mixed_times"].count == 2
    with pytest.raises(ValueError, match="%Y%m%d"):
        usable([("u", "a", "20240131")])


def test_findings_about_times() -> None:
    def keys(*times: str, now: int | None = None) -> dict[str, int]:
        rows = [("u", str(n), time) for n, time in enumerate(times)]
        found = read_interactions(table(rows), None, "stop", ANY, now)[2]
        return {one.key: one.count for one in found}

    assert keys("2024-01-31T10:00:00", "2024-01-31T10:00:00Z") == {"zone_mixture": 1}
    assert keys("2024-01-31T10:00:00", "2024-01-31T11:00:00") == {"zoneless": 2}
    assert keys("2024-01-31T00:00:00Z", "2024-02-01T00:00:00Z") == {"whole_days": 2}
    assert keys("1", "2", "3") == {"early_times": 3}
    assert keys("1700000000", "1800000001", now=1_750_000_000 * 10**9) == {"future_times": 1}


def test_unusual_ids_are_reported_and_kept() -> None:
    rows = [("u ", "a,b", "1"), ("u", 'q"', "2"), ("u", "t\tt", "3"), ("u\n", "plain", "4"), ("007", "1e5", "5")]
    kept, _, found = read_interactions(table(rows), None, "stop", BadRowLimit("0"))
    assert len(kept) == 5
    counted = by_key(found)
    assert (counted["edge_blanks"].count, counted["quoted_ids"].count, counted["comma_ids"].count) == (2, 3, 1)


def test_duplicates_and_repeats() -> None:
    rows = [("u", "a", "1"), ("u", "b", "2"), ("u", "a", "1"), ("u", "a", "3"), ("v", "a", "1"), ("u", "b", "2.0")]
    kept, _, found = choose_rows(usable(rows), None)
    counted = {one.key: one.count for one in found}
    assert kept.lines.tolist() == [2, 3, 5, 6, 7]
    assert counted == {"duplicates": 1, "same_moment": 1, "repeats": 1, "short_users": 1}
    first, _, found = choose_rows(usable(rows), None, first_only=True)
    assert first.lines.tolist() == [2, 3, 6] and by_key(found)["later_ones"].count == 2


def test_first_only_goes_by_time_not_by_line() -> None:
    rows = [("u", "a", "9"), ("u", "b", "5"), ("u", "a", "1"), ("u", "b", "5.0")]
    assert choose_rows(usable(rows), None, first_only=True)[0].lines.tolist() == [3, 4]


def test_unknown_items() -> None:
    rows = [("u", "a", "1"), ("u", "x", "2"), ("u", "x", "3"), ("u", "y", "4")]
    kept, _, found = choose_rows(usable(rows), {"a"})
    unknown = by_key(found)["unknown_items"]
    assert len(kept) == 4 and unknown.count == 3 and "2 such items" in unknown.meaning
    kept, steps, _ = choose_rows(usable(rows), {"a"}, drop_unknown=True)
    assert kept.columns["item_id"].tolist() == ["a"] and steps[-1].triple() == (1, 1, 1)
    for drop in (False, True):
        with pytest.raises(ValueError, match=r"they look like 'a', those of the item table like 'k'"):
            choose_rows(usable(rows), {"z", "k"}, drop_unknown=drop)
    with pytest.raises(ValueError, match="no interaction is left"):
        choose_rows(usable(rows), {"a"}, drop_unknown=True, k_user=2)


def test_k_core_against_brute_force() -> None:
    rng = np.random.default_rng(2)
    rows = [(f"u{rng.integers(30)}", f"i{rng.integers(25)}", str(n)) for n in range(110)]
    left = list(rows)
    while True:
        users, items = Counter(row[0] for row in left), Counter(row[1] for row in left)
        fewer = [row for row in left if users[row[0]] >= 3 and items[row[1]] >= 4]
        if len(fewer) == len(left):
            break
        left = fewer
    kept, steps, found = choose_rows(usable(rows), None, k_user=3, k_item=4)
    assert 0 < len(left) < len(rows)
    assert list(kept.columns.itertuples(index=False, name=None)) == left
    assert by_key(found)["core"].count == len(rows) - len(left) and steps[-1].interactions == len(left)


def test_short_users_and_split() -> None:
    lengths = [1, 1, 2, 3, 4, 7]
    rows = [(f"u{user}", f"i{n}", str(n)) for user, length in enumerate(lengths) for n in range(length)]
    short = by_key(choose_rows(usable(rows), None)[2])["short_users"]
    assert (short.count, short.total) == (3, 6) and "One interaction: 2 users; two: 1." in short.meaning
    # by hand: targets after the first item; the last is tested from 3 on, the one before validated from 4 on
    training = 0 + 0 + 1 + 1 + 1 + 4
    assert split_sizes(np.array(lengths)) == {"training": (training, 4), "validation": (2, 2), "test": (3, 3)}


# --- items -----------------------------------------------------------------------------------------------------------


def items(rows: list[tuple[str, ...]], *names: str) -> RawTable:
    return table(rows, ("item_id", *names))


def test_duplicate_item_rows() -> None:
    own = items([("a", "A"), ("b", "B"), ("a", "A"), ("", "C")], "title")
    catalogue, found = read_catalogue(own, ANY)
    assert catalogue.columns["item_id"].tolist() == ["a", "b"] and catalogue.lines.tolist() == [2, 3]
    assert {key: one.count for key, one in by_key(found).items()} == {"blank_item_rows": 1, "item_copies": 1}
    with pytest.raises(ValueError, match=r"1 item\(s\) have several different rows: 'a' on lines 2, 4 \(title\)"):
        read_catalogue(items([("a", "A", "x"), ("b", "B", "x"), ("a", "other", "x")], "title", "brand"), ANY)


def test_items_of_the_catalogue() -> None:
    own, _ = read_catalogue(items([("a", "A"), ("b", ""), ("c", "N/A"), ("d", "D")], "title"), ANY)
    whole, found = complete_catalogue(own, ["x", "a", "y"], 0, "my.csv", "line", True)
    assert whole.columns.to_numpy().tolist() == [["a", "A"], ["b", ""], ["c", "N/A"], ["d", "D"], ["x", ""], ["y", ""]]
    counted = by_key(found)
    assert {key: one.count for key, one in counted.items()} == {
        "never_bought": 3,
        "blank_titles": 1,
        "placeholder_titles": 1,
        "no_text": 1,
    }
    assert counted["blank_titles"].examples[0].where == "my.csv, line 3"
    core, found = complete_catalogue(own, ["a"], 2, "my.csv", "line", True)
    assert core.columns["item_id"].tolist() == ["a"] and by_key(found)["rare_items"].count == 3
    none = Catalogue(pd.DataFrame({"item_id": pd.Series([], dtype=object)}), np.zeros(0, dtype=np.int64))
    bare, found = complete_catalogue(none, ["x", "y"], 0, "", "line", False)
    assert bare.columns["item_id"].tolist() == ["x", "y"] and list(by_key(found)) == ["no_items_table"]


def test_texts_are_cleaned_by_clean_text() -> None:
    rng = np.random.default_rng(1)
    pieces = [
        "a",
        " ",
        "  ",
        "\t",
        "\n",
        "\0",
        "<b>",
        "</b>",
        "&amp;",
        "[",
        "]",
        "'",
        ",",
        "é",
        "🎮",
        "\u200b",
        "\x85",
        "1 <",
    ]
    pieces += [",", "\xa0", "\u2028", "\u3000", "\x1f", ".", '"']
    texts = ["".join(rng.choice(pieces, size=rng.integers(0, 7))) for _ in range(3000)] + [
        "['a', 'b']",
        " [1]",
        "plain",
    ]
    frame = pd.DataFrame({"item_id": texts, "title": texts, "price": texts}, dtype=object)
    types = {"item_id": "token", "title": "token_seq", "price": "float"}
    cleaned, found = clean_columns("cleaned_items", frame, types, np.arange(len(texts)), "my.csv", "line")
    expected = [clean_text(text) for text in texts]
    assert cleaned["title"].tolist() == expected and cleaned["item_id"].tolist() == texts
    changed = [n for n, text in enumerate(texts) if expected[n] != text.strip(" ")]
    assert found[0].count == len(changed) and found[0].examples[0].where == f"my.csv, line {changed[0]}"
    assert found[0].examples[0].text == repr(texts[changed[0]])


def test_numbers_must_be_numbers() -> None:
    own = items([("a", "1.5"), ("b", ""), ("c", "NA"), ("d", "4,5"), ("e", "five")], "rating")
    with pytest.raises(ValueError, match=r"2 of 5 values of rating .*line 5: '4,5'; line 6: 'five'.*rating=token"):
        require_numbers(own, {"item_id": "token", "rating": "float"})
    require_numbers(own, {"item_id": "token", "rating": "token"})


# --- the report's numbers --------------------------------------------------------------------------------------------


def test_numbers_by_hand() -> None:
    users, bought = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 0, 0, 2, 0])
    numbers = describe(users, bought, np.array([5, 6, 7, 1, 2, 3]) * 10**9, n_items=10)
    assert (numbers.users, numbers.items, numbers.bought, numbers.interactions) == (3, 10, 3, 6)
    assert numbers.density == 5 / 30, "user 0 has item 0 twice"
    assert numbers.lengths == {1: 1, 2: 1, 3: 1} and numbers.popularity == ((1, 4), (2, 1), (3, 1))
    assert numbers.top_share == 4 / 6 and numbers.length_quantiles[2] == 2
    assert (numbers.first_time, numbers.last_time) == ("1970-01-01T00:00:01Z", "1970-01-01T00:00:07Z")
    assert sum(count for _, count in numbers.time_bins) == 6 and len(numbers.time_bins) <= 60


def test_coverage_by_hand() -> None:
    frame = pd.DataFrame(
        {"item_id": list("abcd"), "title": ["x", "x y", "", "x"], "price": ["1", "", "", ""]}, dtype=object
    )
    (title,) = describe_texts("items", frame, {"item_id": "token", "title": "token_seq", "price": "float"})
    assert (title.name, title.rows, title.filled, title.distinct) == ("title", 4, 3, 2)
    assert title.words[2] == 1 and title.words[-1] == 2


def test_suggested_commands_use_existing_fields() -> None:
    lines = [line for line, _ in suggest_commands("shop", "my data", ["title", "brand"], list("abcdefg"))]
    assert len(lines) == 3 and all("'--data_path=my data'" in line for line in lines[:2])
    assert all("--text_description_fields=[]" in line and "codebook" not in line for line in lines[:2])
    assert "--history=c,d,e,f,g" in lines[2]
    assert len(suggest_commands("shop", "dataset", [], ["a"])) == 2
    named = suggest_commands("shop", "dataset", ["label", "description"], ["a"])[0][0]
    assert "'--text_title_fields=[label]'" in named and "text_description_fields" not in named
