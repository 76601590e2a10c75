"""One epoch of every model that the command should compare, on the same data, in one table."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recbole_lcrec import run_recbole_lcrec
from tests.conftest import SHOP

MODELS = ["LCRec", "SASRec", "GRU4Rec", "BERT4Rec", "Caser", "HGN"]


def test_one_epoch_of_each(
    indexed_shop: Path, tiny: Callable[..., dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    shared = {"epochs": 1, "train_batch_size": 16}
    parameters = tiny(indexed_shop, **shared)
    own = {f"LCRec.{key}": parameters.pop(key) for key in list(parameters) if key.startswith(("scratch", "index"))}
    own |= {f"LCRec.{key}": parameters.pop(key) for key in list(parameters) if key.startswith(("tuning", "decoding"))}
    results = run_recbole_lcrec(MODELS, SHOP, config_dict={**parameters, **own})
    assert list(results) == MODELS
    for name, result in results.items():
        metrics = result["test_result"]
        assert set(metrics) == {"hit@1", "hit@5", "ndcg@1", "ndcg@5"}, name
        assert 0 <= metrics["ndcg@5"] <= metrics["hit@5"] <= 1, name
        assert Path(result["saved_model_file"]).exists(), name
    tables = [record.message for record in caplog.records if "NDCG@5" in record.message and "seconds" in record.message]
    assert len(tables) == 1
    assert all(f" {name} " in tables[0] for name in MODELS)
