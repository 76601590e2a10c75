"""The interface between decoding and a language model.

A reader never calls ``generate``, so a checkpoint's generation configuration has no effect on decoding.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from recbole_lcrec.decoding.prompt_batch import PromptBatch

__all__ = ["Branches", "Reader"]


class Branches(Protocol):
    """Branches of tokens that continue R prompts."""

    def extend(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """Read one more token of each branch.

        Args:
            tokens: the next token of each of Q branches per prompt [R, Q], int64.
            parents: the branch of the previous call that each token continues [R, Q], int64; 0 (the prompt) in the
                first call.

        Returns:
            States of the tokens [R, Q, D].
        """


class Reader(Protocol):
    """A language model as the search uses it.

    States [R, Q, D] belong to the reader: D depends on its kind, and only its own ``log_probs`` can interpret them.
    """

    def check(self, longest: int, n_new: int, max_token: int) -> None:
        """Check that the model can read its input.

        Args:
            longest: tokens of the longest prompt.
            n_new: index tokens that are read after it.
            max_token: the largest index token id.

        Raises:
            ValueError: a prompt is too long for the model, or its vocabulary lacks a token.
        """

    def read(self, prompts: PromptBatch, n_branch_tokens: int) -> tuple[Branches, Tensor]:
        """Read prompts.

        Args:
            prompts: R prompts.
            n_branch_tokens: branch tokens per prompt to reserve room for.

        Returns:
            Branches that start at the prompts, and the states of the prompts' last tokens [R, 1, D].

        Raises:
            RuntimeError: the model is in training mode.
        """

    def log_probs(self, states: Tensor, tokens: Tensor, legal: Tensor, level_tokens: Tensor | None) -> Tensor:
        """Return log-probabilities of next tokens; see :func:`next_token_log_probs`."""
