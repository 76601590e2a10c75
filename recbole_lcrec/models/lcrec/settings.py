"""LC-Rec's settings: the stages it reads, and values that depend on others.

The keys that a resumed run must share are here, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_lcrec.config.counting_settings import CovisitationSettings, RelatedSettings, SimilaritySettings
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

__all__ = ["RESUMED_KEYS", "STAGES", "default_epochs", "default_learning_rate", "default_values"]

STAGES: tuple[type[StageSettings], ...] = (
    TextSettings,
    IndexSettings,
    BackboneSettings,
    ScratchSettings,
    LoraSettings,
    IntentionSettings,
    CovisitationSettings,
    SimilaritySettings,
    RelatedSettings,
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


_SCRATCH_TASKS = ("seq", "rel")
"""Tasks of a model from nothing: those of indices alone."""


def default_learning_rate(base_model: str) -> float:
    """Return AdamW's default peak learning rate: the paper's for a pretrained model, a higher one for scratch."""
    return 0.002 if base_model == SCRATCH else 0.00005


def default_epochs(base_model: str) -> int:
    """Return the default number of epochs: the paper's for a pretrained model, more for scratch."""
    return 16 if base_model == SCRATCH else 4


def default_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that depend on the base model: of keys that are ``auto``, and of epochs and learning rate.

    A small model from nothing learns most from indices and related items; a pretrained one is tuned as in the paper.

    Args:
        values: the merged parameters.
    """
    scratch = values["base_model"] == SCRATCH
    found: dict[str, Any] = {}
    tasks = values["tuning_tasks"]
    if tasks == "auto":
        tasks = found["tuning_tasks"] = list(_SCRATCH_TASKS) if scratch else "paper"
    if values["tuning_seq_format"] == "auto":
        wordless = isinstance(tasks, (list, tuple)) and set(map(str, tasks)) <= set(_SCRATCH_TASKS)
        worded = values["tuning_stream_epochs"] or values["eval_templates"] != "one"  # both need prompts in words
        found["tuning_seq_format"] = "stream" if scratch and wordless and not worded else "instruction"
    if values["tuning_index_start"] == "auto":
        found["tuning_index_start"] = "texts" if scratch else "random"
    if values["epochs"] is None:
        found["epochs"] = default_epochs(values["base_model"])
    if values["learning_rate"] is None:
        found["learning_rate"] = default_learning_rate(values["base_model"])
    return found
