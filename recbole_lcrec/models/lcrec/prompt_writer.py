"""Prompts that ask for a user's next item.

Templates filled with histories, and the longest history that fits.
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
    """Return the maximum tokens of prompt and response: ``tuning_max_length``, or the model's context if shorter.

    Args:
        model: the language model.
        max_length: ``tuning_max_length``.
        search: ``decoding_search``, on which the context limits depend (:func:`context_limits`).
    """
    return min([max_length, *context_limits(model.config, shared=search == "shared").values()])


def require_template(templates: Templates, number: int) -> None:
    """Check that ``decoding_template`` is the number of a SEQ template.

    Raises:
        ValueError: there are fewer SEQ templates.
    """
    count = len(templates.tasks.get("seq", ()))
    if number >= count:
        raise ValueError(f"decoding_template = {number}: there are {count} SEQ templates, numbered from 0")


@dataclass(frozen=True)
class PromptWriter:
    """Writes prompts that ask for a user's next item.

    Attributes:
        tokenizer: tokenizer with one id for each index token.
        templates: the templates of all sub-tasks.
        item_texts: the index of each of the N items, as text.
        stream: whether histories are written without a template.
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
        """Number of SEQ templates; 1 for streams."""
        return 1 if self.stream else len(self.templates.tasks["seq"])

    def text(self, history: Sequence[int], template: int) -> str:
        """Return the prompt for a history of item rows, oldest first."""
        items = [self.item_texts[row] for row in history]
        if self.stream:
            return stream_prompt(items)
        return sequential_prompt(self.templates, self.templates.tasks["seq"][template], items)

    def user_prompts(self, histories: Sequence[Sequence[int]], templates: Sequence[int]) -> list[list[list[int]]]:
        """Return the token ids of each user's prompts, one per template number of ``templates``."""
        texts = [self.text(history, template) for history in histories for template in templates]
        rows = self._tokens.prompts(texts) if texts else []
        return [rows[start : start + len(templates)] for start in range(0, len(rows), len(templates))]

    def longest_history(self, most: int, tokens: int, levels: int) -> int:
        """Return how many items fit into a prompt of any template, together with the response.

        Every index token is one id, so a prompt's length depends only on the number of items.

        Args:
            most: maximum number of items, ``MAX_ITEM_LIST_LENGTH``.
            tokens: maximum tokens of prompt and response together.
            levels: tokens of an index, H.

        Raises:
            ValueError: not even a history of one item fits.
        """
        limit = tokens - levels - 1
        for n in range(most, 0, -1):
            prompts = self.user_prompts([[0] * n], range(self.n_templates))[0]
            if max(map(len, prompts)) <= limit:
                if n < most:
                    getLogger().warning(
                        f"Histories keep their newest {n} of {most} items, so that prompt and response fit into "
                        f"{tokens} tokens (tuning_max_length, the model's context)"
                    )
                return n
        raise ValueError(
            f"not even a history of one item fits into the {tokens} tokens that tuning_max_length and the model's "
            "context allow; raise tuning_max_length, or use a model with a longer context"
        )
