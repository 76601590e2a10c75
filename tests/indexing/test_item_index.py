"""Item index: tokens, round trip through the published form, and an error for each kind of bad file."""

import json
from pathlib import Path

import numpy as np
import pytest

from recbole_lcrec.indexing.conflicts import resolve_without_embeddings
from recbole_lcrec.indexing.item_index import (
    ItemIndex,
    conflict_rate,
    indexed_items,
    load_index,
    perplexities,
    save_index,
)

GAMES = Path(__file__).resolve().parents[2] / "../shared/data/Games/Games.index.json"


def test_tokens():
    index = ItemIndex(np.array([[0, 2], [1, 0]]), (3, 3))
    assert (index.n_items, index.levels) == (2, 2)
    assert index.tokens_by_level() == (("<a_0>", "<a_1>", "<a_2>"), ("<b_0>", "<b_1>", "<b_2>"))
    assert index.item_tokens() == [("<a_0>", "<b_2>"), ("<a_1>", "<b_0>")]


def test_codes_are_a_read_only_copy():
    codes = np.array([[1, 2]], dtype=np.int32)
    index = ItemIndex(codes, (4, 4))
    codes[0, 0] = 3
    assert index.codes.dtype == np.int64 and index.codes.tolist() == [[1, 2]]
    with pytest.raises(ValueError, match="read-only"):
        index.codes[0, 0] = 0


def test_levels_may_differ_in_size():
    index = ItemIndex(np.array([[0, 2], [1, 0]]), (2, 3))
    assert index.tokens_by_level() == (("<a_0>", "<a_1>"), ("<b_0>", "<b_1>", "<b_2>"))
    assert index.sizes_in_words() == "2 levels x [2, 3] codes"
    assert ItemIndex(np.array([[5]]), (9,)).sizes_in_words() == "1 level x 9 codes"


def test_conflict_rate_and_perplexity_by_hand():
    codes = np.array([[0, 0], [0, 0], [1, 0], [1, 0]])
    assert conflict_rate(codes) == 0.5
    assert conflict_rate(np.repeat(codes, 13, axis=1) * 250) == 0.5  # too large for one number per row
    assert perplexities(codes) == pytest.approx([2.0, 1.0])
    assert perplexities(np.array([[0], [0], [0], [1]])) == pytest.approx([4 / 3**0.75])


def test_conflicts_are_counted_and_named():
    index = ItemIndex(np.array([[0, 0], [1, 1], [0, 0], [0, 0], [1, 1]]), (2, 2))
    assert index.n_conflicts() == 3
    with pytest.raises(ValueError, match=r"3 of 5 items .* rows \[0, 2, 3\], all <a_0><b_0>"):
        index.require_unique()
    ItemIndex(np.array([[0, 0], [0, 1]]), (2, 2)).require_unique()


@pytest.mark.parametrize(
    ("codes", "sizes", "message"),
    [
        (np.zeros(3, dtype=int), (4,), r"integers \[N, H\]"),
        (np.zeros((3, 2)), (4, 4), r"integers \[N, H\], got float64"),
        (np.zeros((3, 0), dtype=int), (), "0 levels"),
        (np.zeros((3, 27), dtype=int), (4,) * 27, "27 levels"),
        (np.array([[0, 4]]), (9, 4), r"outside codebooks of \[9, 4\] codes"),
        (np.array([[-1]]), (4,), r"outside codebooks of \[4\] codes"),
        (np.zeros((3, 2), dtype=int), (1, 0), "at least 1"),
        (np.zeros((3, 2), dtype=int), (4,), "must be 2 numbers"),
    ],
)
def test_bad_codes(codes, sizes, message):
    with pytest.raises(ValueError, match=message):
        ItemIndex(codes, sizes)


def test_round_trip_in_any_order(tmp_path):
    codes = np.random.default_rng(0).integers(0, 200, size=(50, 3))
    ids = [f"item {i}" for i in range(50)]
    path = tmp_path / "x.index.json"
    save_index(ItemIndex(codes, (200,) * 3), ids, path)
    assert json.loads(path.read_text())["item 7"] == [f"<{'abc'[h]}_{codes[7, h]}>" for h in range(3)]
    assert indexed_items(path) == ids
    order = np.random.default_rng(1).permutation(50)
    loaded = load_index(path, [ids[i] for i in order])
    np.testing.assert_array_equal(loaded.codes, codes[order])
    assert loaded.codebook_sizes == (256,) * 3
    assert load_index(path, ids, (200, 201, 202)).codebook_sizes == (200, 201, 202)
    assert [file.name for file in tmp_path.iterdir()] == ["x.index.json"]


@pytest.mark.parametrize(("largest", "size"), [(0, 2), (1, 2), (2, 4), (3, 4), (4, 8), (255, 256), (256, 512)])
def test_codebook_size_is_the_next_power_of_two(tmp_path, largest, size):
    (tmp_path / "i.json").write_text(json.dumps({"x": [f"<a_{largest}>"]}))
    assert load_index(tmp_path / "i.json", ["x"]).codebook_sizes == (size,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"1": ["<a_1>", "<b_1>"], "2": ["<a_', "corrupt or truncated JSON"),
        ("\udcff", "corrupt or truncated JSON"),
        ("[1, 2]", "holds a list"),
        ("{}", "holds an empty object"),
        (
            '{"1": ["<a_1>"], "2": ["<a_2>"], "9": ["<a_3>"]}',
            r"1 item\(s\) that are not in the catalogue, first \['9'\]",
        ),
        ('{"1": ["<a_1>"]}', r"1 of 2 items of the catalogue have no index, first \['2'\]"),
        ('{"1": ["<a_1>", "<b_1>"], "2": ["<a_1>"]}', r"item '2' has 1 levels and the file's first item 2"),
        ('{"1": ["<a_1>"], "2": ["<b_1>"]}', r"item '2' has '<b_1>' at level 0"),
        ('{"1": ["<a_1>"], "2": ["a_1"]}', r"item '2' has 'a_1' at level 0"),
        ('{"1": ["<a_1>"], "2": ["<a_01>"]}', r"item '2' has '<a_01>'"),
        ('{"1": ["<a_1>"], "2": [1]}', r"item '2' has 1 at level 0"),
        ('{"1": ["<a_1>"], "2": "<a_1>"}', r"item '2' has '<a_1>' instead of a list"),
        ('{"1": ["<a_1>"], "2": []}', r"item '2' has \[\] instead of a list"),
        ('{"1": ["<a_1>"], "1": ["<a_2>"], "2": ["<a_3>"]}', "item '1' appears twice"),
    ],
)
def test_bad_files(tmp_path, content, message):
    path = tmp_path / "bad.index.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=message) as caught:
        load_index(path, ["1", "2"])
    assert "bad.index.json" in str(caught.value)
    assert "index_method=rqvae" in str(caught.value)


def test_missing_file_and_bad_ids(tmp_path):
    with pytest.raises(ValueError, match="no such index file"):
        load_index(tmp_path / "none.json", ["1"])
    index = ItemIndex(np.array([[0], [1]]), (2,))
    with pytest.raises(ValueError, match="1 item ids for an index of 2"):
        save_index(index, ["1"], tmp_path / "i.json")
    with pytest.raises(ValueError, match="appear twice"):
        save_index(index, ["1", "1"], tmp_path / "i.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not GAMES.exists(), reason="the published Games index is not beside the repository")
def test_the_published_games_index_becomes_conflict_free():
    published = json.loads(GAMES.read_text())
    index = load_index(GAMES, list(published))
    assert (index.n_items, index.codebook_sizes) == (16859, (256,) * 4)
    assert index.n_items - index.n_conflicts() == 16717
    codes, moved = resolve_without_embeddings(index.codes, index.codebook_sizes)
    ItemIndex(codes, index.codebook_sizes).require_unique()
    assert moved == 142
    assert (codes[:, :3] == index.codes[:, :3]).all()
