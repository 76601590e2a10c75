"""The fast reader against RecBole's own reading of the same file."""

import logging

import numpy as np
import pandas as pd
import pytest
from recbole.data.dataset import Dataset, SequentialDataset

from recbole_lcrec.bridge.atomic_reader import FastReading
from tests.bridge.augmented import config_of, random_events, settings, write_events


class Fast(FastReading, Dataset):
    """RecBole's data set with only this package's reading."""


UNUSUAL = {
    "missing": "a\tNA\t3\t1\n\t2\t\t2\nnull\tNone\t1\t\n",
    "numbers": "007\t1\t0.1234567890123456789\t1\n7\t 1\t1700000000.123456\t2\nTrue\t1.0\t1e300\t-0\n",
    "quotes": '"a\tb"\t1\t3\t1\nb"c\t"x""y"\t4\t2\n',
    "blank lines": "a\t1\t3\t1\n\n\nb\t2\t4\t2\n",
    "fields too many": "a\t1\t3\t1\nb\t2\t4\t2\t9\t9\n",
    "fields too few": "a\t1\t3\t1\nb\t2\n",
    "other scripts": "Zoë\t寿司\t3\t1\n🙂\t2\t4\t2\n",
    "NUL": "a\x00b\t1\t3\t1\na\t2\t4\t2\n",
}


def loaded(cls, config):
    """Frame and field properties as one class reads them, without later steps."""
    dataset = cls.__new__(cls)
    dataset.config, dataset.logger = config, logging.getLogger()
    dataset._get_preset()
    dataset._get_field_from_config()
    dataset._load_data("small", config["data_path"])
    return dataset


def assert_same(config):
    found, expected = loaded(Fast, config), loaded(Dataset, config)
    for name in ("field2type", "field2source", "field2seqlen", "field2bucketnum"):
        assert getattr(found, name) == getattr(expected, name)
    for feat in ("inter_feat", "item_feat"):
        mine, theirs = getattr(found, feat), getattr(expected, feat)
        assert (mine is None) == (theirs is None)
        if theirs is not None:
            pd.testing.assert_frame_equal(pd.DataFrame(mine), pd.DataFrame(theirs))
    return found


@pytest.mark.parametrize("kind", UNUSUAL)
def test_unusual_lines_are_read_as_in_recbole(kind, tmp_path):
    root = write_events(tmp_path / "data", [])
    with (root / "small" / "small.inter").open("a", encoding="utf-8", newline="") as file:
        file.write(UNUSUAL[kind])
    dataset = assert_same(config_of(settings(root, tmp_path)))
    assert len(dataset.inter_feat) == len(UNUSUAL[kind].splitlines()) - UNUSUAL[kind].count("\n\n") - UNUSUAL[
        kind
    ].count("\n\n\n")


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_line_endings(ending, tmp_path):
    root = write_events(tmp_path / "data", random_events())
    path = root / "small" / "small.inter"
    path.write_bytes(path.read_bytes().replace(b"\n", ending.encode()))
    columns = {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
    assert len(assert_same(config_of(settings(root, tmp_path, **columns))).inter_feat) == len(random_events())


def test_columns_are_chosen_as_in_recbole(tmp_path):
    root = write_events(tmp_path / "data", random_events())
    for changes in (
        {"load_col": None},
        {"load_col": None, "unload_col": {"inter": ["rating"]}},
        {"load_col": {"inter": "*"}},
    ):
        assert_same(config_of(settings(root, tmp_path, **changes)))


def test_sequences_are_left_to_recbole(tmp_path):
    root = write_events(tmp_path / "data", random_events())
    lines = ["item_id:token\ttitle:token_seq\tprice:float", "i1\tred hat\t3", "i2\t\t", "i1\tagain\t4"]
    (root / "small" / "small.item").write_text("\n".join(lines) + "\n")
    assert_same(config_of(settings(root, tmp_path, load_col=None)))
    found = assert_same(config_of(settings(root, tmp_path, load_col={"inter": "*", "item": ["item_id", "price"]})))
    assert found.item_feat["item_id"].tolist() == ["i1", "i2"]


def test_another_separator(tmp_path):
    root = write_events(tmp_path / "data", random_events())
    path = root / "small" / "small.inter"
    path.write_text(path.read_text().replace("\t", ","))
    assert len(assert_same(config_of(settings(root, tmp_path, field_separator=","))).inter_feat) == len(random_events())


def test_an_overlong_first_row_does_not_shift_columns(tmp_path):
    root = write_events(tmp_path / "data", [("a", "x", 1, "2\t9"), ("b", "y", 3, 4)])
    frame = loaded(Fast, config_of(settings(root, tmp_path))).inter_feat
    assert frame["user_id"].tolist() == ["a", "b"] and frame["rating"].tolist() == [2.0, 4.0]


def test_a_non_numeric_float_is_an_error(tmp_path):
    root = write_events(tmp_path / "data", [("a", "x", "soon", 1)])
    with pytest.raises(ValueError, match=r"small\.inter cannot be read: .*soon.*correct the file"):
        loaded(Fast, config_of(settings(root, tmp_path)))


def test_an_unknown_type_is_recboles_error(tmp_path):
    root = write_events(tmp_path / "data", [("a", "x", 1, 1)])
    path = root / "small" / "small.inter"
    path.write_text(path.read_text().replace("rating:float", "rating:number"))
    with pytest.raises(ValueError, match="not supported"):
        loaded(Fast, config_of(settings(root, tmp_path)))


@pytest.mark.parametrize("interval", ["[0,inf)", "[3,inf)", "[0,10]", "(0,inf)", "[0,5];[8,inf)", None])
def test_filtering_by_counts_equals_recboles(interval, tmp_path):
    root = write_events(tmp_path / "data", random_events())
    given = settings(root, tmp_path, user_inter_num_interval=interval, item_inter_num_interval="[0,inf)")
    frames = []
    for mixins in ((FastReading,), ()):
        cls = type("Data", (*mixins, SequentialDataset), {})
        frames.append(cls(config_of(given)).inter_feat)
    assert np.array_equal(frames[0].to_numpy(), frames[1].to_numpy())
