"""Length limits in words instead of a tokenizer's tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recbole_lcrec.models.lcrec.tuning_data import TextLimits


class WordLengths:
    """Lengths of texts, with one token per word."""

    def count(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([len(text.split()) for text in texts], dtype=np.int64)

    def shortened(self, texts: Sequence[str], max_tokens: int) -> list[str]:
        return [" ".join(text.split()[:max_tokens]) for text in texts]


def word_limits(longest_row: int = 1000, max_history: int = 6) -> TextLimits:
    """Return limits for histories of six items of one word each and unlimited rows, with the given changes."""
    return TextLimits(WordLengths(), longest_row, max_history, history_tokens=max_history, item_tokens=1)
