"""Settings of SASRecBCE, by the names of RecBole's SASRec."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_lcrec.config.settings import StageSettings, setting
from recbole_lcrec.config.value_checks import integer, number, one_of

__all__ = ["STAGES", "EncoderSettings"]


@dataclass(frozen=True)
class EncoderSettings(StageSettings):
    """Sizes of the Transformer encoder (paper III-B)."""

    n_layers: int = setting(integer(1))
    n_heads: int = setting(integer(1))
    hidden_size: int = setting(integer(1))
    inner_size: int = setting(integer(1))
    hidden_dropout_prob: float = setting(number(0.0, 1.0))
    attn_dropout_prob: float = setting(number(0.0, 1.0))
    hidden_act: str = setting(one_of("gelu", "relu", "swish", "tanh", "sigmoid"))
    layer_norm_eps: float = setting(number(0.0, above=True))
    initializer_range: float = setting(number(0.0, above=True))

    def __post_init__(self) -> None:
        """Check the values, and that the heads share the width evenly.

        Raises:
            ValueError: a value is out of range, or ``n_heads`` does not divide ``hidden_size``.
        """
        super().__post_init__()
        if self.hidden_size % self.n_heads:
            raise ValueError(
                f"n_heads = {self.n_heads} does not divide hidden_size = {self.hidden_size}: change one of the two"
            )


STAGES = (EncoderSettings,)
