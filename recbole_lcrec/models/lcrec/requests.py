"""Prompts of requests, which consist of a history, an intention in words, or both."""

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
        prompts: token ids of each user's prompts, one per template in use.
        shortened: number of histories that lost their oldest items.
        cut: number of intentions that were cut at the end.
    """

    prompts: list[list[list[int]]]
    shortened: int
    cut: int


@dataclass(frozen=True)
class RequestWriter:
    """Turns requests into prompts of the tuned tasks.

    A history is written by the templates of ``seq``, an intention by those of ``ite``, both together by those of
    ``ite_history`` (paper III-C1, III-C3).

    Attributes:
        writer: writes histories.
        max_history: maximum number of items in a prompt of ``seq``; the newest are kept.
        longest_row: maximum tokens of prompt and response together.
        levels: tokens of an index, H.
        text_tokens: maximum tokens of an intention, as in the tuning.
        template: number of the ``seq`` template.
        ensemble: whether to write one prompt per template, whose scores are added; else intentions use their first
            template.
    """

    writer: PromptWriter
    max_history: int
    longest_row: int
    levels: int
    text_tokens: int
    template: int
    ensemble: bool

    def write(self, requests: Sequence[Request]) -> WrittenRequests:
        """Return the prompts of requests, in their order.

        Raises:
            ValueError: an intention leaves no room for an item of the history, or does not fit by itself.
        """
        histories = [request.history[-self.max_history :] for request in requests]
        worded = [number for number, request in enumerate(requests) if request.intention is not None]
        plain = [number for number, request in enumerate(requests) if request.intention is None]
        intentions = self._shortened([requests[number].intention or "" for number in worded])
        cut = sum(requests[number].intention != text for number, text in zip(worded, intentions, strict=True))
        prompts: list[list[list[int]]] = [[] for _ in requests]
        templates = range(self.writer.n_templates) if self.ensemble else [self.template]
        for number, rows in zip(plain, self.writer.user_prompts([histories[n] for n in plain], templates), strict=True):
            prompts[number] = rows
        pending = list(zip(worded, intentions, strict=True))
        while pending:
            written = self._intention_prompts([(text, histories[number]) for number, text in pending])
            again = []
            for (number, text), rows in zip(pending, written, strict=True):
                excess = max(map(len, rows)) + self.levels + 1 - self.longest_row
                if excess <= 0:
                    prompts[number] = rows
                    continue
                if len(histories[number]) < 2:
                    raise ValueError(
                        f"user number {number}: an intention of at most {self.text_tokens} tokens does not fit into "
                        f"the {self.longest_row} tokens that tuning_max_length and the model's context allow; shorten "
                        f"it: {text[:60]!r}"
                    )
                drop = min(max(1, excess // self._tokens_per_item()), len(histories[number]) - 1)
                histories[number] = histories[number][drop:]
                again.append((number, text))
            pending = again
        pairs = zip(histories, requests, strict=True)
        return WrittenRequests(prompts, sum(len(kept) < len(request.history) for kept, request in pairs), cut)

    def _shortened(self, intentions: Sequence[str]) -> list[str]:
        return TextLengths(self.writer.tokenizer).shortened(intentions, self.text_tokens) if intentions else []

    def _intention_prompts(self, requests: Sequence[tuple[str, Sequence[int]]]) -> list[list[list[int]]]:
        """Return the token ids of the prompts of each pair of intention and history."""
        texts, counts = [], []
        for intention, history in requests:
            group = self.writer.templates.tasks["ite_history" if history else "ite"]
            group = group if self.ensemble else group[:1]
            items = [self.writer.item_texts[row] for row in history]
            texts += [intention_prompt(self.writer.templates, template, intention, items) for template in group]
            counts.append(len(group))
        rows = iter(tokenize_prompts(self.writer.tokenizer, texts))
        return [[next(rows) for _ in range(count)] for count in counts]

    def _tokens_per_item(self) -> int:
        """Return an upper bound of the tokens of an item in a history, so that not too many items are dropped."""
        return self.levels + len(self.writer.tokenizer(HISTORY_SEPARATOR, add_special_tokens=False)["input_ids"]) + 1
