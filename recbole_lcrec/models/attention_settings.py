"""Settings that every Transformer encoder has. Importing them loads neither PyTorch nor RecBole."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_lcrec.config.settings import StageSettings, setting
from recbole_lcrec.config.value_checks import integer, number

__all__ = ["AttentionSettings"]


@dataclass(frozen=True)
class AttentionSettings(StageSettings):
    """Sizes that every Transformer encoder has."""

    n_layers: int = setting(integer(1))
    n_heads: int = setting(integer(1))
    hidden_size: int = setting(integer(1))
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
