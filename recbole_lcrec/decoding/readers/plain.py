"""A reader that works with any causal language model.

It reads the whole text of every branch again at each step.
"""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from recbole_lcrec.decoding.next_tokens import log_probs_of_logits, next_token_log_probs
from recbole_lcrec.decoding.prompt_batch import PromptBatch
from recbole_lcrec.decoding.readers.base import Branches
from recbole_lcrec.decoding.readers.model_checks import require_evaluation_mode, require_room

__all__ = ["PlainReader"]


class PlainReader:
    """A reader without a cache, padding or a mask: slow, but correct for any causal model. States are logits."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Open a model.

        Args:
            model: a transformers causal language model in evaluation mode. It is not changed.

        Raises:
            RuntimeError: the model is in training mode.
        """
        require_evaluation_mode(model)
        self._model, self._options = model, _last_logits_only(model)

    def check(self, longest: int, n_new: int, max_token: int) -> None:
        """Check that the model can read its input; see :meth:`Reader.check`."""
        require_room(self._model, longest, n_new, max_token, shared=False)

    def read(self, prompts: PromptBatch, n_branch_tokens: int) -> tuple[Branches, Tensor]:
        """Read prompts; see :meth:`Reader.read`."""
        require_evaluation_mode(self._model)
        rows = [ids[:length] for ids, length in zip(prompts.ids, prompts.lengths.tolist(), strict=True)]
        branches = _PlainBranches(self._model, self._options, rows)
        return branches, branches.logits([row.unsqueeze(0) for row in rows])

    def log_probs(self, states: Tensor, tokens: Tensor, legal: Tensor, level_tokens: Tensor | None) -> Tensor:
        """Return log-probabilities of next tokens; see :func:`next_token_log_probs`."""
        if level_tokens is not None:
            return next_token_log_probs(torch.nn.Identity(), states, tokens, legal, level_tokens)
        return log_probs_of_logits(states.flatten(0, 1), tokens.flatten(0, 1), legal.flatten(0, 1)).view(tokens.shape)


class _PlainBranches:
    """Branches as whole sequences of token ids."""

    def __init__(self, model: PreTrainedModel, options: Mapping[str, int], prompts: list[Tensor]) -> None:
        self._model, self._options = model, options
        self._sequences = [prompt.unsqueeze(0) for prompt in prompts]

    def extend(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """Read one more token of each branch; see :meth:`Branches.extend`."""
        self._sequences = [
            torch.cat([before[chosen], new.unsqueeze(1)], dim=1)
            for before, chosen, new in zip(self._sequences, parents, tokens, strict=True)
        ]
        return self.logits(self._sequences)

    def logits(self, sequences: list[Tensor]) -> Tensor:
        """Return logits after the last token of each row's Q equally long sequences [R, Q, V]."""
        outputs = (
            self._model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **self._options)
            for ids in sequences
        )
        return torch.stack([output.logits[:, -1].clone() for output in outputs])  # a view would keep all logits alive


def _last_logits_only(model: PreTrainedModel) -> dict[str, int]:
    """Return the argument that limits a model to the last token's logits; empty where it has no such argument."""
    within = model.get_base_model() if isinstance(model, PeftModel) else model
    return {"logits_to_keep": 1} if "logits_to_keep" in signature(within.forward).parameters else {}
