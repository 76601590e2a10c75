"""A reader for causal language models that reads a prompt once for all its branches.

The branches share the prompt's keys and values.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel

from recbole_lcrec.decoding.next_tokens import next_token_log_probs
from recbole_lcrec.decoding.prompt_batch import PromptBatch
from recbole_lcrec.decoding.readers.last_layer import last_feed_forward, one_token_of_each_row
from recbole_lcrec.decoding.readers.model_checks import require_evaluation_mode, require_room, vocabulary_size
from recbole_lcrec.decoding.readers.plain import PlainReader
from recbole_lcrec.decoding.readers.prompt_cache import PromptCache, shared_cache
from recbole_lcrec.decoding.readers.shareable import require_equal_readings, require_shareable, trial_prompts

__all__ = ["SharedReader"]

_WORTH_SHARING = 8
"""Fewest common leading tokens that are read once for the whole batch; a second pass and its mask have a cost, too."""


class SharedReader:
    """A reader that reads a prompt once for all of a user's branches, and common leading tokens once for all users.

    In the last layer, only the prompts' keys and values and the states of their last tokens are needed. Where the
    model allows it, that layer's feed-forward network is computed for the last tokens only.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Open a model.

        Args:
            model: a transformers causal language model in evaluation mode, with sdpa or eager attention; it may be
                wrapped by PEFT's LoRA. It is not changed.

        Raises:
            ValueError: the model's attention ignores 4-D masks, its state is more than keys and values, it changes
                logits after its head, or its scores in a trial differ from those of :class:`PlainReader`. Such a model
                works with ``decoding_search: plain``.
            RuntimeError: the model is in training mode.
        """
        require_evaluation_mode(model)
        require_shareable(model)
        self._model = model
        self._head: torch.nn.Module = model.get_output_embeddings()
        self._last: torch.nn.Module | None = None
        require_equal_readings(model, self, PlainReader(model))
        self._last = last_feed_forward(model, self._trial)

    def check(self, longest: int, n_new: int, max_token: int) -> None:
        """Check that the model can read its input; see :meth:`Reader.check`."""
        require_room(self._model, longest, n_new, max_token, shared=True)

    def read(self, prompts: PromptBatch, n_branch_tokens: int) -> tuple[PromptCache, Tensor]:
        """Read prompts; see :meth:`Reader.read`."""
        require_evaluation_mode(self._model)
        n_rows, n_columns = prompts.ids.shape
        cache = shared_cache(n_rows, n_columns + n_branch_tokens)
        common = prompts.n_common() if n_rows > 1 else 0
        common = common if common >= _WORTH_SHARING else 0
        positions = torch.arange(n_columns, device=prompts.ids.device).unsqueeze(0)
        dtype: torch.dtype = self._model.dtype
        mask = None
        if common:
            first = prompts.lengths.new_zeros(1)  # of the common tokens only keys and values are needed
            self._states(prompts.ids[:1, :common], None, positions[:, :common], cache, first)
            later = positions > positions[:, common:].T
            mask = torch.zeros(later.shape, dtype=dtype, device=later.device)
            mask = mask.masked_fill_(later, torch.finfo(dtype).min).expand(n_rows, 1, -1, -1)
        rest = prompts.ids[:, common:]
        places = prompts.lengths - 1 - common
        states = self._states(rest, mask, positions[:, common:].expand(n_rows, -1), cache, places)
        branches = PromptCache(self._states, cache, prompts.lengths, n_columns, dtype)
        return branches, prompts.last(states, common)

    def log_probs(self, states: Tensor, tokens: Tensor, legal: Tensor, level_tokens: Tensor | None) -> Tensor:
        """Return log-probabilities of next tokens; see :func:`next_token_log_probs`."""
        return next_token_log_probs(self._head, states, tokens, legal, level_tokens)

    def _states(
        self, ids: Tensor, mask: Tensor | None, positions: Tensor, cache: Cache, places: Tensor | None = None
    ) -> Tensor:
        """Return the head's input for each token [R, Q, D]; with ``places`` [R], correct at that token of each row."""
        mask = torch.ones_like(ids) if mask is None else mask  # padding is on the right, where no token attends
        with ExitStack() as hooks:
            inputs = hooks.enter_context(_head_inputs(self._head))
            if places is not None:
                hooks.enter_context(one_token_of_each_row(self._last, places))
            self._model(
                input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
        return inputs[0]

    def _trial(self, last: torch.nn.Module | None) -> Tensor:
        """Return states of trial prompts' last tokens; ``last`` is computed for those tokens only."""
        self._last = last
        return self.read(trial_prompts(self._model.device, vocabulary_size(self._model)), 0)[1]


@contextmanager
def _head_inputs(head: torch.nn.Module) -> Iterator[list[Tensor]]:
    """Record the output head's inputs, and pass the head an empty slice so that it computes nothing."""
    caught: list[Tensor] = []

    def catch(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        caught.append(inputs[0])
        return (inputs[0][:, :0], *inputs[1:])

    hook = head.register_forward_pre_hook(catch)
    try:
        yield caught
    finally:
        hook.remove()
