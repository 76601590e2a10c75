"""MiniOneRec's CSV files: sequences are reconstructed from rows, and contradicting rows are named."""

import json
import logging

import numpy as np
import pytest

from recbole_lcrec.preparation.forms.minionerec import chain_rows, convert_minionerec
from recbole_lcrec.preparation.forms.minionerec_rows import Row, SourceFiles, find_source, sid_tokens
from tests.preparation.forms.made import columns, names_in, sequences, write_json
from tests.preparation.forms.minionerec_csv import (
    by_time,
    cells,
    random_sequences,
    rows_of,
    sid_of,
    split_files,
    title_of,
    write_csv,
)


def convert(tmp_path, source, **options):
    return convert_minionerec("shop", source, tmp_path / "dataset" / "shop", **options), tmp_path / "dataset" / "shop"


@pytest.mark.parametrize("cut", [1, 2, 10, 100])
@pytest.mark.parametrize("repeats", [False, True])
def test_sequences_are_reconstructed(tmp_path, cut, repeats):
    rng = np.random.default_rng(cut)
    known = random_sequences(rng, repeats)
    rows = by_time(rng, rows_of(known, cut), known)
    counts, out = convert(tmp_path, find_source(split_files(tmp_path / "source", rows), "Shop"))
    assert sequences(out / "shop.inter") == {user: [str(item) for item in items] for user, items in known.items()}
    items = sorted({item for items in known.values() for item in items})
    assert columns(out / "shop.item", "item_id", "title") == [
        (str(item), " ".join(title_of(item).replace("\x00", " ").split())) for item in items
    ]
    index = json.loads((out / "shop.index.json").read_text())
    assert index == {str(item): [f"<a_{item % 3}>", f"<b_{item % 5}>", f"<c_{item}>"] for item in items}
    assert counts["interactions"] == sum(map(len, known.values())) and counts["rows"] == len(rows)
    assert counts["rows without new items"] == counts["missing rows filled in"] == 0


def test_missing_rows_are_filled_from_histories(tmp_path):
    """A gap may have one row less than a history has items; a user's last row must exist."""
    rng = np.random.default_rng(5)
    cut = 4
    known = {f"A{user}": rng.permutation(60)[: rng.integers(2, 25)].tolist() for user in range(40)}
    rows, dropped = [], 0
    for user, items in known.items():
        run = 0
        for row in rows_of({user: items}, cut):
            last = row[1] == len(items) - 1
            if not last and run < cut - 1 and rng.random() < 0.5:
                run, dropped = run + 1, dropped + 1
                continue
            rows.append(row)
            run = 0
    path = write_csv(tmp_path / "all.csv", [cells(user, history, target) for user, _, history, target in rows])
    counts, out = convert(tmp_path, SourceFiles((path,)))
    assert sequences(out / "shop.inter") == {user: list(map(str, items)) for user, items in known.items()}
    assert 0 < counts["missing rows filled in"] <= dropped


def row(user, history, target, place="f.csv, line 2"):
    return Row(place, user, tuple(history), target, None, None)


@pytest.mark.parametrize(
    ("rows", "longest", "expected", "notes"),
    [
        ([("ab", "c"), ("bc", "d")], 2, "abcd", (1, 0, 0)),  # the first history may be truncated
        ([("a", "b"), ("ab", "c"), ("abc", "d")], 9, "abcd", (0, 0, 0)),
        ([("a", "b"), ("abcd", "e")], 9, "abcde", (0, 0, 2)),  # a complete history fills the gap
        ([("abc", "d"), ("a", "b"), ("ab", "c")], 9, "abcd", (0, 2, 0)),  # repeated rows
        ([("a", "b"), ("ab", "c"), ("bc", "a"), ("ca", "b"), ("ab", "c")], 2, "abcabc", (0, 0, 0)),
        ([("a", "b"), ("ab", "c"), ("bc", "d"), ("ab", "c")], 2, "abcd", (0, 1, 0)),
        ([("a", "a"), ("aa", "a"), ("aa", "a")], 2, "aaaa", (0, 0, 0)),  # one item, repeated
        ([("abc", "d"), ("cde", "f")], 3, "abcdef", (1, 0, 1)),
        ([("aba", "b"), ("bab", "a")], 3, "ababa", (1, 0, 0)),  # the longest overlap
        ([("", "a"), ("a", "b")], 9, "ab", (0, 0, 0)),
    ],
)
def test_chains(rows, longest, expected, notes):
    found, counted = chain_rows([row("u", history, target) for history, target in rows], longest)
    assert found == {"u": list(expected)}
    assert tuple(counted.values()) == notes


@pytest.mark.parametrize(
    ("rows", "longest"),
    [
        ([("a", "b"), ("ac", "d")], 9),  # a different start
        ([("ab", "c"), ("b", "c")], 9),  # truncated, although longer histories are not
        ([("abc", "d"), ("efg", "h")], 3),  # no overlap: the missing rows cannot be filled in
        ([("ab", "c"), ("", "x")], 9),
    ],
)
def test_contradictions(rows, longest):
    made = [row("u", history, target, f"f.csv, line {at}") for at, (history, target) in enumerate(rows, 2)]
    with pytest.raises(ValueError, match=r"f\.csv, line 3: the history of user 'u' does not continue"):
        chain_rows([row("other", "xyz", "w"), *made], longest)


def test_texts_and_index_of_files(tmp_path, caplog):
    known = {"A0": [0, 1, 2], "A1": [2, 0]}
    folder = split_files(tmp_path / "source", rows_of(known, 10))
    write_json(folder / "index" / "Shop.item.json", {"1": {"title": "T", "brand": "B"}, "9": {"title": "never bought"}})
    index = {str(item): sid_tokens(sid_of(item), "") for item in (0, 1, 2, 9)}
    write_json(folder / "index" / "Shop.index.json", index)
    with caplog.at_level(logging.INFO):
        counts, out = convert(tmp_path, find_source(folder, "Shop"))
    assert columns(out / "shop.item", "item_id", "title", "brand") == [
        ("0", "plain 0", ""),
        ("1", "T", "B"),
        ("2", "a, b; c 2", ""),
        ("9", "never bought", ""),
    ]
    assert json.loads((out / "shop.index.json").read_text()) == index
    assert counts["items"] == counts["items with texts"] == counts["items with an index"] == 4
    assert "leave-one-out" in caplog.text and "is not kept" in caplog.text
    write_json(folder / "index" / "Shop.index.json", {**index, "1": ["<a_7>"]})
    with pytest.raises(ValueError, match=r"item '1' has the index <a_7>, but <a_1><b_1><c_1> in the rows"):
        convert(tmp_path, find_source(folder, "Shop"), overwrite=True)
    write_json(folder / "index" / "Shop.item.json", {"B001": {"title": "other ids"}})
    with pytest.raises(ValueError, match=r"none of the items of the rows: its first is 'B001', theirs '0'"):
        convert(tmp_path, find_source(folder, "Shop"), overwrite=True)


def test_an_item_without_an_index_means_no_index_file(tmp_path, caplog):
    """MiniOneRec omits unknown indices from the list, which then cannot be assigned to items."""
    made = cells("A0", [0, 1], 2)
    made[5] = repr([sid_of(1)])
    with caplog.at_level(logging.WARNING):
        counts, out = convert(tmp_path, SourceFiles((write_csv(tmp_path / "r.csv", [made]),)))
    assert counts["items with an index"] == 1 and names_in(out) == ["shop.inter", "shop.item"]
    assert "2 of 3 items have no index" in caplog.text


def test_contradicting_indices_of_an_item(tmp_path):
    rows = [cells("A0", [0], 1), cells("A1", [2], 1)]
    rows[1][6] = "<a_0><b_0><c_0>"
    path = write_csv(tmp_path / "r.csv", rows)
    with pytest.raises(
        ValueError, match=r"line 3: item '1' has the index '<a_0><b_0><c_0>' here, but '<a_1><b_1><c_1>'"
    ):
        convert(tmp_path, SourceFiles((path,)))


def test_two_titles_of_an_item_are_counted(tmp_path, caplog):
    rows = [cells("A0", [0], 1), cells("A1", [2], 1)]
    rows[1][2] = "another"
    with caplog.at_level(logging.WARNING):
        _, out = convert(tmp_path, SourceFiles((write_csv(tmp_path / "r.csv", rows),)))
    assert "1 items have several titles" in caplog.text
    assert ("1", title_of(1)) in columns(out / "shop.item", "item_id", "title")


def test_ids_with_any_characters(tmp_path):
    path = write_csv(
        tmp_path / "r.csv", [["user, one", "['a b', 'c,d']", " e\tf "]], ("user_id", "history_item_id", "item_id")
    )
    _, out = convert(tmp_path, SourceFiles((path,)))
    assert sequences(out / "shop.inter") == {"user, one": ["a b", "c,d", "e\tf"]}


def test_max_history(tmp_path):
    path = write_csv(tmp_path / "r.csv", [cells("A0", [0], 1), cells("A0", [0, 1], 2)])
    with pytest.raises(ValueError, match="max_history = 1, but there is a history of 2 items"):
        convert(tmp_path, SourceFiles((path,)), max_history=1)
    counts, _ = convert(tmp_path, SourceFiles((path,)), max_history=5)
    assert counts["users whose oldest items may be lost"] == 0


def test_an_existing_data_set_is_kept(tmp_path):
    path = write_csv(tmp_path / "r.csv", [cells("A0", [0], 1)])
    _, out = convert(tmp_path, SourceFiles((path,)))
    before = (out / "shop.inter").read_bytes()
    with pytest.raises(ValueError, match="exists already"):
        convert(tmp_path, SourceFiles((path,)))
    convert(tmp_path, SourceFiles((path,)), overwrite=True)
    assert (out / "shop.inter").read_bytes() == before and names_in(out) == [
        "shop.index.json",
        "shop.inter",
        "shop.item",
    ]
