"""How many tokens of prompt and index a language model reads, in each way of searching.

Knows a model's configuration. Refuses to know prompts and readers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import PretrainedConfig

__all__ = ["context_limits"]


def context_limits(config: PretrainedConfig, shared: bool) -> dict[str, int]:
    """What bounds the length of a prompt and the tokens after it: name of the model's own setting -> tokens.

    Beams that share a prompt see all of it, so a window that slides must hold it whole. And where positions are turned
    otherwise in long texts than in short ones (``longrope``), they are read at once with shorter texts, so all have to
    be short. Beams that are read each on their own (``decoding_search: plain``) know neither limit.

    Args:
        config: of the model.
        shared: whether beams share the prompt.
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
    """How positions are turned, one mapping for all layers or one for each kind of them."""
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    nested = [part for part in rope.values() if isinstance(part, Mapping)]
    return nested or [rope]
