"""Settings of eSASRec."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_lcrec.config.settings import setting
from recbole_lcrec.config.value_checks import integer, number
from recbole_lcrec.models.attention_settings import AttentionSettings

__all__ = ["STAGES", "LiGRSettings"]


@dataclass(frozen=True)
class LiGRSettings(AttentionSettings):
    """Sizes of the LiGR layers, and the number of negative items of the loss."""

    inner_size: int = setting(integer(1))
    dropout_prob: float = setting(number(0.0, 1.0))
    n_negatives: int = setting(integer(1))


STAGES = (LiGRSettings,)
