"""Requests, by a history or in words, as prompts that fit the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recbole_lcrec.instructions.tasks.ite import intention_prompt
from recbole_lcrec.instructions.wording import HISTORY_SEPARATOR
from recbole_lcrec.llm.text_lengths import TextLengths
from recbole_lcrec.llm.tokens import tokenize_prompts
from recbole_lcrec.models.lcrec.prompt_writer import PromptWriter
from recbole_lcrec.runs.answering import Request

__all__ = ["RequestWriter", "WrittenRequests"]


@dataclass(frozen=True)
class WrittenRequests:
    """The prompts of B users.

    Attributes:
        prompts: token ids of each user's prompts, one of each template of the user's kind.
        shortened: how many histories lost their oldest items.
        cut: how many intentions lost their last words.
    """

    prompts: list[list[list[int]]]
    shortened: int
    cut: int


@dataclass(frozen=True)
class RequestWriter:
    """Writes requests as the model was tuned to read them.

    A history alone is asked by the templates of ``seq``, an intention by those of ``ite``, both together by
    ``ite_history`` (paper III-C1, III-C3).

    Attributes:
        writer: writes histories.
        max_history: newest items of a history that a prompt of ``seq`` holds.
        longest_row: tokens of prompt and response at most.
        levels: tokens of an index.
        text_tokens: tokens of an intention that are kept, as in the tuning.
        template: the wording of ``seq`` that asks.
        ensemble: whether every wording asks, and scores are added; else intentions are asked by their first wording.
    """

    writer: PromptWriter
    max_history: int
    longest_row: int
    levels: int
    text_tokens: int
    template: int
    ensemble: bool

    def write(self, requests: Sequence[Request]) -> WrittenRequests:
        """Write the prompts of requests, in their order.

        Raises:
            ValueError: an intention leaves no room for an item of the history, or does not fit by itself.
        """
        histories = [request.history[-self.max_history :] for request in requests]
        worded = [number for number, request in enumerate(requests) if request.intention is not None]
        plain = [number for number, request in enumerate(requests) if request.intention is None]
        intentions = self._kept([requests[number].intention or "" for number in worded])
        cut = sum(requests[number].intention != text for number, text in zip(worded, intentions, strict=True))
        prompts: list[list[list[int]]] = [[] for _ in requests]
        asking = range(self.writer.n_templates) if self.ensemble else [self.template]
        for number, rows in zip(plain, self.writer.user_prompts([histories[n] for n in plain], asking), strict=True):
            prompts[number] = rows
        open_ = list(zip(worded, intentions, strict=True))
        while open_:
            written = self._asked([(text, histories[number]) for number, text in open_])
            again = []
            for (number, text), rows in zip(open_, written, strict=True):
                excess = max(map(len, rows)) + self.levels + 1 - self.longest_row
                if excess <= 0:
                    prompts[number] = rows
                    continue
                if len(histories[number]) < 2:
                    raise ValueError(
                        f"user number {number}: an intention of {self.text_tokens} tokens at most does not fit the "
                        f"{self.longest_row} tokens that tuning_max_length and the model's context allow; shorten it: "
                        f"{text[:60]!r}"
                    )
                drop = min(max(1, excess // self._tokens_per_item()), len(histories[number]) - 1)
                histories[number] = histories[number][drop:]
                again.append((number, text))
            open_ = again
        pairs = zip(histories, requests, strict=True)
        return WrittenRequests(prompts, sum(len(kept) < len(request.history) for kept, request in pairs), cut)

    def _kept(self, intentions: Sequence[str]) -> list[str]:
        return TextLengths(self.writer.tokenizer).shortened(intentions, self.text_tokens) if intentions else []

    def _asked(self, wishes: Sequence[tuple[str, Sequence[int]]]) -> list[list[list[int]]]:
        """Return the token ids of each request's prompts."""
        texts, counts = [], []
        for intention, history in wishes:
            group = self.writer.templates.tasks["ite_history" if history else "ite"]
            group = group if self.ensemble else group[:1]
            items = [self.writer.item_texts[row] for row in history]
            texts += [intention_prompt(self.writer.templates, template, intention, items) for template in group]
            counts.append(len(group))
        rows = iter(tokenize_prompts(self.writer.tokenizer, texts))
        return [[next(rows) for _ in range(count)] for count in counts]

    def _tokens_per_item(self) -> int:
        """Tokens of an item in a history, at least as many as it takes, so that no more items leave than must."""
        return self.levels + len(self.writer.tokenizer(HISTORY_SEPARATOR, add_special_tokens=False)["input_ids"]) + 1
