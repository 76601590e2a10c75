"""Context limits from a model's configuration."""

from __future__ import annotations

import pytest
from transformers import GPT2Config, LlamaConfig, MistralConfig, PretrainedConfig, Qwen2Config

from recbole_lcrec.decoding.readers.context import context_limits
from tests.decoding.conftest import Lab

LONG = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [2.0] * 4, "factor": 2.0}


def limits_of(config: PretrainedConfig, shared: bool) -> dict[str, int]:
    return {name.partition("_")[0]: limit for name, limit in context_limits(config, shared).items()}


@pytest.mark.parametrize("shared", [True, False])
def test_plain_models_are_limited_by_positions_only(lab: Lab, shared: bool) -> None:
    assert limits_of(GPT2Config(n_positions=64), shared) == {"max": 64}
    assert limits_of(LlamaConfig(**lab.sizes()), shared) == {"max": 64}
    unused = Qwen2Config(**lab.sizes() | {"use_sliding_window": False, "sliding_window": 16})
    assert limits_of(unused, shared) == {"max": 64}
    assert limits_of(PretrainedConfig(), shared) == {}


def test_windows_and_longrope_limit_shared_prompts_only(lab: Lab) -> None:
    window = MistralConfig(**lab.sizes() | {"sliding_window": 16})
    assert limits_of(window, shared=True) == {"max": 64, "sliding": 16}
    assert limits_of(window, shared=False) == {"max": 64}
    rope = {**LONG, "original_max_position_embeddings": 32}
    turned = LlamaConfig(**lab.sizes() | {"rope_parameters": rope})
    assert limits_of(turned, shared=True) == {"max": 64, "original": 32}
    assert limits_of(turned, shared=False) == {"max": 64}


def test_limits_cover_every_kind_of_layer(lab: Lab) -> None:
    config = LlamaConfig(**lab.sizes())
    config.rope_parameters = {
        "full_attention": {**LONG, "original_max_position_embeddings": 48},
        "sliding_attention": {**LONG, "original_max_position_embeddings": 40},
    }
    assert limits_of(config, shared=True) == {"max": 64, "original": 40}
