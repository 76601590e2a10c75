"""Settings of the counting models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recbole_lcrec.config.settings import StageSettings, TextSettings, setting
from recbole_lcrec.config.value_checks import integer, list_of, number

__all__ = ["COVISIT", "COVISIT_TEXT", "TEXT_KNN", "CountingSettings", "CovisitationSettings", "SimilaritySettings"]


@dataclass(frozen=True)
class CountingSettings(StageSettings):
    """Weights of a history; the decay is chosen on validation users."""

    prefix: ClassVar[str] = "counting_"
    default_file: ClassVar[str | None] = "stages/counting.yaml"
    decays: tuple[float, ...] = setting(list_of(number(0.0, 1.0, above=True)))
    popularity: float = setting(number(0.0))


@dataclass(frozen=True)
class CovisitationSettings(StageSettings):
    """Counting of co-visitation."""

    prefix: ClassVar[str] = "covisit_"
    default_file: ClassVar[str | None] = "stages/covisit.yaml"
    window: int = setting(integer(1))
    backward: float = setting(number(0.0, 1.0))


@dataclass(frozen=True)
class SimilaritySettings(StageSettings):
    """Comparison of texts, and its weight relative to co-visitation."""

    prefix: ClassVar[str] = "textknn_"
    default_file: ClassVar[str | None] = "stages/textknn.yaml"
    features: int = setting(integer(1))
    title_repeats: int = setting(integer(1))
    weights: tuple[float, ...] = setting(list_of(number(0.0)))


COVISIT = (CountingSettings, CovisitationSettings)
TEXT_KNN = (TextSettings, CountingSettings, SimilaritySettings)
COVISIT_TEXT = (TextSettings, CountingSettings, CovisitationSettings, SimilaritySettings)
