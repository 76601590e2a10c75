"""Related items and start directions of a data set, with texts, with few, and without any."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recbole_lcrec import Config, create_dataset
from recbole_lcrec.bridge.training_sequences import training_sequences_of
from recbole_lcrec.models.lcrec.relations import index_directions, related_items_of
from tests.conftest import N_ITEMS, SHOP

Parameters = Callable[..., dict[str, Any]]


def dataset_of(parameters: dict[str, Any]) -> Any:
    return create_dataset(Config("LCRec", SHOP, config_dict=parameters))


def tokens_of(dataset: Any) -> list[str]:
    return [token for level in dataset.item_index.tokens_by_level() for token in level]


def keep_texts(folder: Path, kept: int) -> None:
    """Blank the texts of all but the first items of the shop's item file."""
    path = folder / SHOP / f"{SHOP}.item"
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    blank = ["\t".join([row.split("\t")[0]] + [""] * row.count("\t")) for row in rows[kept:]]
    path.write_text("\n".join([header, *rows[:kept], *blank]) + "\n", encoding="utf-8")


@pytest.mark.parametrize("kept", [N_ITEMS, N_ITEMS // 2])
def test_directions_of_partly_described_items(indexed_shop: Path, tiny: Parameters, kept: int) -> None:
    keep_texts(indexed_shop, kept)
    dataset = dataset_of(tiny(indexed_shop))
    tokens = tokens_of(dataset)
    directions = index_directions(dataset, tokens, 128, 0)
    assert directions is not None and directions.shape[0] == len(tokens) and directions.shape[1] < kept
    used = {token for tokens in dataset.item_index.item_tokens()[:kept] for token in tokens}
    assert {token for token, row in zip(tokens, directions, strict=True) if row.any()} <= used


def test_without_texts_nothing_is_directed(indexed_shop: Path, tiny: Parameters, caplog: Any) -> None:
    keep_texts(indexed_shop, 0)
    caplog.set_level("INFO")
    dataset = dataset_of(tiny(indexed_shop))
    assert index_directions(dataset, tokens_of(dataset), 16, 0) is None
    assert "Index tokens start at random" in caplog.text


@pytest.mark.parametrize("source", ["both", "covisits", "texts"])
def test_related_items_use_what_their_source_names(indexed_shop: Path, tiny: Parameters, source: str) -> None:
    dataset = dataset_of(tiny(indexed_shop, tuning_tasks=["seq", "rel"], related_source=source))
    train = dataset.build()[0]
    found = related_items_of(train, training_sequences_of(train))
    assert found is not None and len(found.offsets) == N_ITEMS + 1 and len(found.rows)
    (indexed_shop / SHOP / f"{SHOP}.item").unlink()
    bare = dataset_of(tiny(indexed_shop, tuning_tasks=["seq", "rel"], related_source=source)).build()[0]
    without = related_items_of(bare, training_sequences_of(bare))
    assert (without is None) == (source == "texts")
    if source == "covisits":
        assert without is not None and np.array_equal(without.items, found.items)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tuning_tasks": ["seq"], "related_nearest": 5}, "related_nearest has no effect.*does not contain rel"),
        ({"tuning_tasks": "paper", "related_source": "texts"}, "related_source has no effect.*'paper'"),
        ({"intention_source": "llm"}, "intention_source = 'llm' has no effect.*neither ite nor per.*paper"),
    ],
)
def test_keys_of_tasks_that_are_not_tuned_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config("LCRec", "ml-100k", config_dict=values)


def test_keys_of_tuned_tasks_are_taken() -> None:
    assert Config("LCRec", "ml-100k", config_dict={"related_nearest": 5})["related_nearest"] == 5
