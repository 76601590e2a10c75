"""Settings of FMLPRec, by the names of RecBole's SASRec."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_lcrec.config.settings import StageSettings, setting
from recbole_lcrec.config.value_checks import integer, number, one_of

__all__ = ["STAGES", "FilterSettings"]


@dataclass(frozen=True)
class FilterSettings(StageSettings):
    """Sizes of the filter blocks (paper 3.2), and the loss."""

    n_layers: int = setting(integer(1))
    hidden_size: int = setting(integer(1))
    inner_size: int = setting(integer(1))
    hidden_dropout_prob: float = setting(number(0.0, 1.0))
    hidden_act: str = setting(one_of("gelu", "relu", "swish", "tanh", "sigmoid"))
    layer_norm_eps: float = setting(number(0.0, above=True))
    initializer_range: float = setting(number(0.0, above=True))
    loss_type: str = setting(one_of("BPR", "CE"))


STAGES = (FilterSettings,)
