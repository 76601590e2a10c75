"""Token ids of instructions, put together from the ids of pieces that come again and again.

An instruction is mostly index tokens and wording of templates. Index tokens are looked up; the words between them are
tokenized once, where they stand beside index tokens, and kept; long texts go to the tokenizer each time. The result is,
id for id, what the tokenizer makes of the whole text: it cuts added tokens out before it looks at anything else, so
that no piece sees more of its neighbours than that they are there. A tokenizer for which this does not hold is found
out when the cache is built, and gets whole texts.

Knows tokenizers and how index tokens are spelt. Refuses to know tasks, templates and items.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from logging import getLogger
from typing import Any

from transformers import PreTrainedTokenizerBase

from recbole_lcrec.instructions.templates import Instruction
from recbole_lcrec.llm.tokens import TokenRow, token_rows, tokenize_instructions, tokenize_prompts, without_end

__all__ = ["CachedTokenizer", "InstructionTokenizer", "WholeTextTokenizer", "instruction_tokenizer"]

_TOKEN = re.compile("<[a-z]_[0-9]+>")
_RUNS = re.compile(f"((?:{_TOKEN.pattern})+)")
_CUT_SHORT = re.compile("<([a-z](_[0-9]*)?)?$")
"""What an added token must not end in, lest it takes the first letters of an index token that follows."""

_MAX_LETTERS = 256
"""Letters of a piece that is kept, at most: longer than the wording of templates and the index of an item, shorter
than descriptions and the indices of whole histories in a row."""

_KEPT_RUNS, _KEPT_WORDS = 65_536, 1_024
"""Half of the indices, and of the wordings at each place of a text, that are kept at most: see :class:`_Recent`. All
together they take some 50 MB where there are that many."""

_PROBES = (
    *("", " ", "  ", ",", ", ", ": ", ".", "a", " a", "a ", " a b ", "A", "7", " 7 ", "7<", "<a_", ">", "\n", "\n\n"),
    *("\t", "\r\n", "-", "'s ", '" ', "### Answer:\n", "\u00e9", " \u6771\u4eac ", "\U0001f600", "\u0338", "\u2581"),
)

_Asked = dict[tuple[bool, str, bool], list[int]]
"""Pieces that the tokenizer must be asked for: whether an index token stands before and after, and the ids to be."""


class WholeTextTokenizer:
    """The plain way: every text goes to the tokenizer as a whole."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Wraps a tokenizer that has all index tokens."""
        self.tokenizer = tokenizer

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """See :func:`~recbole_lcrec.llm.tokens.tokenize_prompts`."""
        return tokenize_prompts(self.tokenizer, texts)

    def instructions(self, instructions: Sequence[Instruction], max_length: int) -> list[TokenRow]:
        """See :func:`~recbole_lcrec.llm.tokens.tokenize_instructions`."""
        return tokenize_instructions(self.tokenizer, instructions, max_length)


class _Recent:
    """Token ids by text, of bounded number: what was not asked for lately is forgotten.

    When ``limit`` texts are new, they become the old ones and the old ones go; an old one that is asked for is new
    again. So a hit among the new is a plain look-up, and at most 2 x ``limit`` are held.
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
    """Tokenizes piece by piece and keeps the pieces; made by :func:`instruction_tokenizer`.

    Copies in other processes, forked or pickled, go on with what was kept so far, each for itself.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Prepares a tokenizer that is known to allow it.

        Args:
            tokenizer: with all index tokens, at least one.
        """
        self.tokenizer = tokenizer
        self._index_ids = _index_tokens(tokenizer)
        self._beside = next(iter(self._index_ids))  # stands for any index token beside a piece
        (alone,) = tokenizer([self._beside], add_special_tokens=True)["input_ids"]
        place = alone.index(self._index_ids[self._beside])
        self._before, self._after = alone[:place], alone[place + 1 :]
        self._runs = _Recent(_KEPT_RUNS)
        # a piece is another one at the beginning of a text, where some tokenizers put a mark
        self._first, self._between, self._last = (_Recent(_KEPT_WORDS) for _ in range(3))

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of prompts, with the tokenizer's start token where it has one and never an end token."""
        return self._framed(self._bodies(texts))

    def instructions(self, instructions: Sequence[Instruction], max_length: int) -> list[TokenRow]:
        """Token ids of instructions; an end token follows every closed response.

        Raises:
            ValueError: an instruction has more than ``max_length`` tokens. Nothing is cut off.
        """
        bodies = self._bodies([*(each.prompt for each in instructions), *(each.response for each in instructions)])
        prompts, responses = self._framed(bodies[: len(instructions)]), bodies[len(instructions) :]
        return token_rows(instructions, prompts, responses, self.tokenizer.eos_token_id, max_length)

    def _framed(self, bodies: Sequence[list[int]]) -> list[list[int]]:
        """Bodies within what the tokenizer puts around every text."""
        rows = [[*self._before, *body, *self._after] for body in bodies]
        return without_end(rows, self.tokenizer.eos_token_id)

    def _bodies(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts, without what the tokenizer puts around them."""
        asked: _Asked = {}
        parts = [self._parts(text, asked) for text in texts]
        if asked:
            beside = self._beside
            whole = [before * beside + piece + after * beside for before, piece, after in asked]
            found = self.tokenizer(whole, add_special_tokens=False)["input_ids"]
            for ((before, piece, after), ids), each in zip(asked.items(), found, strict=True):
                ids += each[before : len(each) - after]
                if (before or after) and len(piece) <= _MAX_LETTERS:
                    self._words(before, after).keep(piece, ids)
        return [list(chain.from_iterable(each)) for each in parts]

    def _parts(self, text: str, asked: _Asked) -> Sequence[Sequence[int]]:
        """Token ids of the pieces of a text; lists that are still empty are in ``asked`` too."""
        pieces = _RUNS.split(text)  # words, run of index tokens, words, ..., words
        if len(pieces) == 1:
            return [asked.setdefault((False, text, False), [])]
        parts: list[Any] = [None] * len(pieces)
        parts[1::2] = map(self._runs.new.get, pieces[1::2])
        parts[2:-1:2] = map(self._between.new.get, pieces[2:-1:2])
        parts[0], parts[-1] = self._first.new.get(pieces[0]), self._last.new.get(pieces[-1])
        if None in parts:
            for place in [place for place, ids in enumerate(parts) if ids is None]:
                if place % 2:
                    parts[place] = self._run(pieces[place])
                    if parts[place] is None:
                        return [asked.setdefault((False, text, False), [])]
                else:
                    before, after = place > 0, place < len(pieces) - 1
                    ids = self._words(before, after).find(pieces[place])
                    parts[place] = asked.setdefault((before, pieces[place], after), []) if ids is None else ids
        return parts

    def _words(self, before: bool, after: bool) -> _Recent:
        """What is kept of words with an index token before or after them."""
        return self._first if not before else self._between if after else self._last

    def _run(self, run: str) -> Any:
        """Token ids of index tokens in a row; None: one of them is spelt like an index token and is none."""
        ids: Any = self._runs.find(run)
        if ids is None:
            ids = list(map(self._index_ids.get, _TOKEN.findall(run)))
            if None in ids:
                return None
            if len(run) <= _MAX_LETTERS:
                self._runs.keep(run, ids)
        return ids


InstructionTokenizer = CachedTokenizer | WholeTextTokenizer


def instruction_tokenizer(tokenizer: PreTrainedTokenizerBase) -> InstructionTokenizer:
    """The fastest way to tokenize instructions that gives what the tokenizer makes of whole texts.

    Args:
        tokenizer: with all index tokens, as :func:`~recbole_lcrec.llm.tokens.add_index_tokens` adds them. Tokens that
            are added later are found in whole texts only.

    Returns:
        A :class:`CachedTokenizer`; for a tokenizer that does not treat the pieces of a text as it does the text, a
        :class:`WholeTextTokenizer`, and the log says why.
    """
    reason = _objection(tokenizer)
    if reason is None:
        cached = CachedTokenizer(tokenizer)
        reason = _difference(cached)
        if reason is None:
            return cached
    getLogger().warning(f"Instructions are tokenized as whole texts, which is slower, for the tokenizer {reason}")
    return WholeTextTokenizer(tokenizer)


def _index_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Added tokens that are spelt like index tokens, and their ids."""
    return {token: place for token, place in tokenizer.get_added_vocab().items() if _TOKEN.fullmatch(token)}


def _objection(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Why a tokenizer may not cut index tokens out of a text before all else."""
    if not tokenizer.is_fast:
        return "is a slow one, which may look at a text as a whole"
    index_ids = _index_tokens(tokenizer)
    if not index_ids:
        return "knows no index token"
    backend = tokenizer.backend_tokenizer
    for place, token in tokenizer.added_tokens_decoder.items():
        if token.content not in index_ids:
            if _CUT_SHORT.search(token.content) or _TOKEN.search(token.content):
                return f"has the token {token.content!r} ({place}), which may take a part of an index token"
        elif token.lstrip or token.rstrip or token.single_word or (token.normalized and backend.normalizer is not None):
            return f"finds {token.content!r} by its surroundings: {token!r}"
    if getattr(backend.model, "dropout", None):
        return "draws its pieces at random (dropout)"
    return None


def _difference(cached: CachedTokenizer) -> str | None:
    """Where pieces give other ids than the whole, in texts that try what may go wrong beside index tokens."""
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
    for _ in range(2):  # pieces that are new, and pieces that were kept
        rows = zip(texts, plain.instructions(trials, most), cached.instructions(trials, most), strict=True)
        for text, expected, found in rows:
            if found != expected:
                return f"turns {text!r} into {expected}, and its pieces into {found}"
    return None
