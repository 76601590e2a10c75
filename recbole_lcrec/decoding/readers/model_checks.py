"""Checks that every reader of a causal language model makes.

Evaluation mode, context length and vocabulary.
"""

from __future__ import annotations

from transformers import PreTrainedModel

from recbole_lcrec.decoding.readers.context import context_limits

__all__ = ["PLAIN_REMEDY", "require_evaluation_mode", "require_room", "vocabulary_size"]

PLAIN_REMEDY = "set decoding_search: plain, which reads each beam separately"
"""Remedy for a model whose beams cannot share a prompt."""


def require_evaluation_mode(model: PreTrainedModel) -> None:
    """Check that dropout is off.

    Raises:
        RuntimeError: the model is in training mode.
    """
    if model.training:
        raise RuntimeError(
            "the language model is in training mode, where dropout changes the scores; call model.eval() first"
        )


def require_room(model: PreTrainedModel, longest: int, n_new: int, max_token: int, shared: bool) -> None:
    """Check that prompts and index tokens fit the model's context and vocabulary.

    Args:
        model: the language model.
        longest: tokens of the longest prompt.
        n_new: index tokens that are read after it.
        max_token: the largest index token id.
        shared: whether beams share a prompt, which lowers some limits.

    Raises:
        ValueError: a prompt is too long for the model, or its vocabulary lacks a token.
    """
    for name, limit in context_limits(model.config, shared).items():
        if longest + n_new > limit:
            remedy = "" if name in context_limits(model.config, shared=False) else f", or {PLAIN_REMEDY}"
            raise ValueError(
                f"a prompt of {longest} tokens and {n_new} index tokens exceed the model's {name}={limit}; lower "
                f"tuning_max_length or MAX_ITEM_LIST_LENGTH{remedy}"
            )
    n_tokens = vocabulary_size(model)
    if max_token >= n_tokens:
        raise ValueError(
            f"index token {max_token} is outside the model's vocabulary of {n_tokens} tokens; resize its embeddings to "
            "the tokenizer that made the index tokens"
        )


def vocabulary_size(model: PreTrainedModel) -> int:
    """Return V, the number of tokens that the model's output head scores."""
    head = model.get_output_embeddings()
    return int(getattr(head, "out_features", None) or model.config.get_text_config().vocab_size)
