"""Splits, targets, histories and masks against plain lists read from the same file."""

import logging
from pathlib import Path

import pytest
import torch

from recbole_lcrec import Config, create_dataset, data_preparation
from recbole_lcrec.data.loading import ExactTimeOrder
from recbole_lcrec.registry import recbole_dir

EPOCH = 1_700_000_000  # float32 cannot tell the 100 seconds after it apart
MAX_HISTORY = 3
MODELS = ("SASRec", "GRU4Rec", "Pop", "BPR")
SEQUENTIAL, GENERAL = ("SASRec", "GRU4Rec"), ("Pop", "BPR")
# user, item, seconds; lines are not in time order, items come again, two users have events of equal time
EVENTS = [
    ("long", "c", 30), ("one", "a", 1), ("long", "a", 10), ("three", "b", 3), ("two", "b", 9), ("long", "b", 20),
    ("four", "a", 4), ("long", "a", 40), ("tie", "d", 7), ("three", "a", 2), ("tie", "c", 7), ("long", "d", 50),
    ("two", "a", 8), ("four", "b", 3), ("tie", "b", 7), ("four", "c", 2), ("tie", "a", 7), ("long", "e", 60),
    ("four", "a", 1), ("three", "c", 1), ("tie", "e", 6), ("long", "f", 55), ("same", "a", 3), ("same", "a", 2),
    ("same", "a", 1), ("same", "b", 0),
]  # fmt: skip
CATALOGUE = ["a", "b", "c", "d", "e", "f", "never", "bought"]


def write_shop(root, events=EVENTS, catalogue=CATALOGUE):
    folder = root / "shop"
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    lines += [f"{user}\t{item}\t{EPOCH + time if isinstance(time, int) else time}" for user, item, time in events]
    (folder / "shop.inter").write_text("\n".join(lines) + "\n")
    if catalogue is not None:
        (folder / "shop.item").write_text("\n".join(["item_id:token", *catalogue]) + "\n")
    return root


@pytest.fixture
def shop(tmp_path):
    return write_shop(tmp_path / "data")


def config_of(model, root, tmp_path, dataset="shop", **changes):
    given = {"checkpoint_dir": str(tmp_path / "saved"), "MAX_ITEM_LIST_LENGTH": MAX_HISTORY, "topk": [1, 5, 10]}
    if root is not None:
        given["data_path"] = str(root)
    return Config(model, dataset, config_dict={**given, **changes})


def sequences_in(path):
    """User -> items by (time, line), read without RecBole."""
    header, *lines = path.read_text().splitlines()
    names = [name.split(":")[0] for name in header.split("\t")]
    user_column, item_column, time_column = (names.index(name) for name in ("user_id", "item_id", "timestamp"))
    events = {}
    for number, line in enumerate(lines):
        fields = line.split("\t")
        events.setdefault(fields[user_column], []).append((float(fields[time_column]), number, fields[item_column]))
    return {user: [item for _, _, item in sorted(rows)] for user, rows in events.items()}


def by_row(pairs, items):
    """Row of the batch -> item ids as in the file, from RecBole's (rows, items)."""
    found = {}
    if pairs is not None:
        for row, item in zip(pairs[0].tolist(), pairs[1].tolist(), strict=True):
            found.setdefault(row, []).append(str(items[item]))
    return found


def evaluated(loader):
    """User -> (targets, masked items, history or None), as RecBole's trainer reads them; ids as in the file."""
    users = loader._dataset.field2id_token["user_id"]
    items = loader._dataset.field2id_token["item_id"]
    found = {}
    for interaction, masked, positive_u, positive_i in loader:
        targets_of, hidden_of = by_row((positive_u, positive_i), items), by_row(masked, items)
        for row, user in enumerate(interaction["user_id"].tolist()):
            history = None
            if "item_id_list" in interaction:
                length = int(interaction["item_length"][row])
                assert interaction["item_id_list"][row, length:].sum() == 0
                history = [str(items[item]) for item in interaction["item_id_list"][row, :length].tolist()]
            name = str(users[user])
            assert name not in found
            found[name] = (targets_of.get(row, []), sorted(hidden_of.get(row, [])), history)
    return found


def trained(train_data):
    """(user, history, target) of every training row; a general model's rows have no history."""
    dataset = train_data._dataset
    users, items = dataset.field2id_token["user_id"], dataset.field2id_token["item_id"]
    feat = dataset.inter_feat
    rows = []
    for row in range(len(feat)):
        history = None
        if "item_id_list" in feat:
            kept = feat["item_id_list"][row, : int(feat["item_length"][row])]
            history = tuple(str(items[item]) for item in kept.tolist())
        rows.append((str(users[int(feat["user_id"][row])]), history, str(items[int(feat["item_id"][row])])))
    return rows


def loaders(model, root, tmp_path, **changes):
    config = config_of(model, root, tmp_path, **changes)
    return data_preparation(config, create_dataset(config))


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
    assert sequences["tie"] == ["e", "d", "c", "b", "a"]  # of equal time: as in the file
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
def test_histories_lose_their_oldest_items_only(max_history, shop, tmp_path):
    sequences = sequences_in(shop / "shop" / "shop.inter")
    train, valid, test = loaders("SASRec", shop, tmp_path, MAX_ITEM_LIST_LENGTH=max_history)
    check_split("SASRec", sequences, train, valid, test, max_history)


@pytest.mark.parametrize("model", MODELS)
def test_items_nobody_bought_are_in_the_catalogue(model, shop, tmp_path):
    dataset = create_dataset(config_of(model, shop, tmp_path))
    assert dataset.item_num == 1 + len(CATALOGUE)
    assert set(dataset.field2id_token["item_id"][1:]) == set(CATALOGUE)


@pytest.mark.parametrize("model", ["SASRec", "Pop"])
def test_without_an_item_file_the_catalogue_is_what_was_bought(model, tmp_path):
    root = write_shop(tmp_path / "data", catalogue=None)
    assert create_dataset(config_of(model, root, tmp_path)).item_num == 1 + 6


def test_all_models_number_users_and_items_alike(shop, tmp_path):
    datasets = [create_dataset(config_of(model, shop, tmp_path)) for model in MODELS]
    for dataset in datasets:
        for field in ("user_id", "item_id"):
            assert dataset.field2id_token[field].tolist() == datasets[0].field2id_token[field].tolist()


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec", "Pop"])
def test_masked_history_is_all_that_came_before(model, shop, tmp_path):
    sequences = sequences_in(shop / "shop" / "shop.inter")
    _, valid, test = loaders(model, shop, tmp_path, mask_history=True)
    for loader, place in ((valid, -2), (test, -1)):
        found = evaluated(loader)
        assert len(found) >= 4
        for user, (targets, hidden, _) in found.items():
            before, target = sequences[user][:place], sequences[user][place]
            assert targets == [target]
            assert hidden == sorted(set(before) - {target}), user  # a target that came before can still be ranked


def test_masks_of_sequential_and_general_models_agree_on_real_data(tmp_path):
    found = {}
    for model in ("SASRec", "Pop"):
        _, valid, test = loaders(model, None, tmp_path, dataset="ml-100k", mask_history=True)
        found[model] = [{user: row[:2] for user, row in evaluated(loader).items()} for loader in (valid, test)]
    assert found["SASRec"] == found["Pop"]
    assert len(found["Pop"][1]) == 943 and min(len(hidden) for _, hidden in found["Pop"][1].values()) >= 18


def test_mask_of_sequential_loaders_is_one_that_the_trainer_can_index_with(shop, tmp_path):
    _, _, test = loaders("SASRec", shop, tmp_path, mask_history=True, eval_batch_size=2)
    batches = list(test)
    assert [len(batch[0]) for batch in batches] == [2, 2, 1]
    for interaction, history, positive_u, positive_i in batches:
        scores = torch.zeros(len(interaction), 1 + len(CATALOGUE))
        scores[history] = float("-inf")
        assert torch.isfinite(scores[positive_u, positive_i]).all()
        assert torch.isinf(scores).sum() == len(history[0])


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
    with pytest.raises(ValueError, match="every one of the 2 users has fewer than 3 interactions"):
        create_dataset(config_of(model, root, tmp_path))


@pytest.mark.parametrize("model", ["SASRec", "Pop"])
def test_missing_time_is_an_error(model, tmp_path):
    events = [*EVENTS[:4], ("long", "b", ""), *EVENTS[4:]]
    with pytest.raises(ValueError, match=r"1 interactions have no time \(the first on line 6\)"):
        create_dataset(config_of(model, write_shop(tmp_path / "data", events), tmp_path))


@pytest.mark.parametrize("model", ["SASRec", "Pop"])
def test_no_interactions_is_an_error(model, tmp_path):
    with pytest.raises(ValueError, match="empty"):
        create_dataset(config_of(model, write_shop(tmp_path / "data", []), tmp_path))


@pytest.mark.parametrize("model", ["SASRec", "Pop"])
def test_order_in_the_file_does_not_matter_where_times_differ(model, tmp_path):
    events = [event for event in EVENTS if event[0] != "tie"]
    splits = []
    for number, order in enumerate((events, events[::-1], sorted(events))):
        _, valid, test = loaders(model, write_shop(tmp_path / f"data{number}", order), tmp_path)
        splits.append((evaluated(valid), evaluated(test)))
    assert splits[0] == splits[1] == splits[2]


@pytest.mark.parametrize("keep", ["first", "last"])
def test_removal_of_repeated_items_keeps_the_file_order_of_ties(keep, shop, tmp_path):
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


def test_saved_data_are_refused(shop, tmp_path):
    for key, value in (("save_dataset", True), ("save_dataloaders", True), ("dataloaders_save_path", "x.pth")):
        with pytest.raises(ValueError, match=f"{key} = .*never saved"):
            config_of("Pop", shop, tmp_path, **{key: value})
    config = config_of("Pop", shop, tmp_path)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "shop-for-Pop-dataloader.pth").write_bytes(b"")
    with pytest.raises(ValueError, match=r"shop-for-Pop-dataloader\.pth holds data loaders of an earlier run"):
        data_preparation(config, create_dataset(config))


def test_class_names_stay_recboles(shop, tmp_path):
    for model, name in (("SASRec", "SequentialDataset"), ("Pop", "Dataset")):
        dataset = create_dataset(config_of(model, shop, tmp_path))
        assert type(dataset).__name__ == name and isinstance(dataset, ExactTimeOrder)
