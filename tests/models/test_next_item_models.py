"""eSASRec and FMLPRec: layers, padding and losses by hand; both learn, are saved and recommend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_lcrec import Config, Recommender, run_recbole_lcrec
from recbole_lcrec.bridge.building import build_run
from recbole_lcrec.models.esasrec.layers import LiGRLayer
from recbole_lcrec.models.fmlprec.model import FilterLayer, padded_left
from tests.conftest import SHOP, shop_sequences, write_shop

SMALL = {
    "eSASRec": {"hidden_size": 16, "inner_size": 16, "n_heads": 2, "dropout_prob": 0.0, "n_negatives": 5},
    "FMLPRec": {"hidden_size": 16, "inner_size": 16, "hidden_dropout_prob": 0.0},
}


def values(root: Path, model: str, **changes: Any) -> dict[str, Any]:
    if not (root / "data").exists():
        write_shop(root / "data")
    given = {"topk": [1, 5], "valid_metric": "NDCG@5", "use_gpu": False, "show_progress": False, "epochs": 3}
    given |= {"data_path": str(root / "data"), "checkpoint_dir": str(root / "saved"), "train_batch_size": 8}
    return {**given, **SMALL[model], **changes}


def test_a_ligr_layer_by_hand() -> None:
    torch.manual_seed(0)
    layer, width, heads = LiGRLayer(6, 2, 8, dropout=0.5).eval(), 6, 2
    states = torch.randn(1, 4, width)

    def normal(x: torch.Tensor) -> torch.Tensor:
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()

    weights, bias = layer.query_key_value.weight, layer.query_key_value.bias
    query, key, value = (normal(states[0]) @ weights.T + bias).split(width, dim=1)
    mixed = torch.zeros(4, width)
    for place in range(4):
        for head in range(heads):
            part = slice(head * 3, head * 3 + 3)
            scores = torch.stack([query[place, part] @ key[other, part] / 3**0.5 for other in range(place + 1)])
            mixed[place, part] = scores.softmax(0) @ value[: place + 1, part]
    after = states[0] + layer.attention_gate(states[0]).sigmoid() * layer.attention_output(mixed)
    gate, inner = (normal(after) @ layer.inner.weight.T).split(8, dim=1)
    fed = (gate * gate.sigmoid() * inner) @ layer.feed_forward_output.weight.T
    expected = after + layer.feed_forward_gate(after).sigmoid() * fed
    assert torch.allclose(layer(states)[0], expected, atol=1e-5)


def test_esasrec_scores_each_prefix_as_its_own_history(tmp_path: Path, monkeypatch: Any) -> None:
    model = build_run(Config("eSASRec", SHOP, config_dict=values(tmp_path, "eSASRec"))).model.eval()
    item_seq, targets = torch.tensor([[3, 4, 5], [7, 0, 0]]), torch.tensor([[4, 5, 6], [8, 0, 0]])
    negatives = torch.tensor([[9, 10, 5, 12, 13], [8, 8, 14, 15, 3]])
    monkeypatch.setattr(torch, "randint", lambda *_, **__: negatives)
    states, total = model.states(item_seq), 0.0
    for row, length in ((0, 3), (1, 1)):
        for place in range(length):
            scores = states[row, place] @ model.item_embedding.weight.T
            target = targets[row, place]
            rivals = [item for item in negatives[row].tolist() if item != target]
            total -= float(scores[[int(target), *rivals]].log_softmax(0)[0].detach())
    loss = model.calculate_loss({"item_id_list": item_seq, "item_id": targets})
    assert loss.item() == pytest.approx(total / 4, abs=1e-5)


def test_esasrec_is_causal_and_counts_positions_back(tmp_path: Path) -> None:
    model = build_run(Config("eSASRec", SHOP, config_dict=values(tmp_path, "eSASRec"))).model.eval()
    with torch.no_grad():
        model.position_embedding.weight.normal_()
        whole = model.states(torch.tensor([[3, 4, 5, 6]]))
        changed = model.states(torch.tensor([[3, 4, 9, 8]]))
        assert torch.allclose(whole[:, :2], changed[:, :2]) and not torch.allclose(whole[:, 2], changed[:, 2])
        short, padded = model.states(torch.tensor([[3, 4]])), model.states(torch.tensor([[3, 4, 0, 0]]))
        assert torch.allclose(short, padded[:, :2], atol=1e-6)
        for items in ([3], [3, 4], [3, 4, 5]):  # whatever its length, the last item has position 0
            model.layers = torch.nn.ModuleList()
            last = model.forward(torch.tensor([[*items, 0]]), torch.tensor([len(items)]))
            expected = model.item_embedding.weight[items[-1]] + model.position_embedding.weight[0]
            assert torch.allclose(last[0], expected)


@pytest.mark.parametrize("length", [4, 7])
def test_a_filter_layer_is_a_plain_fourier_filter(length: int) -> None:
    torch.manual_seed(0)
    layer = FilterLayer(length, 3, dropout=0.5, layer_norm_eps=1e-12, std=1.0).eval()
    inputs = torch.randn(2, length, 3)
    weights = torch.view_as_complex(layer.weight.detach()).numpy()
    expected = np.zeros((2, length, 3))
    for row, width in np.ndindex(2, 3):
        spectrum = [
            sum(inputs[row, n, width].item() * np.exp(-2j * np.pi * k * n / length) for n in range(length))
            for k in range(length)
        ]
        half = length // 2
        filtered = [spectrum[k] * weights[k, width] for k in range(half + 1)]
        filtered[0] = filtered[0].real + 0j  # a real sequence has a real mean
        if length % 2 == 0:
            filtered[half] = filtered[half].real + 0j
        mirrored = [np.conj(filtered[length - k]) for k in range(half + 1, length)]
        for n in range(length):
            waves = [value * np.exp(2j * np.pi * k * n / length) for k, value in enumerate([*filtered, *mirrored])]
            expected[row, n, width] = (sum(waves) / length).real
    residual = inputs.numpy() + expected
    centred = residual - residual.mean(-1, keepdims=True)
    assert np.allclose(layer(inputs).detach(), centred / residual.std(-1, keepdims=True), atol=1e-4)


def test_fmlprec_filters_rows_padded_on_the_left(tmp_path: Path) -> None:
    rows, lengths = torch.tensor([[3, 4, 0, 0], [5, 6, 7, 8], [9, 0, 0, 0]]), torch.tensor([2, 4, 1])
    assert padded_left(rows, lengths).tolist() == [[0, 0, 3, 4], [5, 6, 7, 8], [0, 0, 0, 9]]
    config = Config("FMLPRec", SHOP, config_dict=values(tmp_path, "FMLPRec", MAX_ITEM_LIST_LENGTH=4))
    model = build_run(config).model.eval()
    with torch.no_grad():
        model.item_embedding.weight[1:].normal_()
        states = model.norm(model.item_embedding(torch.tensor([[0, 0, 3, 4]])) + model.position_embedding.weight)
        assert torch.allclose(model(rows, lengths)[0], model.blocks(states)[0, -1], atol=1e-6)
        assert not model.item_embedding.weight[0].any()  # padding adds nothing


def test_fmlprec_losses_by_hand(tmp_path: Path) -> None:
    batch = {"item_id_list": torch.tensor([[3, 4, 0], [5, 6, 7]]), "item_length": torch.tensor([2, 3])}
    batch |= {"item_id": torch.tensor([5, 8]), "neg_item_id": torch.tensor([9, 3])}
    for loss, expected in (
        ("CE", lambda scores: -(scores.log_softmax(1)[0, 5] + scores.log_softmax(1)[1, 8]) / 2),
        ("BPR", lambda s: -((s[0, 5] - s[0, 9]).sigmoid().log() + (s[1, 8] - s[1, 3]).sigmoid().log()) / 2),
    ):
        given = values(tmp_path, "FMLPRec", loss_type=loss, MAX_ITEM_LIST_LENGTH=3)
        model = build_run(Config("FMLPRec", SHOP, config_dict=given)).model.eval()
        scores = model.full_sort_predict(batch)
        assert model.calculate_loss(batch).item() == pytest.approx(expected(scores).item(), abs=1e-5)


@pytest.mark.parametrize(("model", "changes"), [("eSASRec", {}), ("FMLPRec", {}), ("FMLPRec", {"loss_type": "BPR"})])
def test_it_learns_is_saved_and_recommends(tmp_path: Path, model: str, changes: dict[str, Any]) -> None:
    given = values(tmp_path, model, epochs=60, learning_rate=0.01, **changes)
    result = run_recbole_lcrec(model, SHOP, config_dict=given)
    assert result["test_result"]["hit@5"] > 0.7  # the shop's next item is the catalogue's next
    again = run_recbole_lcrec(model, SHOP, config_dict=given)
    assert again["test_result"] == result["test_result"]
    sequences = list(shop_sequences().values())
    answers = Recommender.load(result["saved_model_file"]).recommend([items[:-1] for items in sequences], k=5)
    hits = [items[-1] in [one.item for one in answer] for items, answer in zip(sequences, answers, strict=True)]
    assert np.mean(hits) == pytest.approx(result["test_result"]["hit@5"], abs=1e-4)


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        ("eSASRec", {"n_heads": 3}, "n_heads = 3 does not divide hidden_size = 16"),
        ("eSASRec", {"n_negatives": 0}, "n_negatives = 0: expected"),
        ("FMLPRec", {"loss_type": "ce"}, "loss_type = 'ce': expected one of 'BPR', 'CE'"),
        ("FMLPRec", {"n_heads": 2}, "unknown parameter 'n_heads'"),
    ],
)
def test_values_that_cannot_be_used(tmp_path: Path, model: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config(model, SHOP, config_dict=values(tmp_path, model, **changes))
