"""Splits, targets and histories against plain lists read from the same file."""

import logging
from pathlib import Path

import pytest

from recbole_lcrec import create_dataset, data_preparation
from recbole_lcrec.bridge.loading import ExactTimeOrder
from recbole_lcrec.config.registry import recbole_dir
from tests.data.plain_data import (
    CATALOGUE,
    EVENTS,
    MAX_HISTORY,
    MODELS,
    SEQUENTIAL,
    config_of,
    evaluated,
    loaders,
    sequences_in,
    trained,
    write_shop,
)


@pytest.fixture
def shop(tmp_path):
    return write_shop(tmp_path / "data")


def check_split(model, sequences, train, valid, test, max_history):
    tested = {user for user, items in sequences.items() if len(items) >= 3}
    validated = {user for user, items in sequences.items() if len(items) >= 4}
    for loader, users, place in ((valid, validated, -2), (test, tested, -1)):
        found = evaluated(loader)
        assert set(found) == users
        for user, (targets, hidden, history) in found.items():
            assert targets == [sequences[user][place]] and hidden == []
            if model in SEQUENTIAL:
                assert history == sequences[user][:place][-max_history:]
    # by position: of n items the first n - 2 are trained on (of 3 the first 2, of fewer all)
    kept = {user: items[: max(len(items) - 2, min(len(items), 2))] for user, items in sequences.items()}
    if model in SEQUENTIAL:
        expected = [
            (user, tuple(items[:end][-max_history:]), items[end])
            for user, items in kept.items()
            for end in range(1, len(items))
        ]
    else:
        expected = [(user, None, item) for user, items in kept.items() for item in items]
    key = repr
    assert sorted(trained(train), key=key) == sorted(expected, key=key)


@pytest.mark.parametrize("model", MODELS)
def test_tiny_split_by_hand(model, shop, tmp_path):
    sequences = sequences_in(shop / "shop" / "shop.inter")
    assert sequences["long"] == ["a", "b", "c", "a", "d", "f", "e"]
    assert sequences["tie"] == ["e", "d", "c", "b", "a"]  # equal times: in file order
    assert sequences["same"] == ["b", "a", "a", "a"]
    train, valid, test = loaders(model, shop, tmp_path)
    check_split(model, sequences, train, valid, test, MAX_HISTORY)
    assert {user: found[0] for user, found in evaluated(test).items()} == {
        "long": ["e"],
        "tie": ["a"],
        "four": ["a"],
        "three": ["b"],
        "same": ["a"],
    }
    assert {user: found[0] for user, found in evaluated(valid).items()} == {
        "long": ["f"],
        "tie": ["b"],
        "four": ["b"],
        "same": ["a"],
    }


@pytest.mark.parametrize("model", ["SASRec", "Pop"])
def test_ml_100k_split(model, tmp_path):
    sequences = sequences_in(Path(recbole_dir()) / "dataset_example" / "ml-100k" / "ml-100k.inter")
    assert len(sequences) == 943 and sum(map(len, sequences.values())) == 100_000
    train, valid, test = loaders(model, None, tmp_path, dataset="ml-100k")
    check_split(model, sequences, train, valid, test, MAX_HISTORY)


@pytest.mark.parametrize("max_history", [1, 2, 50])
def test_histories_lose_only_their_oldest_items(max_history, shop, tmp_path):
    sequences = sequences_in(shop / "shop" / "shop.inter")
    train, valid, test = loaders("SASRec", shop, tmp_path, MAX_ITEM_LIST_LENGTH=max_history)
    check_split("SASRec", sequences, train, valid, test, max_history)


@pytest.mark.parametrize("model", MODELS)
def test_items_without_interactions_are_in_the_catalogue(model, shop, tmp_path):
    dataset = create_dataset(config_of(model, shop, tmp_path))
    assert dataset.item_num == 1 + len(CATALOGUE)
    assert set(dataset.field2id_token["item_id"][1:]) == set(CATALOGUE)


@pytest.mark.parametrize("model", ["SASRec", "Pop"])
def test_without_item_file_the_catalogue_is_the_bought_items(model, tmp_path):
    root = write_shop(tmp_path / "data", catalogue=None)
    assert create_dataset(config_of(model, root, tmp_path)).item_num == 1 + 6


def test_all_models_share_user_and_item_ids(shop, tmp_path):
    datasets = [create_dataset(config_of(model, shop, tmp_path)) for model in MODELS]
    for dataset in datasets:
        for field in ("user_id", "item_id"):
            assert dataset.field2id_token[field].tolist() == datasets[0].field2id_token[field].tolist()


@pytest.mark.parametrize("model", ["SASRec", "Pop"])
def test_short_users_are_counted_in_a_warning(model, shop, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        create_dataset(config_of(model, shop, tmp_path))
    assert "2 of 7 users have fewer than 3 interactions" in caplog.text
    assert "user_inter_num_interval" in caplog.text


@pytest.mark.parametrize("model", ["SASRec", "Pop"])
def test_the_named_remedy_for_short_users_works(model, shop, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        dataset = create_dataset(config_of(model, shop, tmp_path, user_inter_num_interval="[3,inf)"))
    assert "fewer than 3" not in caplog.text
    assert dataset.user_num == 1 + 5


@pytest.mark.parametrize("model", ["SASRec", "Pop"])
def test_only_short_users_is_an_error(model, tmp_path):
    root = write_shop(tmp_path / "data", [("u", "a", 1), ("u", "b", 2), ("v", "a", 1)])
    with pytest.raises(ValueError, match="all 2 users have fewer than 3 interactions"):
        create_dataset(config_of(model, root, tmp_path))


@pytest.mark.parametrize("model", ["SASRec", "Pop"])
def test_users_with_three_interactions_are_only_tested(model, tmp_path, caplog):
    root = write_shop(tmp_path / "data", [("u", "a", 1), ("u", "b", 2), ("u", "c", 3)])
    with caplog.at_level(logging.WARNING):
        _, valid, test = loaders(model, root, tmp_path)
    assert "no user has more than 3 interactions, so none can be validated" in caplog.text
    assert len(valid) == 0 and set(evaluated(test)) == {"u"}


@pytest.mark.parametrize("model", ["SASRec", "Pop"])
def test_missing_time_is_an_error(model, tmp_path):
    events = [*EVENTS[:4], ("long", "b", ""), *EVENTS[4:]]
    with pytest.raises(ValueError, match=r"1 interactions have no time \(the first on line 6\)"):
        create_dataset(config_of(model, write_shop(tmp_path / "data", events), tmp_path))


@pytest.mark.parametrize("model", ["SASRec", "Pop"])
def test_no_interactions_is_an_error(model, tmp_path):
    with pytest.raises(ValueError, match=r"shop\.inter has a header but no rows"):
        create_dataset(config_of(model, write_shop(tmp_path / "data", []), tmp_path))


@pytest.mark.parametrize("model", ["SASRec", "Pop"])
def test_file_order_matters_only_for_equal_times(model, tmp_path):
    events = [event for event in EVENTS if event[0] != "tie"]
    splits = []
    for number, order in enumerate((events, events[::-1], sorted(events))):
        _, valid, test = loaders(model, write_shop(tmp_path / f"data{number}", order), tmp_path)
        splits.append((evaluated(valid), evaluated(test)))
    assert splits[0] == splits[1] == splits[2]


@pytest.mark.parametrize("keep", ["first", "last"])
def test_removing_repeats_keeps_the_file_order_of_ties(keep, shop, tmp_path):
    sequences = sequences_in(shop / "shop" / "shop.inter")
    _, _, test = loaders("SASRec", shop, tmp_path, rm_dup_inter=keep)
    found = evaluated(test)
    assert found["tie"][0] == ["a"] and found["tie"][2] == sequences["tie"][1:-1]
    long = ["a", "b", "c", "d", "f", "e"] if keep == "first" else ["b", "c", "a", "d", "f", "e"]
    assert found["long"][0] == ["e"] and found["long"][2] == long[:-1][-MAX_HISTORY:]


def test_other_splits_compare_times_across_users(tmp_path):
    users = [(f"u{number}", 100 * number) for number in range(5)]  # one user after another, 4 events each
    events = [(user, "abcd"[step], start + step) for user, start in users for step in range(4)][::-1]
    root = write_shop(tmp_path / "data", events)
    ratio = {"split": {"RS": [0.5, 0.25, 0.25]}, "order": "TO", "group_by": None, "mode": "full"}
    config = config_of("Pop", root, tmp_path, eval_args=ratio)
    train, valid, test = create_dataset(config).build()
    found = [
        [f"{part.field2id_token['user_id'][user]}{part.field2id_token['item_id'][item]}"
         for user, item in zip(part.inter_feat["user_id"], part.inter_feat["item_id"], strict=True)]
        for part in (train, valid, test)
    ]  # fmt: skip
    in_time = [f"u{number}{item}" for number in range(5) for item in "abcd"]
    assert found == [in_time[:10], in_time[10:15], in_time[15:]]


def test_saved_data_sets_are_rejected(shop, tmp_path):
    for key, value in (("save_dataset", True), ("save_dataloaders", True), ("dataloaders_save_path", "x.pth")):
        with pytest.raises(ValueError, match=f"{key} = .*never saved"):
            config_of("Pop", shop, tmp_path, **{key: value})
    config = config_of("Pop", shop, tmp_path)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "shop-for-Pop-dataloader.pth").write_bytes(b"")
    with pytest.raises(ValueError, match=r"shop-for-Pop-dataloader\.pth contains data loaders of an earlier run"):
        data_preparation(config, create_dataset(config))


def test_class_names_equal_recboles(shop, tmp_path):
    for model, name in (("SASRec", "SequentialDataset"), ("Pop", "Dataset")):
        dataset = create_dataset(config_of(model, shop, tmp_path))
        assert type(dataset).__name__ == name and isinstance(dataset, ExactTimeOrder)
