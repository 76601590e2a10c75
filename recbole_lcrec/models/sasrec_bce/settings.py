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

    def __post_init__(self) -> None:
        """Check the values, and that the popularity is read.

        Raises:
            ValueError: a value is out of range, or ``negative_popularity`` is given for a single negative item.
        """
        super().__post_init__()
        if self.count == 1 and self.popularity:
            raise ValueError(
                f"negative_popularity = {self.popularity} is read only if negative_count is above 1: raise that, or "
                "leave negative_popularity at 0"
            )


STAGES = (EncoderSettings, NegativeSettings)
