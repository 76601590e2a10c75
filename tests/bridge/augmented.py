"""The same data set loaded by RecBole's own classes and by this package's, from the same whole numbers as times."""

import numpy as np
import torch
from recbole.data.dataset import SequentialDataset
from recbole.data.utils import data_preparation as recbole_preparation

from recbole_lcrec import Config, create_dataset, data_preparation

LEAVE_ONE = ("valid_and_test", "test_only")


def write_events(root, events, name="small"):
    """Write (user, item, time, stars) as an atomic file; times are small whole numbers, exact in float32."""
    folder = root / name
    folder.mkdir(parents=True)
    lines = ["user_id:token\titem_id:token\ttimestamp:float\trating:float"]
    lines += ["\t".join(map(str, event)) for event in events]
    (folder / f"{name}.inter").write_text("\n".join(lines) + "\n")
    return root


def random_events(seed=3, users=40, items=25):
    """Return users with 1 to 60 interactions in mixed order, with equal times and repeated items."""
    rng = np.random.default_rng(seed)
    counts = [1, 2, 3, 4, 60, *rng.integers(1, 30, size=users - 5)]
    events = [
        (f"u{user}", f"i{rng.integers(items)}", int(rng.integers(count)), int(rng.integers(1, 6)))
        for user, count in enumerate(counts)
        for _ in range(count)
    ]
    return [events[row] for row in rng.permutation(len(events))]


def position_times(events, seed=1):
    """Replace times by positions within each user, which order exactly in both; lines stay in mixed order."""
    found, places = [], {}
    for user, item, _, stars in events:
        places[user] = places.get(user, -1) + 1
        found.append((user, item, places[user], stars))
    return [found[row] for row in np.random.default_rng(seed).permutation(len(found))]


def settings(data_path, tmp_path, leave_one="valid_and_test", **changes):
    split = {"split": {"LS": leave_one}, "order": "TO", "group_by": "user", "mode": "full"}
    given = {
        "checkpoint_dir": str(tmp_path / "saved"), "eval_args": split, "MAX_ITEM_LIST_LENGTH": 5,
        "load_col": {"inter": ["user_id", "item_id", "timestamp", "rating"]}, "use_gpu": False,
        "train_batch_size": 37, "eval_batch_size": 11, "shuffle": True, "seed": 7,
    }  # fmt: skip
    if data_path is not None:
        given["data_path"] = str(data_path)
    return {**given, **changes}


def config_of(given, dataset="small", model="SASRec", fast=True):
    config = Config(model, dataset, config_dict=given)
    config["fast_loading"] = fast
    return config


def recboles(config):
    """Load RecBole's own data set and loaders, with its reading and its loop."""
    dataset = SequentialDataset(config)
    return dataset, recbole_preparation(config, dataset)


def ours(config):
    dataset = create_dataset(config)
    return dataset, data_preparation(config, dataset)


def assert_same_tensors(found, expected, names):
    for name in names:
        assert found[name].dtype == expected[name].dtype, name
        assert torch.equal(found[name], expected[name]), name


def assert_same_rows(found, expected):
    """Compare every field of two ``inter_feat``, in order."""
    assert list(found) == list(expected) and len(found) == len(expected)
    assert_same_tensors(found, expected, list(expected))
