"""Settings of SASRecBCE, by the names of RecBole's SASRec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recbole_lcrec.config.settings import StageSettings, setting
from recbole_lcrec.config.value_checks import integer, number, one_of
from recbole_lcrec.models.attention_settings import AttentionSettings

__all__ = ["STAGES", "EncoderSettings", "NegativeSettings"]


@dataclass(frozen=True)
class EncoderSettings(AttentionSettings):
    """Sizes of the Transformer encoder (paper III-B)."""

    inner_size: int = setting(integer(1))
    hidden_dropout_prob: float = setting(number(0.0, 1.0))
    attn_dropout_prob: float = setting(number(0.0, 1.0))
    hidden_act: str = setting(one_of("gelu", "relu", "swish", "tanh", "sigmoid"))
    layer_norm_eps: float = setting(number(0.0, above=True))


@dataclass(frozen=True)
class NegativeSettings(StageSettings):
    """Negative items of the loss (paper III-E)."""

    prefix: ClassVar[str] = "negative_"
    count: int = setting(integer(1))
    popularity: float = setting(number(0.0))


STAGES = (EncoderSettings, NegativeSettings)
