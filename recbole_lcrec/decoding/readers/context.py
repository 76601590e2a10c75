"""Find the context length of a language model from its configuration.

It is the number of tokens of prompt and index that the model can read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import PretrainedConfig

__all__ = ["context_limits"]


def context_limits(config: PretrainedConfig, shared: bool) -> dict[str, int]:
    """Return the limits on a prompt's length plus the tokens after it.

    Beams that share a prompt attend to all of it, so it must fit into a sliding window. ``longrope`` scales positions
    by the length of the longest text in a batch, so shared prompts must be short enough for its unscaled positions.
    Neither limit applies to beams that are read separately (``decoding_search: plain``).

    Args:
        config: the model's configuration.
        shared: whether beams share the prompt.

    Returns:
        Tokens by the name of the configuration value that sets the limit.
    """
    limits = {"max_position_embeddings": getattr(config, "max_position_embeddings", None)}
    if shared:
        limits["sliding_window"] = getattr(config, "sliding_window", None)
        ropes = [rope for rope in _ropes(config) if "longrope" in (rope.get("rope_type"), rope.get("type"))]
        known = [rope.get("original_max_position_embeddings") for rope in ropes]
        if ropes:
            known.append(getattr(config, "original_max_position_embeddings", None))
        limits["original_max_position_embeddings"] = min(filter(None, known), default=None)
    return {name: int(limit) for name, limit in limits.items() if limit}


def _ropes(config: PretrainedConfig) -> list[Mapping[str, Any]]:
    """Return the RoPE parameters: one mapping for all layers, or one for each kind of layer."""
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    nested = [part for part in rope.values() if isinstance(part, Mapping)]
    return nested or [rope]
