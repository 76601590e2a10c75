"""The published data sets, if available: counts, indices, and rankings of the first users."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_lcrec import Config, LCRec, create_dataset
from recbole_lcrec.bridge.loading import data_preparation

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
COUNTS = {"Games": (50_546, 16_859, 452_989), "Industrial_and_Scientific": (3_285, 3_686, 22_743)}
SHAPES = {"Games": (4, 142), "Industrial_and_Scientific": (3, 16)}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(COUNTS))
def test_published_data_run_as_they_are(
    name: str, tiny: Callable[..., dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    if not (DATA / name).is_dir():
        pytest.skip(f"{DATA / name} is not there")
    caplog.set_level(logging.INFO)
    parameters = tiny(DATA, MAX_ITEM_LIST_LENGTH=20, topk=[1, 5, 10], valid_metric="NDCG@10", decoding_beam_size=20)
    config = Config("LCRec", name, config_dict={**parameters, "eval_batch_size": 8})
    dataset = create_dataset(config)
    levels, moved = SHAPES[name]
    users, items, interactions = COUNTS[name]
    assert (dataset.user_num - 1, dataset.item_num - 1, len(dataset.inter_feat)) == (users, items, interactions)
    assert f"{moved} items moved" in caplog.text

    index = dataset.item_index
    assert index.codes.shape == (items, levels)
    assert len(np.unique(index.codes, axis=0)) == items
    published = json.loads((DATA / name / f"{name}.index.json").read_text(encoding="utf-8"))
    kept = [list(t) == published[i] for i, t in zip(dataset.item_ids, index.item_tokens(), strict=True)]
    assert kept.count(False) == moved

    train, _, test = data_preparation(config, dataset)
    model = LCRec(config, train._dataset).eval()
    interaction, _, _, targets = next(iter(test))
    sequences = json.loads((DATA / name / f"{name}.inter.json").read_text(encoding="utf-8"))
    for user, target, history, length in zip(
        interaction["user_id"].tolist(),
        targets.tolist(),
        interaction["item_id_list"].tolist(),
        interaction["item_length"].tolist(),
        strict=True,
    ):
        *past, last = [str(item) for item in sequences[dataset.field2id_token["user_id"][user]]]
        assert dataset.item_ids[target - 1] == last
        assert [dataset.item_ids[item - 1] for item in history[:length]] == past[-20:]
    scores = model.full_sort_predict(interaction)
    assert scores.shape == (8, items + 1)
    assert (torch.isfinite(scores).sum(dim=1) == 20).all()
