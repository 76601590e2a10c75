"""LC-Rec's settings: the stages it reads, and values that depend on others.

The keys that a resumed run must share are here, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_lcrec.config.settings import (
    SCRATCH,
    BackboneSettings,
    DecodingSettings,
    IndexSettings,
    IntentionSettings,
    LoraSettings,
    ScratchSettings,
    StageSettings,
    TextSettings,
    TuningSettings,
    WordingSettings,
    keys_of,
)

__all__ = ["RESUMED_KEYS", "STAGES", "default_learning_rate", "default_values"]

STAGES: tuple[type[StageSettings], ...] = (
    TextSettings,
    IndexSettings,
    BackboneSettings,
    ScratchSettings,
    LoraSettings,
    IntentionSettings,
    TuningSettings,
    DecodingSettings,
    WordingSettings,
)
"""The stages whose keys LC-Rec reads, in the order in which their problems are reported."""

RESUMED_KEYS = frozenset(keys_of(STAGES)) - {
    "resume",
    "index_file",
    "index_report",
    "index_label_field",
    "text_batch_size",
    "tuning_workers",
    "tuning_batch_tokens",
    "tuning_gradient_checkpointing",
    "decoding_max_tokens",
    "tuning_checkpoint_steps",
    "intention_llm_parallel",
    "intention_llm_requests_per_minute",
    "intention_llm_timeout",
    "intention_llm_retries",
} | {
    "mask_history",
    "repeated_targets",
    "seed",
    "clip_grad_norm",
    "eval_step",
    "stopping_step",
    "valid_metric",
    "eval_args",
    "MAX_ITEM_LIST_LENGTH",
}
"""Keys that must not differ when a killed run is resumed; the others do not change its result."""


def default_learning_rate(base_model: str) -> float:
    """Return AdamW's default peak learning rate: the paper's for a pretrained model, a higher one for scratch."""
    return 0.002 if base_model == SCRATCH else 0.00005


def default_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the learning rate where none is given; it depends on the base model.

    Args:
        values: the merged parameters.
    """
    if values["learning_rate"] is not None:
        return {}
    return {"learning_rate": default_learning_rate(values["base_model"])}
