"""Settings of counts over items: co-visitation, similarity of texts, and the related items that follow from both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recbole_lcrec.config.settings import StageSettings, setting
from recbole_lcrec.config.value_checks import integer, number, one_of

__all__ = ["CovisitationSettings", "RelatedSettings", "SimilaritySettings"]


@dataclass(frozen=True)
class CovisitationSettings(StageSettings):
    """Counting of co-visitation."""

    prefix: ClassVar[str] = "covisit_"
    default_file: ClassVar[str | None] = "stages/covisit.yaml"
    window: int = setting(integer(1))
    backward: float = setting(number(0.0, 1.0))


@dataclass(frozen=True)
class SimilaritySettings(StageSettings):
    """Comparison of texts."""

    prefix: ClassVar[str] = "textknn_"
    default_file: ClassVar[str | None] = "stages/textknn.yaml"
    features: int = setting(integer(1))
    title_repeats: int = setting(integer(1))


@dataclass(frozen=True)
class RelatedSettings(StageSettings):
    """Choice of an item's related items, and how they are drawn."""

    prefix: ClassVar[str] = "related_"
    default_file: ClassVar[str | None] = "stages/related.yaml"
    source: str = setting(one_of("both", "covisits", "texts"))
    text_weight: float = setting(number(0.0))
    nearest: int = setting(integer(1))
    sharpness: float = setting(number(0.0))
    per_item: int = setting(integer(1))
