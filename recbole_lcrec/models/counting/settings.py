"""Settings of the counting models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recbole_lcrec.config.counting_settings import CovisitationSettings, SimilaritySettings
from recbole_lcrec.config.settings import StageSettings, TextSettings, setting
from recbole_lcrec.config.value_checks import list_of, number

__all__ = ["COVISIT", "COVISIT_TEXT", "TEXT_KNN", "CombinationSettings", "CountingSettings"]


@dataclass(frozen=True)
class CountingSettings(StageSettings):
    """Weights of a history; the decay is chosen on validation users."""

    prefix: ClassVar[str] = "counting_"
    default_file: ClassVar[str | None] = "stages/counting.yaml"
    decays: tuple[float, ...] = setting(list_of(number(0.0, 1.0, above=True)))
    popularity: float = setting(number(0.0))


@dataclass(frozen=True)
class CombinationSettings(StageSettings):
    """Weights of text similarity relative to co-visitation; one is chosen on validation users."""

    prefix: ClassVar[str] = "textknn_"
    default_file: ClassVar[str | None] = "stages/covisit_text.yaml"
    weights: tuple[float, ...] = setting(list_of(number(0.0)))


COVISIT = (CountingSettings, CovisitationSettings)
TEXT_KNN = (TextSettings, CountingSettings, SimilaritySettings)
COVISIT_TEXT = (TextSettings, CountingSettings, CovisitationSettings, SimilaritySettings, CombinationSettings)
