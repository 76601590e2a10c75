"""A language model as decoding sees it: prompts are read once, branches grow, next tokens have log-probabilities.

Knows transformers causal language models, also wrapped by PEFT, and two ways to ask them: :class:`SharedReader`, where
all branches of a user share one prompt, and :class:`PlainReader`, which reads every branch anew, as any model can.
Refuses to know the trie and items. ``generate`` is never called, so a checkpoint's generation configuration has no say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from inspect import signature
from typing import Protocol

import torch
from peft import PeftModel
from torch import Tensor
from transformers import Cache, PreTrainedModel

from recbole_lcrec.decoding.next_tokens import log_probs_of_logits, next_token_log_probs
from recbole_lcrec.decoding.prompt_batch import Prompts
from recbole_lcrec.decoding.readers.context import context_limits
from recbole_lcrec.decoding.readers.last_layer import last_feed_forward, one_token_of_each_row
from recbole_lcrec.decoding.readers.prompt_cache import PromptCache, shared_cache
from recbole_lcrec.decoding.readers.shareable import (
    PLAIN_REMEDY,
    require_equal_readings,
    require_shareable,
    trial_prompts,
)

__all__ = ["Branches", "PlainReader", "Reader", "SharedReader", "open_reader"]

_WORTH_SHARING = 8
"""Leading tokens from which on it pays to read them once: a second pass and a mask cost something too."""


class Branches(Protocol):
    """Branches of tokens that grow out of R prompts."""

    def extend(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """Reads one more token of each branch; see :meth:`PromptCache.extend`."""


class Reader(Protocol):
    """What the search asks of a language model. States are the reader's own: [R, Q, anything]."""

    def check(self, longest: int, n_new: int, max_token: int) -> None:
        """Makes sure that prompts of ``longest`` tokens with ``n_new`` more, up to ``max_token``, can be read."""

    def read(self, prompts: Prompts, n_branch_tokens: int) -> tuple[Branches, Tensor]:
        """Reads prompts, with room for so many branch tokens each; also gives the states of their last tokens."""

    def log_probs(self, states: Tensor, tokens: Tensor, legal: Tensor, among: Tensor | None) -> Tensor:
        """Log-probabilities of next tokens; see :func:`next_token_log_probs`."""


class SharedReader:
    """Reads a prompt once for all of a user's branches, and words that all prompts begin with once for all users.

    Of the prompts' last layer only keys and values are asked for, and the last tokens' states: where the model lets
    it, its feed-forward network is computed for those tokens alone.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Opens a model.

        Args:
            model: a transformers causal language model in evaluation mode, under sdpa or eager attention; also one
                wrapped by PEFT's LoRA. It is not changed.

        Raises:
            ValueError: the model's attention ignores 4-D masks, it keeps another state than keys and values, changes
                logits after its head, or scores a trial otherwise than :class:`PlainReader`; ``decoding_search: plain``
                takes such a model.
            RuntimeError: the model is in training mode.
        """
        _require_evaluation(model)
        require_shareable(model)
        self._model = model
        self._head: torch.nn.Module = model.get_output_embeddings()
        self._last: torch.nn.Module | None = None
        require_equal_readings(model, self, PlainReader(model), _n_tokens(model))
        self._last = last_feed_forward(model, self._trial)

    def check(self, longest: int, n_new: int, max_token: int) -> None:
        """See :class:`Reader`.

        Raises:
            ValueError: a prompt is too long for the model, or its vocabulary lacks a token.
        """
        _check_room(self._model, longest, n_new, max_token, shared=True)

    def read(self, prompts: Prompts, n_branch_tokens: int) -> tuple[PromptCache, Tensor]:
        """See :class:`Reader`.

        Raises:
            RuntimeError: the model is in training mode.
        """
        _require_evaluation(self._model)
        n_rows, n_columns = prompts.ids.shape
        cache = shared_cache(n_rows, n_columns + n_branch_tokens)
        common = prompts.n_common() if n_rows > 1 else 0
        common = common if common >= _WORTH_SHARING else 0
        positions = torch.arange(n_columns, device=prompts.ids.device).unsqueeze(0)
        dtype: torch.dtype = self._model.dtype
        mask = None
        if common:
            first = prompts.lengths.new_zeros(1)  # keys and values are all that these words leave
            self._states(prompts.ids[:1, :common], None, positions[:, :common], cache, first)
            later = positions > positions[:, common:].T
            mask = torch.zeros(later.shape, dtype=dtype, device=later.device)
            mask = mask.masked_fill_(later, torch.finfo(dtype).min).expand(n_rows, 1, -1, -1)
        rest = prompts.ids[:, common:]
        places = prompts.lengths - 1 - common
        states = self._states(rest, mask, positions[:, common:].expand(n_rows, -1), cache, places)
        branches = PromptCache(self._states, cache, prompts.lengths, n_columns, dtype)
        return branches, prompts.last(states, common)

    def log_probs(self, states: Tensor, tokens: Tensor, legal: Tensor, among: Tensor | None) -> Tensor:
        """See :func:`next_token_log_probs`."""
        return next_token_log_probs(self._head, states, tokens, legal, among)

    def _states(
        self, ids: Tensor, mask: Tensor | None, positions: Tensor, cache: Cache, places: Tensor | None = None
    ) -> Tensor:
        """What the head would read for each token [R, Q, D]; with ``places`` [R], for that token of each row alone."""
        mask = torch.ones_like(ids) if mask is None else mask  # padding comes last, where no token looks
        with ExitStack() as hooks:
            inputs = hooks.enter_context(_head_inputs(self._head))
            if places is not None:
                hooks.enter_context(one_token_of_each_row(self._last, places))
            self._model(
                input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
        return inputs[0]

    def _trial(self, last: torch.nn.Module | None) -> Tensor:
        """States of a trial's last prompt tokens, read with the saving or without it."""
        self._last = last
        return self.read(trial_prompts(self._model.device, _n_tokens(self._model)), 0)[1]


class PlainReader:
    """Reads the whole text of every branch anew, without a cache, padding or a mask: slow, and right for any model."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Opens a model.

        Args:
            model: a transformers causal language model in evaluation mode. It is not changed.

        Raises:
            RuntimeError: the model is in training mode.
        """
        _require_evaluation(model)
        self._model, self._options = model, _last_logits_alone(model)

    def check(self, longest: int, n_new: int, max_token: int) -> None:
        """See :class:`Reader`.

        Raises:
            ValueError: a prompt is too long for the model, or its vocabulary lacks a token.
        """
        _check_room(self._model, longest, n_new, max_token, shared=False)

    def read(self, prompts: Prompts, n_branch_tokens: int) -> tuple[Branches, Tensor]:
        """See :class:`Reader`. States are logits.

        Raises:
            RuntimeError: the model is in training mode.
        """
        _require_evaluation(self._model)
        rows = [ids[:length] for ids, length in zip(prompts.ids, prompts.lengths.tolist(), strict=True)]
        branches = _PlainBranches(self._model, self._options, rows)
        return branches, branches.logits([row.unsqueeze(0) for row in rows])

    def log_probs(self, states: Tensor, tokens: Tensor, legal: Tensor, among: Tensor | None) -> Tensor:
        """See :func:`next_token_log_probs`."""
        if among is not None:
            return next_token_log_probs(torch.nn.Identity(), states, tokens, legal, among)
        return log_probs_of_logits(states.flatten(0, 1), tokens.flatten(0, 1), legal.flatten(0, 1)).view(tokens.shape)


class _PlainBranches:
    """Branches as whole sequences of token ids."""

    def __init__(self, model: PreTrainedModel, options: Mapping[str, int], prompts: list[Tensor]) -> None:
        self._model, self._options = model, options
        self._sequences = [prompt.unsqueeze(0) for prompt in prompts]

    def extend(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """See :class:`Branches`."""
        self._sequences = [
            torch.cat([before[chosen], new.unsqueeze(1)], dim=1)
            for before, chosen, new in zip(self._sequences, parents, tokens, strict=True)
        ]
        return self.logits(self._sequences)

    def logits(self, sequences: list[Tensor]) -> Tensor:
        """Logits after the last token of each row's Q sequences [R, Q, V]; a row's sequences are of one length."""
        outputs = (
            self._model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **self._options)
            for ids in sequences
        )
        return torch.stack([output.logits[:, -1].clone() for output in outputs])  # a view would keep what it is part of


def _last_logits_alone(model: PreTrainedModel) -> dict[str, int]:
    """What asks a model for the logits of the last token alone; nothing where it only gives those of all."""
    within = model.get_base_model() if isinstance(model, PeftModel) else model
    return {"logits_to_keep": 1} if "logits_to_keep" in signature(within.forward).parameters else {}


def open_reader(model: PreTrainedModel, search: str) -> SharedReader | PlainReader:
    """The reader that ``decoding_search`` names.

    Opening tries the model on a few tokens, so a reader is kept for as long as its model.

    Raises:
        ValueError: the model cannot be read so.
        RuntimeError: it is in training mode.
    """
    return PlainReader(model) if search == "plain" else SharedReader(model)


@contextmanager
def _head_inputs(head: torch.nn.Module) -> Iterator[list[Tensor]]:
    """Catches what the head is given, and gives it nothing to compute."""
    caught: list[Tensor] = []

    def catch(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        caught.append(inputs[0])
        return (inputs[0][:, :0], *inputs[1:])

    hook = head.register_forward_pre_hook(catch)
    try:
        yield caught
    finally:
        hook.remove()


def _require_evaluation(model: PreTrainedModel) -> None:
    if model.training:
        raise RuntimeError(
            "the language model is in training mode, where dropout blurs scores; call model.eval() first"
        )


def _check_room(model: PreTrainedModel, longest: int, n_new: int, max_token: int, shared: bool) -> None:
    for name, limit in context_limits(model.config, shared).items():
        if longest + n_new > limit:
            remedy = "" if name in context_limits(model.config, shared=False) else f", or {PLAIN_REMEDY}"
            raise ValueError(
                f"a prompt of {longest} tokens and {n_new} index tokens pass the model's {name}={limit}; lower "
                f"tuning_max_length or MAX_ITEM_LIST_LENGTH{remedy}"
            )
    n_tokens = _n_tokens(model)
    if max_token >= n_tokens:
        raise ValueError(
            f"index token {max_token} is not among the model's {n_tokens} tokens; resize its embeddings to the "
            "tokenizer that made the index tokens"
        )


def _n_tokens(model: PreTrainedModel) -> int:
    head = model.get_output_embeddings()
    return int(getattr(head, "out_features", None) or model.config.get_text_config().vocab_size)
