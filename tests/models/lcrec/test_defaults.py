"""What ``auto`` stands for, by the base model."""

from __future__ import annotations

from typing import Any

import pytest

from recbole_lcrec import Config
from recbole_lcrec.models.lcrec.settings import default_values

AUTO = {
    "tuning_tasks": "auto",
    "tuning_seq_format": "auto",
    "tuning_index_start": "auto",
    "tuning_stream_epochs": 0,
    "eval_templates": "one",
    "learning_rate": None,
    "epochs": None,
}
FROM_NOTHING = {
    "tuning_tasks": ["seq", "rel"],
    "tuning_seq_format": "stream",
    "tuning_index_start": "texts",
    "learning_rate": 0.002,
    "epochs": 16,
}
PRETRAINED = {
    "tuning_tasks": "paper",
    "tuning_seq_format": "instruction",
    "tuning_index_start": "random",
    "learning_rate": 5e-5,
    "epochs": 4,
}


@pytest.mark.parametrize(("base_model", "expected"), [("scratch", FROM_NOTHING), ("a/model", PRETRAINED)])
def test_auto_depends_on_the_base_model(base_model: str, expected: dict[str, Any]) -> None:
    assert default_values({**AUTO, "base_model": base_model}) == expected


@pytest.mark.parametrize("values", [FROM_NOTHING, PRETRAINED])
@pytest.mark.parametrize("base_model", ["scratch", "a/model"])
def test_given_values_stay(base_model: str, values: dict[str, Any]) -> None:
    assert default_values({"tuning_stream_epochs": 0, **values, "base_model": base_model}) == {}


@pytest.mark.parametrize(
    ("changes", "seq_format"),
    [
        ({"tuning_tasks": ["seq"]}, "stream"),
        ({"tuning_tasks": ["seq", "mut"]}, "instruction"),
        ({"tuning_tasks": "paper"}, "instruction"),
        ({"tuning_stream_epochs": 2}, "instruction"),
        ({"eval_templates": "all"}, "instruction"),
    ],
)
def test_tasks_in_words_need_instructions(changes: dict[str, Any], seq_format: str) -> None:
    assert default_values({**AUTO, "base_model": "scratch", **changes})["tuning_seq_format"] == seq_format


def test_a_saved_configuration_says_what_auto_was() -> None:
    config = Config("LCRec", "ml-100k")
    assert {key: config[key] for key in FROM_NOTHING} == FROM_NOTHING
    assert config.to_plain().items() >= FROM_NOTHING.items()
