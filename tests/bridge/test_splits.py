"""Held-out rows against loops, leaks by position, and the log of a split."""

import logging
from collections import Counter

import numpy as np
import pytest
from recbole.data.dataset import Dataset, DIENDataset, SequentialDataset

from recbole_lcrec import create_dataset, data_preparation
from recbole_lcrec.bridge.augmentation import FastAugmentation
from recbole_lcrec.bridge.loading import ExactTimeOrder, _with_mixins
from recbole_lcrec.bridge.splits import RowGroups, leave_out_last, split_statistics
from tests.bridge.augmented import LEAVE_ONE, config_of, random_events, settings, write_events
from tests.data.plain_data import sequences_in

FOUND_AGAIN = np.random.default_rng(11).integers(0, 9, size=60)  # repeated keys that are not adjacent


def groups_by_loop(keys):
    groups = {}
    for row, key in enumerate(keys):
        groups.setdefault(key, []).append(row)
    return list(groups.values())


@pytest.mark.parametrize("keys", [FOUND_AGAIN, np.array([7]), np.array([], dtype=np.int64)], ids=("many", "one", "no"))
def test_groups_equal_recboles(keys):
    assert list(RowGroups.by(keys)) == groups_by_loop(keys) == list(map(list, Dataset._grouped_index(None, keys)))
    assert len(RowGroups.by(keys)) == len(groups_by_loop(keys))


@pytest.mark.parametrize("n_parts", [1, 2])
def test_held_out_rows_equal_recboles(n_parts):
    found = leave_out_last(RowGroups.by(FOUND_AGAIN), n_parts, spared=1)
    expected = Dataset._split_index_by_leave_one_out(None, groups_by_loop(FOUND_AGAIN), n_parts)
    assert [part.tolist() for part in found] == expected
    assert sorted(np.concatenate(found).tolist()) == list(range(len(FOUND_AGAIN)))


def test_held_out_rows_by_hand():
    groups = RowGroups.by(np.array([5, 5, 5, 5, 3, 3, 9, 5]))  # rows 0-3 and 7; 4, 5; 6
    assert [part.tolist() for part in leave_out_last(groups, 2, 1)] == [[0, 1, 2, 4, 6], [3], [7, 5]]
    assert [part.tolist() for part in leave_out_last(groups, 2, 2)] == [[0, 1, 2, 4, 5, 6], [3], [7]]


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("leave_one", LEAVE_ONE)
def test_training_rows_contain_no_held_out_interaction(leave_one, fast, tmp_path):
    """By position: each row's position in its user's sequence is found by its time, and times are distinct here."""
    events = [(user, item, line, stars) for line, (user, item, _, stars) in enumerate(random_events())]
    root = write_events(tmp_path / "data", events)
    config = config_of(settings(root, tmp_path, leave_one, MAX_ITEM_LIST_LENGTH=7), fast=fast)
    dataset = create_dataset(config)
    parts = dataset.build()
    sequences = sequences_in(root / "small" / "small.inter")
    users, items = (dataset.field2id_token[field] for field in ("user_id", "item_id"))
    held_out, seen, repeated = {}, set(), 0
    for part in (parts[2], parts[1], parts[0]):
        feat = part.inter_feat
        columns = [feat[f].tolist() for f in ("user_id", "item_id", "timestamp", "item_length", "item_id_list")]
        for user, item, place, length, history in zip(*columns, strict=True):
            name, place = str(users[user]), int(place)
            assert (name, place) not in seen  # every interaction is the target of one row
            seen.add((name, place))
            assert str(items[item]) == sequences[name][place]
            assert length == min(place, 7)
            found = [str(items[other]) for other in history]
            assert found[:length] == sequences[name][place - length : place] and found[length:] == ["[PAD]"] * (
                7 - length
            )
            if part is parts[0]:
                first_held = min(held_out.get(name, [len(sequences[name])]))
                assert place < first_held  # neither target nor history reaches what is held out
                repeated += bool(set(sequences[name][first_held:]) & set(sequences[name][:first_held]))
            else:
                held_out.setdefault(name, []).append(place)
    assert repeated > 10  # a comparison by items would have seen leaks in these
    counted = Counter(len(places) for places in held_out.values())
    lengths = np.array([len(sequence) for sequence in sequences.values()])
    n_targets = 2 if leave_one == "valid_and_test" else 1
    short = int((lengths == 3).sum()) if n_targets == 2 else 0
    assert counted == Counter({n_targets: int((lengths >= n_targets + 2).sum())}) + Counter({1: short})
    assert len(seen) == int((lengths - 1).sum())


@pytest.mark.parametrize("model", ["SASRec", "Pop"])
def test_equal_times_are_held_out_by_line(model, tmp_path):
    events = [
        ("a", "x", 5, 1),
        ("b", "y", 5, 1),
        ("a", "z", 5, 1),
        ("a", "y", 5, 1),
        ("b", "x", 5, 1),
        ("a", "w", 4, 1),
    ]
    root = write_events(tmp_path / "data", [*events, ("b", "z", 5, 1), ("b", "w", 6, 1)])
    dataset = create_dataset(config_of(settings(root, tmp_path, topk=[1], valid_metric="NDCG@1"), model=model))
    held_out = [
        [
            (str(part.field2id_token["user_id"][user]), str(part.field2id_token["item_id"][item]))
            for user, item in zip(part.inter_feat["user_id"], part.inter_feat["item_id"], strict=True)
        ]
        for part in dataset.build()[1:]
    ]
    assert [sorted(part) for part in held_out] == [[("a", "z"), ("b", "z")], [("a", "y"), ("b", "w")]]


def test_statistics_by_hand():
    parts = {"training": np.array([1, 1, 1, 2, 3]), "validation": np.array([1]), "test": np.array([1, 2])}
    found = split_statistics(np.array([6, 3, 2]), parts, np.array([1, 2, 2, 1, 1]), 2)
    assert found.rows == {"training": 5, "validation": 1, "test": 2}
    assert found.users == {"training": 3, "validation": 1, "test": 2}
    assert found.in_words() == (
        "Split: 3 users, 11 interactions (mean 3.7, median 3, max 6 per user); training 5 rows of 3 users; validation "
        "1 rows of 1 users; test 2 rows of 2 users; 2 users not in validation, 1 users not in test; training histories "
        "mean 1.4, median 1, max 2 items, 2 of maximum length"
    )


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("model", ["SASRec", "Pop"])
def test_the_log_describes_the_split(model, fast, tmp_path, caplog):
    root = write_events(tmp_path / "data", random_events())
    lengths = [len(items) for items in sequences_in(root / "small" / "small.inter").values()]
    config = config_of(settings(root, tmp_path), model=model, fast=fast)
    with caplog.at_level(logging.INFO):
        data_preparation(config, create_dataset(config))
    line = next(record.getMessage() for record in caplog.records if record.getMessage().startswith("Split:"))
    tested = sum(length >= 3 for length in lengths)
    assert f"{len(lengths)} users, {sum(lengths):,} interactions (mean {np.mean(lengths):.1f}" in line
    assert f"median {np.median(lengths):g}, max {max(lengths)} per user)" in line
    assert f"test {tested} rows of {tested} users" in line
    assert f"{len(lengths) - tested} users not in test" in line
    assert ("training histories" in line) == (model == "SASRec")


def test_a_custom_augmentation_is_kept(caplog):
    with caplog.at_level(logging.INFO):
        mixed = _with_mixins(DIENDataset, fast=True)
    assert mixed.data_augmentation is DIENDataset.data_augmentation and issubclass(mixed, ExactTimeOrder)
    assert "DIENDataset keeps its own data augmentation" in caplog.text
    assert issubclass(_with_mixins(SequentialDataset, fast=True), FastAugmentation)
    assert not issubclass(_with_mixins(Dataset, fast=True), FastAugmentation)


def test_negative_sampling_equals_recboles(tmp_path):
    """Samplers are created when a model is trained or evaluated on sampled items."""
    root = write_events(tmp_path / "data", random_events())
    sampled = {"distribution": "uniform", "sample_num": 1, "alpha": 1.0, "dynamic": False, "candidate_num": 0}
    given = settings(root, tmp_path, train_neg_sample_args=sampled)
    found = []
    for fast in (True, False):
        config = config_of({**given, "loss_type": "BPR"}, fast=fast)
        np.random.seed(3)
        loaders = data_preparation(config, create_dataset(config))
        found.append([batch["neg_item_id"].tolist() for batch in loaders[0]])
    assert found[0] == found[1] and loaders[0]._sampler is not None
