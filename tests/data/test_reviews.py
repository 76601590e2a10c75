"""Reviews against positions counted in plain Python, and against RecBole's splits."""

import logging
import re

import numpy as np
import pytest

from recbole_lcrec.data import reviews as module
from recbole_lcrec.data.reviews import read_reviews
from recbole_lcrec.data.sequences import UserSequences, training_sequences
from tests.data.plain_data import loaders
from tests.data.reviewed_shop import (
    COLUMNS,
    EVENTS,
    ITEMS,
    REVIEW_FIELDS,
    held_out_markers,
    histories,
    marker,
    training,
    training_markers,
    write_reviewed,
)


def words(found):
    return set(re.findall(r"marker\w+", " ".join(found.values())))


def expected(users, events=EVENTS):
    return {(users.index(user), place): word for (user, place), word in training_markers(events).items()}


@pytest.mark.parametrize("rows_at_once", [3, 1000])
def test_each_training_interaction_gets_its_own_review(tmp_path, monkeypatch, rows_at_once):
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", rows_at_once)
    users, sequences = training()
    found = read_reviews(write_reviewed(tmp_path), users, ITEMS, sequences, COLUMNS, REVIEW_FIELDS)
    assert found == {
        key: f'Summary {word}! I said "good" {word}. Very good & cheap.' for key, word in expected(users).items()
    }
    assert not words(found) & held_out_markers()


def test_recboles_training_sequences_get_their_reviews(tmp_path):
    path = write_reviewed(tmp_path)
    dataset = loaders("SASRec", tmp_path, tmp_path)[0]._dataset
    feat = dataset.inter_feat
    sequences = training_sequences(
        feat["user_id"].numpy(),
        feat["item_id"].numpy(),
        feat["item_length"].numpy(),
        feat["item_id_list"][:, 0].numpy(),
    )
    users = [str(dataset.field2id_token["user_id"][user]) for user in sequences.users]
    items = [str(item) for item in dataset.field2id_token["item_id"][1:]]
    assert set(users) == {"again", "plain", "tie"}
    found = read_reviews(path, users, items, sequences, COLUMNS, REVIEW_FIELDS)
    assert {key: re.search(r"marker\w+", text).group() for key, text in found.items()} == expected(users)


def test_unknown_users_and_items_are_skipped(tmp_path):
    users, sequences = training()
    stranger = [("stranger", "a", 1), ("plain", "unknown", 0), *EVENTS]
    found = read_reviews(write_reviewed(tmp_path, stranger), users, ITEMS, sequences, COLUMNS, REVIEW_FIELDS)
    shifted = {
        (row, place): marker("plain", place + 1) if users[row] == "plain" else word
        for (row, place), word in expected(users).items()
    }  # the unknown item is plain's first row in the file, so the file's markers are one further on
    assert {key: re.search(r"marker\w+", text).group() for key, text in found.items()} == shifted


def test_filtered_users_are_matched_by_unique_items(tmp_path):
    # the file has a b c d e of plain; a filter took b, so that training is a c and d e are held out
    users, sequences = ["plain"], UserSequences(np.array([1]), np.array([0, 2]), np.array([0, 2]))
    found = read_reviews(write_reviewed(tmp_path), users, ITEMS, sequences, COLUMNS, REVIEW_FIELDS)
    assert words({(0, 0): found[0, 0]}) == {marker("plain", 0)}
    assert words({(0, 1): found[0, 1]}) == {marker("plain", 2)}
    assert len(found) == 2


def test_filtered_users_with_repeats_are_dropped_and_counted(tmp_path, caplog):
    # the file has a b a a b a of again; training b a could be any of several rows, one of them held out
    users = ["again", "plain"]
    sequences = UserSequences(np.array([1, 2]), np.array([1, 0, 0, 1, 2]), np.array([0, 2, 5]))
    assert [item for item, _ in histories()["again"]] == ["a", "b", "a", "a", "b", "a"]
    with caplog.at_level(logging.WARNING):
        found = read_reviews(write_reviewed(tmp_path), users, ITEMS, sequences, COLUMNS, REVIEW_FIELDS)
    assert {user for user, _ in found} == {1}
    assert "reviews of 1 of 2 users are dropped" in caplog.text


@pytest.mark.parametrize("items", [[0, 1, 2, 3, 4, 0], [4, 4]])
def test_sequences_not_from_the_file_get_no_reviews(tmp_path, items):
    sequences = UserSequences(np.array([1]), np.array(items), np.array([0, len(items)]))
    found = read_reviews(write_reviewed(tmp_path), ["absent"], ITEMS, sequences, COLUMNS, REVIEW_FIELDS)
    assert found == {}


def test_filters_never_leak_held_out_reviews(tmp_path):
    """Whichever rows are deleted, reviews found for training precede the held-out interactions."""
    rng = np.random.default_rng(3)
    path = write_reviewed(tmp_path)
    for _ in range(60):
        kept = {user: [row for row in rows if rng.random() < 0.7] for user, rows in histories().items()}
        users = [user for user, rows in kept.items() if len(rows) > 2]
        parts = [[ITEMS.index(item) for item, _ in kept[user][:-2]] for user in users]
        offsets = np.r_[0, np.cumsum([len(part) for part in parts])].astype(np.int64)
        sequences = UserSequences(
            np.arange(len(users)), np.array([item for part in parts for item in part], dtype=np.int64), offsets
        )
        found = read_reviews(path, users, ITEMS, sequences, COLUMNS, REVIEW_FIELDS)
        forbidden = {marker(user, histories()[user].index(row)) for user in users for row in kept[user][-2:]}
        assert not words(found) & forbidden


def test_missing_review_columns_are_skipped(tmp_path):
    users, sequences = training()
    path = write_reviewed(tmp_path)
    one = read_reviews(path, users, ITEMS, sequences, COLUMNS, ("no", "summary"))
    assert one == {key: f"Summary {word}!" for key, word in expected(users).items()}
    assert read_reviews(path, users, ITEMS, sequences, COLUMNS, ("no",)) == {}
    assert read_reviews(path, users, ITEMS, sequences, COLUMNS, ()) == {}


def test_blank_reviews_are_absent(tmp_path):
    path = tmp_path / "x.inter"
    path.write_text(
        "user_id:token\titem_id:token\ttimestamp:float\treview:token_seq\nu\ta\t1\t\nu\tb\t2\t<br>\nu\tc\t3\tNA\n"
    )
    sequences = UserSequences(np.array([1]), np.array([0, 1, 2]), np.array([0, 3]))
    assert read_reviews(path, ["u"], ITEMS, sequences, COLUMNS, ("review",)) == {(0, 2): "NA"}


def test_a_table_without_rows_has_no_reviews(tmp_path):
    path = tmp_path / "x.inter"
    path.write_text("user_id:token\titem_id:token\ttimestamp:float\treview:token_seq\n")
    sequences = UserSequences(np.array([1]), np.array([0]), np.array([0, 1]))
    assert read_reviews(path, ["u"], ITEMS, sequences, COLUMNS, REVIEW_FIELDS) == {}


def test_damaged_files_are_rejected(tmp_path):
    users, sequences = training()
    with pytest.raises(ValueError, match="absent"):
        read_reviews(tmp_path / "absent.inter", users, ITEMS, sequences, COLUMNS, REVIEW_FIELDS)
    path = tmp_path / "x.inter"
    path.write_text("user_id:token\titem_id:token\treview:token_seq\nplain\ta\tgood\n")
    with pytest.raises(ValueError, match="no column 'timestamp'"):
        read_reviews(path, users, ITEMS, sequences, COLUMNS, REVIEW_FIELDS)
    path.write_text("user_id:token\titem_id:token\ttimestamp:float\treview:token_seq\nplain\ta\t\tgood\n")
    with pytest.raises(ValueError, match="line 2"):
        read_reviews(path, users, ITEMS, sequences, COLUMNS, REVIEW_FIELDS)
