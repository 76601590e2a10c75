"""Sizes of an index that are not given: levels and codes that fit the catalogue."""

from __future__ import annotations

import dataclasses

from recbole_lcrec.config.settings import IndexSettings
from recbole_lcrec.indexing.item_index import MAX_LEVELS

__all__ = ["sized"]

_SMALL_CATALOGUE = 2048


def sized(settings: IndexSettings, n_items: int) -> IndexSettings:
    """Return settings with ``auto`` sizes replaced by those that fit a catalogue of ``n_items``.

    From 2,048 items on they are the paper's 4 levels of 256 codes. In a smaller catalogue most items would have a first
    code of their own; it gets two levels with the smallest power of two of codes that leaves at least a third of the
    indices free.

    Args:
        settings: with sizes given or ``auto``; given ones stay.
        n_items: number of items.
    """
    large, room = n_items >= _SMALL_CATALOGUE, 1.5 * n_items
    levels, codes = settings.levels, settings.codebook_size
    if isinstance(levels, str):
        levels = 4 if large else 2
        while isinstance(codes, int) and codes**levels < room and levels < MAX_LEVELS:
            levels += 1
    if isinstance(codes, str):
        codes = 256 if large else 2
        while codes**levels < room:
            codes *= 2
    return dataclasses.replace(settings, levels=levels, codebook_size=codes)
