"""Tokenize instructions from cached pieces.

An instruction consists mostly of index tokens and the wording of templates. Index tokens are looked up; the words
between them are tokenized once and cached; long texts are tokenized each time. The result equals, id for id, that of
tokenizing the whole text: a tokenizer first cuts added tokens out of a text, so the ids of a piece depend only on
whether there is an index token before and after it. Tokenizers that work differently are detected when the cache is
built, and then whole texts are tokenized.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from logging import getLogger
from typing import Any

from transformers import PreTrainedTokenizerBase

from recbole_lcrec.instructions.templates import Instruction
from recbole_lcrec.llm.tokens import TokenRow, strip_end, token_rows, tokenize_instructions, tokenize_prompts

__all__ = ["CachedTokenizer", "InstructionTokenizer", "WholeTextTokenizer", "instruction_tokenizer"]

_TOKEN = re.compile("<[a-z]_[0-9]+>")
_RUNS = re.compile(f"((?:{_TOKEN.pattern})+)")
_CUT_SHORT = re.compile("<([a-z](_[0-9]*)?)?$")
"""An ending that no added token may have, because it would match the first letters of an index token after it."""

_MAX_PIECE_LENGTH = 256
"""Longest cached piece, in characters: longer than the wording of templates and an item's index, shorter than
descriptions and the indices of a whole history in a row."""

_CACHED_RUNS, _CACHED_WORDS = 65_536, 1_024
"""Half the largest number of cached indices, and of cached wordings per position in a text; see :class:`_RecentIds`.
Full caches take about 50 MB."""

_PROBES = (
    *("", " ", "  ", ",", ", ", ": ", ".", "a", " a", "a ", " a b ", "A", "7", " 7 ", "7<", "<a_", ">", "\n", "\n\n"),
    *("\t", "\r\n", "-", "'s ", '" ', "### Answer:\n", "\u00e9", " \u6771\u4eac ", "\U0001f600", "\u0338", "\u2581"),
)

_Uncached = dict[tuple[bool, str, bool], list[int]]
"""Ids, filled in later, of pieces: whether an index token comes before, the text, whether one comes after."""


class WholeTextTokenizer:
    """Tokenizes every text as a whole, without a cache."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Wrap a tokenizer that has all index tokens."""
        self.tokenizer = tokenizer

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """Return token ids of prompts; see :func:`~recbole_lcrec.llm.tokens.tokenize_prompts`."""
        return tokenize_prompts(self.tokenizer, texts)

    def instructions(self, instructions: Sequence[Instruction], max_length: int) -> list[TokenRow]:
        """Return token rows of instructions; see :func:`~recbole_lcrec.llm.tokens.tokenize_instructions`."""
        return tokenize_instructions(self.tokenizer, instructions, max_length)


class _RecentIds:
    """A cache of token ids by text that drops what was not used recently.

    When ``new`` holds ``limit`` texts, they become the old ones and the previous old ones are dropped; an old text that
    is used becomes new again. So a hit in ``new`` is a plain dictionary look-up, and at most 2 x ``limit`` are held.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.new: dict[str, list[int]] = {}
        self.old: dict[str, list[int]] = {}

    def find(self, text: str) -> list[int] | None:
        ids = self.new.get(text)
        if ids is None and (ids := self.old.get(text)) is not None:
            self.keep(text, ids)
        return ids

    def keep(self, text: str, ids: list[int]) -> None:
        if len(self.new) >= self.limit:
            self.old, self.new = self.new, {}
        self.new[text] = ids


class CachedTokenizer:
    """Tokenizes texts from cached pieces; created by :func:`instruction_tokenizer`.

    Copies in other processes, forked or pickled, start from the current cache and then have caches of their own.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Wrap a tokenizer that is known to treat pieces as it treats whole texts.

        Args:
            tokenizer: a tokenizer with all index tokens, at least one.
        """
        self.tokenizer = tokenizer
        self._index_ids = _index_tokens(tokenizer)
        self._neighbour = next(iter(self._index_ids))  # in place of any index token next to a piece
        (alone,) = tokenizer([self._neighbour], add_special_tokens=True)["input_ids"]
        place = alone.index(self._index_ids[self._neighbour])
        self._before, self._after = alone[:place], alone[place + 1 :]
        self._runs = _RecentIds(_CACHED_RUNS)
        # separate caches, because some tokenizers mark the beginning of a text
        self._first, self._between, self._last = (_RecentIds(_CACHED_WORDS) for _ in range(3))

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """Return token ids of prompts, with the tokenizer's start token if it has one, and without an end token."""
        return self._with_special_tokens(self._bodies(texts))

    def instructions(self, instructions: Sequence[Instruction], max_length: int) -> list[TokenRow]:
        """Return token rows of instructions; an end token follows every closed response.

        Raises:
            ValueError: an instruction has more than ``max_length`` tokens; instructions are never truncated.
        """
        bodies = self._bodies([*(each.prompt for each in instructions), *(each.response for each in instructions)])
        prompts, responses = self._with_special_tokens(bodies[: len(instructions)]), bodies[len(instructions) :]
        return token_rows(instructions, prompts, responses, self.tokenizer.eos_token_id, max_length)

    def _with_special_tokens(self, bodies: Sequence[list[int]]) -> list[list[int]]:
        """Add the tokens that the tokenizer puts around every text."""
        rows = [[*self._before, *body, *self._after] for body in bodies]
        return strip_end(rows, self.tokenizer.eos_token_id)

    def _bodies(self, texts: Sequence[str]) -> list[list[int]]:
        """Return token ids of texts, without the tokens that the tokenizer puts around them."""
        uncached: _Uncached = {}
        pieces = [self._ids_of_pieces(text, uncached) for text in texts]
        if uncached:
            neighbour = self._neighbour
            whole = [before * neighbour + piece + after * neighbour for before, piece, after in uncached]
            found = self.tokenizer(whole, add_special_tokens=False)["input_ids"]
            for ((before, piece, after), ids), each in zip(uncached.items(), found, strict=True):
                ids += each[before : len(each) - after]
                if (before or after) and len(piece) <= _MAX_PIECE_LENGTH:
                    self._cache_of_words(before, after).keep(piece, ids)
        return [list(chain.from_iterable(each)) for each in pieces]

    def _ids_of_pieces(self, text: str, uncached: _Uncached) -> Sequence[Sequence[int]]:
        """Return token ids of the pieces of a text; lists to be filled in later are added to ``uncached``."""
        pieces = _RUNS.split(text)  # words, run of index tokens, words, ..., words
        if len(pieces) == 1:
            return [uncached.setdefault((False, text, False), [])]
        parts: list[Any] = [None] * len(pieces)
        parts[1::2] = map(self._runs.new.get, pieces[1::2])
        parts[2:-1:2] = map(self._between.new.get, pieces[2:-1:2])
        parts[0], parts[-1] = self._first.new.get(pieces[0]), self._last.new.get(pieces[-1])
        if None in parts:
            for place in [place for place, ids in enumerate(parts) if ids is None]:
                if place % 2:
                    parts[place] = self._ids_of_run(pieces[place])
                    if parts[place] is None:
                        return [uncached.setdefault((False, text, False), [])]
                else:
                    before, after = place > 0, place < len(pieces) - 1
                    ids = self._cache_of_words(before, after).find(pieces[place])
                    parts[place] = uncached.setdefault((before, pieces[place], after), []) if ids is None else ids
        return parts

    def _cache_of_words(self, before: bool, after: bool) -> _RecentIds:
        """Return the cache of words with an index token before or after them."""
        return self._first if not before else self._between if after else self._last

    def _ids_of_run(self, run: str) -> Any:
        """Return token ids of consecutive index tokens; None if one only looks like an index token."""
        ids: Any = self._runs.find(run)
        if ids is None:
            ids = list(map(self._index_ids.get, _TOKEN.findall(run)))
            if None in ids:
                return None
            if len(run) <= _MAX_PIECE_LENGTH:
                self._runs.keep(run, ids)
        return ids


InstructionTokenizer = CachedTokenizer | WholeTextTokenizer


def instruction_tokenizer(tokenizer: PreTrainedTokenizerBase) -> InstructionTokenizer:
    """Return the fastest way to tokenize instructions with the same ids as tokenizing whole texts.

    Args:
        tokenizer: a tokenizer with all index tokens, as :func:`~recbole_lcrec.llm.tokens.add_index_tokens` adds them.
            Index tokens must not be added later.

    Returns:
        A :class:`CachedTokenizer`; if the tokenizer gives other ids for the pieces of a text than for the whole, a
        :class:`WholeTextTokenizer`, with the reason in the log.
    """
    reason = _reason_against_pieces(tokenizer)
    if reason is None:
        cached = CachedTokenizer(tokenizer)
        reason = _difference_to_whole_texts(cached)
        if reason is None:
            return cached
    getLogger().warning(f"Instructions are tokenized as whole texts, which is slower, because the tokenizer {reason}")
    return WholeTextTokenizer(tokenizer)


def _index_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Return added tokens that have the form of index tokens, and their ids."""
    return {token: place for token, place in tokenizer.get_added_vocab().items() if _TOKEN.fullmatch(token)}


def _reason_against_pieces(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return why a tokenizer may not cut index tokens out of a text first; None if there is no reason."""
    if not tokenizer.is_fast:
        return "is a slow one, which may process a text as a whole"
    index_ids = _index_tokens(tokenizer)
    if not index_ids:
        return "has no index tokens"
    backend = tokenizer.backend_tokenizer
    for place, token in tokenizer.added_tokens_decoder.items():
        if token.content not in index_ids:
            if _CUT_SHORT.search(token.content) or _TOKEN.search(token.content):
                return f"has the token {token.content!r} ({place}), which may match a part of an index token"
        elif token.lstrip or token.rstrip or token.single_word or (token.normalized and backend.normalizer is not None):
            return f"matches {token.content!r} depending on the text around it: {token!r}"
    if getattr(backend.model, "dropout", None):
        return "splits texts at random (dropout)"
    return None


def _difference_to_whole_texts(cached: CachedTokenizer) -> str | None:
    """Describe the first critical text whose pieces give other ids than the whole; None if there is none."""
    one, other = min(cached._index_ids), max(cached._index_ids)
    texts = [
        text
        for words in _PROBES
        for text in (words, words + one, one + words, words + one + words + other + one + words, one + words + other)
    ]
    texts += ["".join(cached._index_ids), f"{one}, {other}: a {one}{one}. b, {other} 7"]
    plain = WholeTextTokenizer(cached.tokenizer)
    trials = [Instruction(text, text) for text in texts]
    most = 10 * sum(map(len, texts))
    for _ in range(2):  # first without cached pieces, then with them
        rows = zip(texts, plain.instructions(trials, most), cached.instructions(trials, most), strict=True)
        for text, expected, found in rows:
            if found != expected:
                return f"encodes {text!r} as {expected}, but its pieces as {found}"
    return None
