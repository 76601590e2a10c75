"""Augmentation by index arithmetic against RecBole's own loop, tensor by tensor."""

import logging
import pickle
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.data.dataset import SequentialDataset
from recbole.model.sequential_recommender import CORE, FDSA, GRU4RecF, S3Rec, SASRec, SASRecF

from recbole_lcrec import create_dataset
from recbole_lcrec.bridge.augmentation import FastAugmentation, augmented_windows, reason_for_all_lists
from recbole_lcrec.bridge.windows import WindowedInteraction, Windows, oldest_of_lists
from recbole_lcrec.config.registry import recbole_dir
from tests.bridge.augmented import (
    LEAVE_ONE,
    assert_same_rows,
    assert_same_tensors,
    config_of,
    ours,
    position_times,
    random_events,
    recboles,
    settings,
    write_events,
)

SHARED = Path(__file__).resolve().parents[2] / "../shared/data"


def compare(found, expected, batches=None):
    """Data sets and loaders of both, every tensor; the training loaders shuffle by the same seed."""
    (whole, loaders), (their_whole, their_loaders) = found, expected
    assert isinstance(whole, FastAugmentation) and type(their_whole) is SequentialDataset
    assert whole.field2type == their_whole.field2type and whole.field2seqlen == their_whole.field2seqlen
    for field in ("user_id", "item_id"):
        assert whole.field2id_token[field].tolist() == their_whole.field2id_token[field].tolist()
    assert_same_rows(whole.inter_feat, their_whole.inter_feat)
    for loader, theirs in zip(loaders, their_loaders, strict=True):
        assert_same_rows(loader._dataset.inter_feat, theirs._dataset.inter_feat)
        assert len(loader) == len(theirs)
        for batch, their_batch in islice(zip(loader, theirs, strict=True), batches):
            assert type(batch) is type(their_batch)  # evaluation's batches are tuples that begin with the rows
            rows, their_rows = (part[0] if isinstance(part, tuple) else part for part in (batch, their_batch))
            lists = {field for field in their_rows.columns if field.endswith("_list")}
            assert set(rows.columns) == set(their_rows.columns) - lists | {"item_id_list"}
            assert_same_tensors(rows, their_rows, rows.columns)


@pytest.mark.parametrize("leave_one", LEAVE_ONE)
@pytest.mark.parametrize("width", [1, 5, 100])
def test_every_tensor_equals_recboles(leave_one, width, tmp_path):
    root = write_events(tmp_path / "data", position_times(random_events()))
    given = settings(root, tmp_path, leave_one, MAX_ITEM_LIST_LENGTH=width)
    config = [config_of(given) for _ in range(2)]
    compare(ours(config[0]), recboles(config[1]))


def test_equal_times_keep_the_order_of_the_file(tmp_path):
    root = write_events(tmp_path / "data", [(user, item, 0, 1) for user, item, _, _ in random_events()])
    config = [config_of(settings(root, tmp_path, load_col=None)) for _ in range(2)]
    (whole, _), (their_whole, _) = ours(config[0]), recboles(config[1])
    order = torch.from_numpy(np.lexsort((whole.inter_feat["item_length"], whole.inter_feat["user_id"])))
    theirs = torch.from_numpy(np.argsort(their_whole.inter_feat["user_id"].numpy(), kind="stable"))
    names = ["user_id", "item_id", "item_id_list", "rating_list", "item_length"]
    long = whole.inter_feat["item_length"][order] < 5  # a full history no longer shows its position
    for name in names:
        mine, other = whole.inter_feat[name][order], their_whole.inter_feat[name][theirs]
        assert torch.equal(mine[long], other[long])


def test_ml_100k_with_the_same_time_ranks(tmp_path):
    path = Path(recbole_dir()) / "dataset_example" / "ml-100k" / "ml-100k.inter"
    lines = [line.split("\t") for line in path.read_text().splitlines()[1:]]
    ranked = sorted(range(len(lines)), key=lambda row: (lines[row][0], float(lines[row][3]), row))
    events, last = [None] * len(lines), (None, 0)
    for row in ranked:
        user, item, stars, _ = lines[row]
        last = (user, last[1] + 1 if last[0] == user else 0)
        events[row] = (user, item, last[1], stars)
    root = write_events(tmp_path / "data", events)
    given = settings(root, tmp_path, MAX_ITEM_LIST_LENGTH=20, train_batch_size=2048, eval_batch_size=512)
    given["load_col"] = {"inter": ["user_id", "item_id", "timestamp"]}
    config = [config_of(given) for _ in range(2)]
    found = ours(config[0])
    assert len(found[0]) == 100_000 - 943
    compare(found, recboles(config[1]), batches=1)


@pytest.mark.slow
def test_games_matches_recbole(tmp_path):
    if not (SHARED / "Games").is_dir():
        pytest.skip(f"Games is not in {SHARED}")
    given = settings(SHARED, tmp_path, MAX_ITEM_LIST_LENGTH=20, train_batch_size=2048, eval_batch_size=512)
    given["load_col"] = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]}
    config = [config_of(given, "Games") for _ in range(2)]
    found = ours(config[0])
    config[1]["data_path"] = config[0]["data_path"]  # the converted files
    compare(found, recboles(config[1]), batches=1)


def test_multi_column_floats_become_windows(tmp_path):
    root = write_events(tmp_path / "data", position_times(random_events()))
    given = settings(root, tmp_path, numerical_features=["rating"])
    parts = [make(config_of(given)).build() for make in (create_dataset, SequentialDataset)]
    assert parts[1][0].inter_feat["rating_list"].shape[1:] == (5, 2)
    for found, expected in zip(*parts, strict=True):
        assert_same_rows(found.inter_feat, expected.inter_feat)


def test_sequence_features_become_windows_of_sequences(tmp_path):
    root, tags = (
        write_events(tmp_path / "data", position_times(random_events())),
        ("red", "red blue", "", "blue red green"),
    )
    path = root / "small" / "small.inter"
    header, *lines = path.read_text().splitlines()
    lines = [f"{line}\t{tags[number % 4]}" for number, line in enumerate(lines)]
    path.write_text("\n".join([f"{header}\ttags:token_seq", *lines]) + "\n")
    parts = [
        make(config_of(settings(root, tmp_path, load_col=None))).build() for make in (create_dataset, SequentialDataset)
    ]
    assert parts[1][0].inter_feat["tags_list"].shape[1:] == (5, 3)
    for found, expected in zip(*parts, strict=True):
        assert_same_rows(found.inter_feat, expected.inter_feat)


def test_windows_by_hand():
    windows = augmented_windows(np.array([4, 4, 4, 4, 6, 9, 9]), width=2)
    assert windows.ends.tolist() == [1, 2, 3, 6] and windows.lengths.tolist() == [1, 2, 2, 1]
    column = torch.tensor([10, 11, 12, 13, 60, 90, 91])
    assert windows.read(column).tolist() == [[10, 0], [10, 11], [11, 12], [90, 0]]
    assert windows.oldest(column).tolist() == [10, 10, 11, 90]
    assert len(augmented_windows(np.array([], dtype=np.int64), 3)) == 0
    assert augmented_windows(np.array([1, 2, 3]), 3).read(column).shape == (0, 3)


def rows():
    held = {"user": torch.tensor([1, 1, 2]), "length": torch.tensor([1, 2, 1])}
    windows = Windows(torch.tensor([1, 2, 4]), torch.tensor([1, 2, 1]), 2)
    return WindowedInteraction(held, {"item_list": torch.tensor([5, 6, 7, 8, 9])}, windows)


def plain():
    return rows().read()


INDICES = [
    slice(None), slice(1, None), slice(0, 0), [2, 0], [], [0, 0, 1], np.array([1, 2]), np.array([True, False, True]),
    torch.tensor([2, 1]), torch.tensor([False, True, False]), range(1, 3), 1, -1, [np.int64(2)],
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_rows_are_indexed_as_in_recbole(index):
    found, expected = rows()[index], plain()[index]
    assert len(found) == len(expected)
    assert_same_tensors(found, expected, ["user", "length", "item_list"])


def test_rows_are_modified_as_in_recbole():
    for change in (
        lambda feat: feat.sort("length"),
        lambda feat: feat.sort(["length", "user"]),
        lambda feat: feat.sort("item_list"),
        lambda feat: feat.drop("item_list"),
        lambda feat: feat.__delitem__("user"),
        lambda feat: feat.__setitem__("item_list", torch.zeros(3)),
        lambda feat: feat.update(plain()[[2, 1, 0]]),
        lambda feat: feat.add_prefix("neg_"),
        lambda feat: (torch.manual_seed(1), feat.shuffle()),
    ):
        found, expected = rows(), plain()
        change(found), change(expected)
        assert set(found.columns) == set(expected.columns)
        assert_same_tensors(found[[1, 0]], expected[[1, 0]], expected.columns)
    assert_same_tensors(rows().repeat(2), plain().repeat(2), plain().columns)
    assert_same_tensors(rows().to("cpu"), plain(), plain().columns)
    assert_same_tensors(pickle.loads(pickle.dumps(rows())), plain(), plain().columns)
    assert "item_list" in rows() and "other" not in rows() and rows().item_list.shape == (3, 2)
    assert "item_list" in str(rows()) and oldest_of_lists(rows(), "item_list").tolist() == [5, 5, 8]
    with pytest.raises(KeyError):
        rows()["other"]


def test_a_list_read_by_name_is_kept():
    feat, expected = rows(), plain()
    for one in (feat, expected):
        one["item_list"][1, 0] = 70
    assert feat["item_list"] is feat["item_list"]
    for index in (slice(None), [2, 1], 1):
        assert_same_tensors(feat[index], expected[index], expected.columns)
    assert feat.oldest("item_list").tolist() == [5, 70, 8]
    assert list(feat) == list(expected) and feat.read(()).columns == ["user", "length"]
    feat._reindex([1, 0])
    assert feat["item_list"].tolist() == [[70, 6], [5, 0]]
    assert rows()["item_list"].tolist() == plain()["item_list"].tolist()  # the column is untouched


def test_reading_batches_keeps_no_lists(tmp_path):
    root = write_events(tmp_path / "data", random_events())
    dataset, loaders = ours(config_of(settings(root, tmp_path)))
    for part in (dataset, *(loader._dataset for loader in loaders)):
        part[[0, 1]]
        assert not [name for name in part.inter_feat.interaction.held if name.endswith("_list")]


def test_windows_of_many_rows_are_read_in_chunks(monkeypatch):
    monkeypatch.setattr("recbole_lcrec.bridge.windows._ROWS_AT_ONCE", 2)
    assert rows()["item_list"].tolist() == [[5, 0], [5, 6], [8, 0]]


def test_models_get_the_lists_they_read(tmp_path, caplog):
    for model in (SASRec, SASRecF, GRU4RecF, FDSA, CORE):
        assert reason_for_all_lists(model, None) is None
    assert reason_for_all_lists(SASRec, "mask_itemseq") is None
    assert "transform" in reason_for_all_lists(SASRec, "user_defined")
    assert "unknown" in reason_for_all_lists(None, None)
    assert "names lists other" in reason_for_all_lists(S3Rec, None)  # it names a list of features

    class Elsewhere(SASRec):
        pass

    assert "outside RecBole" in reason_for_all_lists(Elsewhere, None)
    root = write_events(tmp_path / "data", random_events())
    for model, lists in ((SASRec, ["item_id_list"]), (Elsewhere, ["item_id_list", "timestamp_list", "rating_list"])):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            config = config_of(settings(root, tmp_path))
            config.model_class = model
            part = create_dataset(config).build()[0]
        assert [field for field in part[[0, 1]].columns if field.endswith("_list")] == lists
        assert ("Batches contain every list" in caplog.text) == (len(lists) > 1)


def test_the_sparse_matrix_equals_recboles(tmp_path):
    root = write_events(tmp_path / "data", position_times(random_events()))
    matrices = []
    for make in (create_dataset, SequentialDataset):
        part = make(config_of(settings(root, tmp_path))).build()[0]
        matrices.append([part.inter_matrix("csr", field).toarray() for field in (None, "rating")])
    assert (matrices[0][0] == matrices[1][0]).all() and (matrices[0][1] == matrices[1][1]).all()


def test_without_the_switch_rows_equal_recboles(tmp_path):
    root = write_events(tmp_path / "data", random_events())
    dataset = create_dataset(config_of(settings(root, tmp_path), fast=False))
    assert not isinstance(dataset, FastAugmentation)
    assert not isinstance(dataset.build()[0].inter_feat, WindowedInteraction)
