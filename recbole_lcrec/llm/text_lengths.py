"""Count the tokens of texts and cut texts to a number of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

__all__ = ["TextLengths"]

_CHUNK = 1000


@dataclass(frozen=True)
class TextLengths:
    """Counts and cuts texts with one tokenizer.

    Attributes:
        tokenizer: a fast tokenizer, which returns the positions of its tokens in a text.
    """

    tokenizer: PreTrainedTokenizerBase

    def count(self, texts: Sequence[str]) -> np.ndarray:
        """Return the number of tokens of each text without start and end tokens, int64 [n]."""
        chunks = [self._tokens(texts[start : start + _CHUNK])["input_ids"] for start in range(0, len(texts), _CHUNK)]
        return np.array([len(ids) for chunk in chunks for ids in chunk], dtype=np.int64)

    def shortened(self, texts: Sequence[str], max_tokens: int) -> list[str]:
        """Return the texts with at most ``max_tokens`` tokens each, cut at the end of a word if possible.

        Raises:
            ValueError: the tokenizer is a slow one.
        """
        if not self.tokenizer.is_fast:
            raise ValueError(
                f"{type(self.tokenizer).__name__} of base_model is a slow tokenizer, which does not return the "
                "positions of tokens in a text; use a model with a fast one"
            )
        cut: list[str] = []
        for start in range(0, len(texts), _CHUNK):
            chunk = list(texts[start : start + _CHUNK])
            offsets = self._tokens(chunk, return_offsets_mapping=True)["offset_mapping"]
            cut += [_cut(text, spans, max_tokens) for text, spans in zip(chunk, offsets, strict=True)]
        return cut

    def _tokens(self, texts: Sequence[str], **options: bool) -> Any:
        return self.tokenizer(list(texts), add_special_tokens=False, verbose=False, **options)


def _cut(text: str, spans: Sequence[tuple[int, int]], max_tokens: int) -> str:
    if len(spans) <= max_tokens:
        return text
    kept_tokens = max_tokens
    while kept_tokens and spans[kept_tokens][0] < spans[kept_tokens - 1][1]:  # one character in several tokens
        kept_tokens -= 1
    end = spans[kept_tokens - 1][1] if kept_tokens else 0
    kept = text[:end]
    if not text[end].isspace() and " " in kept:
        kept = kept[: kept.rindex(" ")]
    return kept.rstrip()
