"""What ``mask_history`` excludes from the ranking, against plain lists and against RecBole's general models."""

import pytest
import torch

from tests.data.plain_data import CATALOGUE, by_row, evaluated, loaders, sequences_in, write_shop


@pytest.fixture
def shop(tmp_path):
    return write_shop(tmp_path / "data")


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec", "Pop"])
def test_the_mask_is_the_whole_earlier_history(model, shop, tmp_path):
    sequences = sequences_in(shop / "shop" / "shop.inter")
    _, valid, test = loaders(model, shop, tmp_path, mask_history=True)
    for loader, place in ((valid, -2), (test, -1)):
        found = evaluated(loader)
        assert len(found) >= 4
        for user, (targets, hidden, _) in found.items():
            before, target = sequences[user][:place], sequences[user][place]
            assert targets == [target]
            assert hidden == sorted(set(before) - {target}), user  # a target that occurred before can still be ranked


def test_sequential_and_general_masks_agree(tmp_path):
    found = {}
    for model in ("SASRec", "Pop"):
        _, valid, test = loaders(model, None, tmp_path, dataset="ml-100k", mask_history=True)
        found[model] = [{user: row[:2] for user, row in evaluated(loader).items()} for loader in (valid, test)]
    assert found["SASRec"] == found["Pop"]
    assert len(found["Pop"][1]) == 943 and min(len(hidden) for _, hidden in found["Pop"][1].values()) >= 18


def test_the_sequential_mask_can_be_used_as_an_index(shop, tmp_path):
    _, _, test = loaders("SASRec", shop, tmp_path, mask_history=True, eval_batch_size=2)
    batches = list(test)
    assert [len(batch[0]) for batch in batches] == [2, 2, 1]
    for interaction, history, positive_u, positive_i in batches:
        scores = torch.zeros(len(interaction), 1 + len(CATALOGUE))
        scores[history] = float("-inf")
        assert torch.isfinite(scores[positive_u, positive_i]).all()
        assert torch.isinf(scores).sum() == len(history[0])


def test_the_mask_holds_earlier_splits_for_several_targets(tmp_path):
    users = [(f"u{number}", 100 * number) for number in range(4)]  # the last users occur only in the test split
    events = [(user, "abcdef"[step], start + step) for user, start in users for step in range(6)]
    ratio = {"split": {"RS": [0.5, 0.25, 0.25]}, "order": "TO", "group_by": None, "mode": "full"}
    root = write_shop(tmp_path / "data", events)
    _, valid, test = loaders("SASRec", root, tmp_path, eval_args=ratio, mask_history=True)
    found = []
    for loader in (valid, test):
        items = loader._dataset.field2id_token["item_id"]
        for interaction, masked, _, positive_i in loader:
            names = loader._dataset.field2id_token["user_id"][interaction["user_id"]]
            hidden = by_row(masked, items)
            found += [(str(names[row]), str(items[item]), hidden.get(row, [])) for row, item in enumerate(positive_i)]
    # 5 rows per user in time order: u0 and u1 train, u2 validates, u3 tests
    assert found == [(user, item, []) for user in ("u2", "u3") for item in "bcdef"]


def test_masking_sampled_items_is_rejected(shop, tmp_path):
    sampled = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "uni2"}
    with pytest.raises(
        ValueError, match="mask_history = True works for sequential models only if every item is ranked"
    ):
        loaders("SASRec", shop, tmp_path, mask_history=True, eval_args=sampled)
