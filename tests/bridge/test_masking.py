"""What ``mask_history`` excludes from the ranking, against plain lists and against RecBole's general models."""

import pytest
import torch

from recbole_lcrec import Recommender, run_recbole_lcrec
from tests.conftest import TINY
from tests.data.plain_data import CATALOGUE, by_row, evaluated, loaders, sequences_in, write_shop

FEW = {"topk": [1], "valid_metric": "Hit@1"}


@pytest.fixture
def shop(tmp_path):
    return write_shop(tmp_path / "data")


@pytest.mark.parametrize("way", ["mask", "drop", "leak"])
@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec", "Pop"])
def test_the_mask_is_the_whole_earlier_history(model, way, shop, tmp_path, caplog):
    sequences = sequences_in(shop / "shop" / "shop.inter")
    _, valid, test = loaders(model, shop, tmp_path, mask_history=True, repeated_targets=way, **FEW)
    repeated = 0
    for loader, place in ((valid, -2), (test, -1)):
        found = evaluated(loader)
        repeats = {user for user, items in sequences.items() if len(items) > 2 and items[place] in items[:place]}
        repeated += len(repeats)
        assert len(found) >= 3 and (set(found) & repeats == (set() if way == "drop" else repeats & set(found)))
        for user, (targets, hidden, _) in found.items():
            before, target = sequences[user][:place], sequences[user][place]
            assert targets == [target]
            assert hidden == sorted(set(before) - ({target} if way == "leak" else set())), user
    assert repeated  # the shop has a user who comes back to an item
    consequence = {"mask": "count as missed", "drop": "rows are left out", "leak": "gives the answer away"}[way]
    assert consequence in caplog.text


def test_a_masked_ranking_is_what_a_recommender_gives(tmp_path):
    """Hit@1 and Hit@3 of recommendations without the history, for models of every kind."""
    events = [(f"u{user}", "abcdefgh"[(user + step * step) % 8], step) for user in range(12) for step in range(5)]
    root = write_shop(tmp_path / "data", events, list("abcdefgh"))
    sequences = sequences_in(root / "shop" / "shop.inter")
    given = {"data_path": str(root), "checkpoint_dir": str(tmp_path / "saved"), "mask_history": True, "topk": [1, 3]}
    given |= {"valid_metric": "Hit@3", "epochs": 1, "use_gpu": False, "show_progress": False, "load_col": None}
    small = {"hidden_size": 8, "n_layers": 1, "n_heads": 1, "inner_size": 8}
    lcrec = {f"LCRec.{key}": value for key, value in TINY.items() if key.startswith(("scratch_", "tuning_"))}
    lcrec |= {"LCRec.index_method": "random", "LCRec.index_report": False, "LCRec.decoding_beam_size": 8}
    given |= {f"SASRec.{key}": value for key, value in small.items()} | lcrec
    results = run_recbole_lcrec("SASRec,Pop,CoVisit,LCRec", "shop", config_dict=given)
    assert any(items[-1] in items[:-1] for items in sequences.values())
    for name, result in results.items():
        recommender = Recommender.load(result["saved_model_file"])
        answers = recommender.recommend([items[:-1] for items in sequences.values()], k=3, exclude_history=True)
        for k in (1, 3):
            hits = [
                items[-1] in [one.item for one in answer[:k]]
                for items, answer in zip(sequences.values(), answers, strict=True)
            ]
            assert sum(hits) / len(hits) == pytest.approx(result["test_result"][f"hit@{k}"], abs=1e-4), name


def test_users_without_enough_items_are_refused(shop, tmp_path):
    with pytest.raises(ValueError, match="items to rank beside the masked history, but topk asks for 10: lower topk"):
        loaders("SASRec", shop, tmp_path, mask_history=True)


def test_sequential_and_general_masks_agree(tmp_path):
    found = {}
    for model in ("SASRec", "Pop"):
        _, valid, test = loaders(model, None, tmp_path, dataset="ml-100k", mask_history=True)
        found[model] = [{user: row[:2] for user, row in evaluated(loader).items()} for loader in (valid, test)]
    assert found["SASRec"] == found["Pop"]
    assert len(found["Pop"][1]) == 943 and min(len(hidden) for _, hidden in found["Pop"][1].values()) >= 18


def test_the_sequential_mask_can_be_used_as_an_index(shop, tmp_path):
    _, _, test = loaders("SASRec", shop, tmp_path, mask_history=True, eval_batch_size=2, repeated_targets="leak", **FEW)
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
    _, valid, test = loaders("SASRec", root, tmp_path, eval_args=ratio, mask_history=True, **FEW)
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
    with pytest.raises(ValueError, match="mask_history = True works only if every item is ranked"):
        loaders("SASRec", shop, tmp_path, mask_history=True, eval_args=sampled)
