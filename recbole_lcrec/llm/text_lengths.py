"""Texts measured and cut in tokens.

Knows tokenizers. Refuses to know what the texts are for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

__all__ = ["TextLengths"]

_AT_ONCE = 1000


@dataclass(frozen=True)
class TextLengths:
    """Measures and cuts texts for one tokenizer.

    Attributes:
        tokenizer: a fast one, which tells where in a text its tokens lie.
    """

    tokenizer: PreTrainedTokenizerBase

    def count(self, texts: Sequence[str]) -> np.ndarray:
        """int64 [n]: tokens of each text, without the tokenizer's start and end tokens."""
        parts = [self._tokens(texts[start : start + _AT_ONCE])["input_ids"] for start in range(0, len(texts), _AT_ONCE)]
        return np.array([len(ids) for part in parts for ids in part], dtype=np.int64)

    def shortened(self, texts: Sequence[str], max_tokens: int) -> list[str]:
        """The texts with at most so many tokens, cut after a word where there is one.

        Raises:
            ValueError: the tokenizer is a slow one.
        """
        if not self.tokenizer.is_fast:
            raise ValueError(
                f"{type(self.tokenizer).__name__} of base_model is a slow tokenizer, which cannot tell where its "
                "tokens lie in a text; use a model with a fast one"
            )
        cut: list[str] = []
        for start in range(0, len(texts), _AT_ONCE):
            part = list(texts[start : start + _AT_ONCE])
            offsets = self._tokens(part, return_offsets_mapping=True)["offset_mapping"]
            cut += [_cut(text, places, max_tokens) for text, places in zip(part, offsets, strict=True)]
        return cut

    def _tokens(self, texts: Sequence[str], **options: bool) -> Any:
        return self.tokenizer(list(texts), add_special_tokens=False, verbose=False, **options)


def _cut(text: str, places: Sequence[tuple[int, int]], max_tokens: int) -> str:
    if len(places) <= max_tokens:
        return text
    kept_tokens = max_tokens
    while kept_tokens and places[kept_tokens][0] < places[kept_tokens - 1][1]:  # several tokens write one character
        kept_tokens -= 1
    end = places[kept_tokens - 1][1] if kept_tokens else 0
    kept = text[:end]
    if not text[end].isspace() and " " in kept:
        kept = kept[: kept.rindex(" ")]
    return kept.rstrip()
