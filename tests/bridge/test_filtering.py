"""Filtering removes exactly the intended rows and logs them."""

import logging
from itertools import permutations

import pytest

from recbole_lcrec import create_dataset
from tests.data.plain_data import config_of, write_shop

CATALOGUE = [f"i{number}" for number in range(5)]
WHOLE = [("u", f"i{number}", number) for number in range(5)] + [("v", f"i{number}", number) for number in range(5)]


def items_by_user(dataset):
    """Return user -> the last item of each training row, in time order."""
    users, items = (dataset.field2id_token[field] for field in (dataset.uid_field, dataset.iid_field))
    feat, found = dataset.inter_feat, {}
    for user, item in zip(feat[dataset.uid_field].tolist(), feat[dataset.iid_field].tolist(), strict=True):
        found.setdefault(str(users[user]), []).append(str(items[item]))
    return found


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "plain"])
@pytest.mark.parametrize("places", list(permutations([0, 4, 10], 2)), ids=str)
def test_only_rows_without_user_or_item_are_removed(places, fast, tmp_path, caplog):
    no_user, no_item = places
    events = list(WHOLE)
    for place, blank in sorted(((no_user, ("", "i0", 9)), (no_item, ("u", "", 9))), reverse=True):
        events.insert(place, blank)
    config = config_of("Pop", write_shop(tmp_path / "data", events, CATALOGUE), tmp_path, fast_loading=fast)
    with caplog.at_level(logging.WARNING):
        dataset = create_dataset(config)
    assert items_by_user(dataset) == {"u": CATALOGUE, "v": CATALOGUE}
    assert "" not in dataset.field2id_token["item_id"] and dataset.item_num == 1 + 5
    for field, blank in (("user_id", ("", "i0", 9)), ("item_id", ("u", "", 9))):
        line = events.index(blank) + 2
        assert f"1 rows of inter_feat have no {field} " in caplog.text and f"first lines [{line}]" in caplog.text


@pytest.mark.parametrize("model", ["Pop", "SASRec"])
def test_interactions_with_unlisted_items_are_counted(model, tmp_path, caplog):
    config = config_of(model, write_shop(tmp_path / "data", WHOLE, CATALOGUE[:4]), tmp_path)
    with caplog.at_level(logging.WARNING):
        dataset = create_dataset(config)
    assert dataset.item_num == 1 + 4
    assert "2 of 10 interactions refer to 1 items that the item file does not list, first ['i4']" in caplog.text


def test_an_item_file_of_other_data_is_rejected(tmp_path):
    config = config_of("Pop", write_shop(tmp_path / "data", WHOLE, ["x1", "x2"]), tmp_path)
    with pytest.raises(ValueError, match=r"10 of 10 .* first \['i0', .*it lists others, first \['x1', 'x2'\]"):
        create_dataset(config)


def test_nothing_is_logged_when_nothing_is_removed(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        create_dataset(config_of("Pop", write_shop(tmp_path / "data", WHOLE, [*CATALOGUE, "unbought"]), tmp_path))
    assert not caplog.text


def test_non_numeric_times_name_the_field_and_the_remedy(tmp_path):
    root = write_shop(
        tmp_path / "data", [(user, item, f"2024-01-0{time + 1}") for user, item, time in WHOLE], CATALOGUE
    )
    file = root / "shop" / "shop.inter"
    file.write_text(file.read_text().replace("timestamp:float", "timestamp:token"))
    with pytest.raises(ValueError, match=r"a timestamp is not a number .*2024-01-01.*recbole_lcrec\.data import"):
        create_dataset(config_of("Pop", root, tmp_path))


@pytest.mark.parametrize(
    ("times", "reported"),
    [
        ([1_600_000_000, 1_600_000_001, 1_600_000_002_000], "2 in s, 1 in ms"),
        ([1_600_000_000_000, 1_600_000_000_000_000, 1_600_000_000_000_000_000], "1 in ms, 1 in us, 1 in ns"),
        ([1_600_000_000, 1_600_000_001, 1_600_000_002], None),
        ([0, 1, 2], None),
        ([5, 1_600_000_000_000, 1_600_000_000_001], None),
    ],
)
def test_mixed_time_units_are_reported(times, reported, tmp_path, caplog):
    events = [(user, f"i{number}", str(time)) for user in "uv" for number, time in enumerate(times)]
    with caplog.at_level(logging.WARNING):
        create_dataset(config_of("Pop", write_shop(tmp_path / "data", events, CATALOGUE), tmp_path))
    doubled = None if reported is None else reported.translate(str.maketrans("12", "24"))
    assert ("mixed units" in caplog.text) == (reported is not None)
    assert doubled is None or doubled in caplog.text


def test_interactions_with_unlisted_users_are_counted(tmp_path, caplog):
    root = write_shop(tmp_path / "data", WHOLE, CATALOGUE)
    (root / "shop" / "shop.user").write_text("user_id:token\nu\n")
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"], "user": ["user_id"]}
    with caplog.at_level(logging.WARNING):
        dataset = create_dataset(config_of("Pop", root, tmp_path, load_col=columns))
    assert items_by_user(dataset) == {"u": CATALOGUE}
    assert "5 of 10 interactions refer to 1 users that the user file does not list, first ['v']" in caplog.text


def test_filtered_items_do_not_count_as_unlisted(tmp_path, caplog):
    root = write_shop(tmp_path / "data", WHOLE, CATALOGUE)
    rows = "".join(f"{item}\t{price}\n" for price, item in enumerate(CATALOGUE))
    (root / "shop" / "shop.item").write_text("item_id:token\tprice:float\n" + rows)
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "price"]}
    config = config_of("Pop", root, tmp_path, load_col=columns, val_interval={"price": "[2,inf)"})
    with caplog.at_level(logging.WARNING):
        dataset = create_dataset(config)
    assert items_by_user(dataset) == {"u": CATALOGUE[2:], "v": CATALOGUE[2:]}
    assert "does not list" not in caplog.text
