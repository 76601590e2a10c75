"""Shares of the test targets by hand, against loops over the file, and in the log of every kind of model."""

import logging
from itertools import pairwise

import numpy as np
import pytest

from recbole_lcrec import create_dataset, data_preparation
from recbole_lcrec.bridge.targets import Steps, steps_of, target_shares
from tests.bridge.augmented import config_of, random_events, settings, write_events
from tests.data.plain_data import sequences_in


def steps(*rows):
    return Steps(*np.array(rows, dtype=np.int64).reshape(-1, 3).T)


def test_shares_by_hand():
    training = steps((1, 4, 5), (1, 5, 6), (2, 6, 7))
    validation = steps((1, 6, 8), (2, 7, 4), (3, 4, 4), (4, 9, 5))
    test = steps((1, 8, 8), (2, 4, 5), (3, 4, 6), (4, 5, 6))
    found = target_shares(training, validation, test)
    assert (found.targets, found.repeated, found.untrained, found.followed) == (4, 0.25, 0.25, 0.5)
    assert found.in_words() == (
        "Test targets: 25.0% of 4 repeat an item of the user's history, 25.0% never occur in training, 50.0% follow a "
        "pair seen in training (their item came next after the user's last item in a training sequence)"
    )


def test_items_before_the_first_row_are_no_pair():
    """A general data set's first row of a user has no item before it."""
    found = target_shares(steps((1, 0, 5), (1, 5, 6)), steps(), steps((2, 0, 5), (3, 7, 8)))
    assert (found.repeated, found.untrained, found.followed) == (0.0, 0.5, 0.0)


def shares_by_loop(sequences):
    whole = {user: items for user, items in sequences.items() if len(items) >= 3}
    training = [items[:-2] if len(items) >= 3 else items for items in sequences.values()]
    trained = {item for items in training for item in items}
    pairs = {pair for items in training for pair in pairwise(items)}
    tests = [(items[:-1], items[-1]) for items in whole.values()]
    return (
        np.mean([target in history for history, target in tests]),
        np.mean([target not in trained for _, target in tests]),
        np.mean([(history[-1], target) in pairs for history, target in tests]),
    )


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("model", ["SASRec", "Pop"])
def test_shares_equal_loops_and_are_logged(model, fast, tmp_path, caplog):
    root = write_events(tmp_path / "data", random_events())
    config = config_of(settings(root, tmp_path, MAX_ITEM_LIST_LENGTH=7), model=model, fast=fast)
    with caplog.at_level(logging.INFO):
        loaders = data_preparation(config, create_dataset(config))
    found = target_shares(*steps_of(*(loader._dataset for loader in loaders)))
    expected = shares_by_loop(sequences_in(root / "small" / "small.inter"))
    assert expected[0] > 0 and expected[2] > 0
    assert (found.repeated, found.untrained, found.followed) == pytest.approx(expected)
    assert found.in_words() in [record.getMessage() for record in caplog.records]


def test_random_order_has_no_targets_to_describe(tmp_path, caplog):
    root = write_events(tmp_path / "data", random_events())
    config = config_of(settings(root, tmp_path), model="Pop")
    config["eval_args"]["order"] = "RO"
    with caplog.at_level(logging.INFO):
        data_preparation(config, create_dataset(config))
    assert "Split: " in caplog.text and "Test targets: " not in caplog.text
