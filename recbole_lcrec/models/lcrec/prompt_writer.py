"""Histories as prompts: the wording, the items in it, and how many of them there is room for.

Knows templates, index tokens, the tokenizer, and how long a text a language model reads. Refuses to know RecBole, what
a language model computes and what prompts are for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from logging import getLogger

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from recbole_lcrec.decoding.readers.context import context_limits
from recbole_lcrec.instructions.tasks.seq import sequential_prompt, stream_prompt
from recbole_lcrec.instructions.templates import Templates
from recbole_lcrec.llm.cached_tokens import InstructionTokenizer, instruction_tokenizer

__all__ = ["PromptWriter", "longest_row", "require_template"]


def longest_row(model: PreTrainedModel, max_length: int, search: str) -> int:
    """Tokens of prompt and response at most: ``tuning_max_length``, or what the model reads where that is less.

    Args:
        model: the language model.
        max_length: ``tuning_max_length``.
        search: ``decoding_search``; what a model reads depends on it (:func:`context_limits`).
    """
    return min([max_length, *context_limits(model.config, shared=search == "shared").values()])


def require_template(templates: Templates, number: int) -> None:
    """Makes sure that ``decoding_template`` is the number of a SEQ template.

    Raises:
        ValueError: there are fewer.
    """
    count = len(templates.tasks.get("seq", ()))
    if number >= count:
        raise ValueError(f"decoding_template = {number}: there are {count} SEQ templates, numbered from 0")


@dataclass(frozen=True)
class PromptWriter:
    """Writes the question for a user's next item.

    Attributes:
        tokenizer: every index token is one id.
        templates: the wordings.
        item_texts: the index of each of the N items, as text.
        stream: whether histories are written without words.
    """

    tokenizer: PreTrainedTokenizerBase
    templates: Templates
    item_texts: tuple[str, ...]
    stream: bool

    @cached_property
    def _tokens(self) -> InstructionTokenizer:
        return instruction_tokenizer(self.tokenizer)

    @property
    def n_templates(self) -> int:
        """How many wordings there are; a stream has one."""
        return 1 if self.stream else len(self.templates.tasks["seq"])

    def text(self, history: Sequence[int], template: int) -> str:
        """The prompt after a history of item rows, oldest first."""
        items = [self.item_texts[row] for row in history]
        if self.stream:
            return stream_prompt(items)
        return sequential_prompt(self.templates, self.templates.tasks["seq"][template], items)

    def user_prompts(self, histories: Sequence[Sequence[int]], templates: Sequence[int]) -> list[list[list[int]]]:
        """Token ids of every user's prompts, one of each template."""
        texts = [self.text(history, template) for history in histories for template in templates]
        rows = self._tokens.prompts(texts) if texts else []
        return [rows[start : start + len(templates)] for start in range(0, len(rows), len(templates))]

    def longest_history(self, most: int, tokens: int, levels: int) -> int:
        """How many items fit in a prompt of any template, with the response.

        Every index token is one id, so a prompt's length depends on the number of items alone.

        Args:
            most: items that are wanted at most.
            tokens: of prompt and response together.
            levels: tokens of an index.

        Raises:
            ValueError: not even a history of one item fits.
        """
        limit = tokens - levels - 1
        for n in range(most, 0, -1):
            prompts = self.user_prompts([[0] * n], range(self.n_templates))[0]
            if max(map(len, prompts)) <= limit:
                if n < most:
                    getLogger().warning(
                        f"Histories keep their newest {n} of {most} items, so that prompt and response fit {tokens} "
                        "tokens (tuning_max_length, the model's context)"
                    )
                return n
        raise ValueError(
            f"not even a history of one item fits the {tokens} tokens that tuning_max_length and the model's context "
            "allow; raise tuning_max_length, or use a model with a longer context"
        )
