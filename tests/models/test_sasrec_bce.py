"""SASRecBCE: rows, negatives, loss and causality by hand; run, saved and recommending beside RecBole's SASRec."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_lcrec import Config, Recommender, run_recbole_lcrec
from recbole_lcrec.bridge.building import build_run, build_trainer
from recbole_lcrec.data.sequences import UserSequences
from recbole_lcrec.models.whole_sequences import sequence_rows, uniform_negatives
from tests.conftest import SHOP, shop_sequences, write_shop

SMALL = {"hidden_size": 16, "inner_size": 16, "n_heads": 2, "hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}


def values(root: Path, **changes: Any) -> dict[str, Any]:
    if not (root / "data").exists():
        write_shop(root / "data")
    given = {"topk": [1, 5], "valid_metric": "NDCG@5", "use_gpu": False, "show_progress": False, "epochs": 3}
    given |= {"data_path": str(root / "data"), "checkpoint_dir": str(root / "saved"), "train_batch_size": 8}
    return {**given, **SMALL, **changes}


def test_rows_keep_the_newest_targets() -> None:
    sequences = UserSequences(np.arange(3), np.array([4, 5, 6, 7, 9, 1, 2]), np.array([0, 4, 5, 7]))
    inputs, targets = sequence_rows(sequences, 2)
    assert inputs.tolist() == [[6, 7], [2, 0]] and targets.tolist() == [[7, 8], [3, 0]]
    with pytest.raises(ValueError, match="no user has two training items"):
        sequence_rows(UserSequences(np.arange(1), np.array([4]), np.array([0, 1])), 2)


def test_negatives_are_uniform_over_unseen_items() -> None:
    item_seq = torch.tensor([[1, 2, 0]]).expand(20_000, 3)
    drawn = uniform_negatives(item_seq, torch.tensor([[2, 5, 0]]).expand(20_000, 3), 7)
    shares = torch.bincount(drawn.flatten(), minlength=7) / drawn.numel()
    assert shares.numpy() == pytest.approx([0, 0, 0, 1 / 3, 1 / 3, 0, 1 / 3], abs=0.01)
    assert uniform_negatives(torch.tensor([[1, 2]]), torch.tensor([[2, 3]]), 4).tolist() == [[1, 1]]


def test_an_epoch_has_each_user_once_and_no_held_out_item(tmp_path: Path) -> None:
    config = Config("SASRecBCE", SHOP, config_dict=values(tmp_path))
    run = build_run(config)
    trainer, batches = build_trainer(config, run.model), []
    compute = run.model.calculate_loss
    run.model.calculate_loss = lambda batch: (batches.append(batch), compute(batch))[1]
    trainer._train_epoch(run.train_data, 0)
    tokens = run.dataset.field2id_token["item_id"]
    found = []
    for batch in batches:
        for items, targets in zip(batch["item_id_list"].tolist(), batch["item_id"].tolist(), strict=True):
            length = sum(target > 0 for target in targets)
            assert items[1:length] == targets[: length - 1]
            found.append([tokens[item] for item in [*items[:length], targets[length - 1]]])
    expected = [items[:-2] for items in shop_sequences().values() if len(items) > 3]
    assert sorted(found) == sorted(expected) and max(len(batch) for batch in batches) == 8


def test_the_loss_is_that_of_the_paper(tmp_path: Path, monkeypatch: Any) -> None:
    run = build_run(Config("SASRecBCE", SHOP, config_dict=values(tmp_path)))
    model = run.model.eval()
    item_seq, targets = torch.tensor([[3, 4, 5], [7, 0, 0]]), torch.tensor([[4, 5, 6], [8, 0, 0]])
    negatives = torch.tensor([[9, 10, 11], [12, 13, 14]])
    monkeypatch.setattr("recbole_lcrec.models.sasrec_bce.model.uniform_negatives", lambda *_: negatives)
    total = 0.0
    for row, length in ((0, 3), (1, 1)):
        for place in range(length):  # each position as a history of its own
            history = {"item_id_list": item_seq[row : row + 1].clone(), "item_length": torch.tensor([place + 1])}
            history["item_id_list"][:, place + 1 :] = 0
            scores = model.full_sort_predict(history)[0]
            right, wrong = scores[targets[row, place]], scores[negatives[row, place]]
            total -= float((right.sigmoid().log() + (1 - wrong.sigmoid()).log()).detach())
    loss = model.calculate_loss({"item_id_list": item_seq, "item_id": targets})
    assert float(loss) == pytest.approx(total / 4, abs=1e-5)


def test_shared_negatives_by_hand(tmp_path: Path, monkeypatch: Any) -> None:
    given = values(tmp_path, negative_count=4, negative_popularity=0.5)
    run = build_run(Config("SASRecBCE", SHOP, config_dict=given))
    model, counts = run.model.eval(), np.zeros(run.dataset.item_num)
    tokens = run.dataset.field2token_id["item_id"]
    for items in shop_sequences().values():
        np.add.at(counts, [tokens[item] for item in items[:-2]], 1)
    assert np.allclose(model.negative_weights, counts**0.5)
    item_seq, targets = torch.tensor([[3, 4, 5], [7, 0, 0]]), torch.tensor([[4, 5, 6], [8, 0, 0]])
    monkeypatch.setattr(torch, "multinomial", lambda *_, **__: torch.tensor([9, 5, 12, 5]))
    states, total = model.states(item_seq), 0.0
    for row, length in ((0, 3), (1, 1)):
        for place in range(length):
            scores = (states[row, place] @ model.item_embedding.weight.T).detach()
            target = int(targets[row, place])
            wrong = [item for item in (9, 5, 12, 5) if item != target]
            total -= float(scores[target].sigmoid().log() + (1 - scores[wrong].sigmoid()).log().sum())
    loss = model.calculate_loss({"item_id_list": item_seq, "item_id": targets})
    assert loss.item() == pytest.approx(total / 4, abs=1e-4)


def test_it_learns_is_saved_and_recommends(tmp_path: Path) -> None:
    given = values(tmp_path, epochs=60, learning_rate=0.01)
    result = run_recbole_lcrec("SASRecBCE", SHOP, config_dict=given)
    assert result["test_result"]["hit@5"] > 0.7  # the shop's next item is the catalogue's next
    again = run_recbole_lcrec("SASRecBCE", SHOP, config_dict=given)
    assert again["test_result"] == result["test_result"]
    sequences = list(shop_sequences().values())
    answers = Recommender.load(result["saved_model_file"]).recommend([items[:-1] for items in sequences], k=5)
    hits = [items[-1] in [one.item for one in answer] for items, answer in zip(sequences, answers, strict=True)]
    assert np.mean(hits) == pytest.approx(result["test_result"]["hit@5"], abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_heads": 3}, "n_heads = 3 does not divide hidden_size = 16"),
        ({"hidden_dropout_prob": 1.5}, "hidden_dropout_prob = 1.5: expected"),
        ({"hidden_act": "gelo"}, "did you mean 'gelu'"),
        ({"loss_type": "CE"}, "unknown parameter 'loss_type'"),
        ({"negative_count": 0}, "negative_count = 0: expected an integer of at least 1"),
        ({"negative_popularity": -0.5}, "negative_popularity = -0.5: expected a number of at least 0"),
        ({"negative_popularity": 0.5}, "negative_popularity = 0.5 is read only if negative_count is above 1"),
    ],
)
def test_values_that_cannot_be_used(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config("SASRecBCE", SHOP, config_dict=values(tmp_path, **changes))
