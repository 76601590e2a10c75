"""Open the reader that ``decoding_search`` names."""

from __future__ import annotations

from transformers import PreTrainedModel

from recbole_lcrec.decoding.readers.causal import SharedReader
from recbole_lcrec.decoding.readers.plain import PlainReader

__all__ = ["open_reader"]


def open_reader(model: PreTrainedModel, search: str) -> SharedReader | PlainReader:
    """Open a causal language model for decoding.

    Opening a reader runs the model on a few tokens to test it, so keep the reader for as long as the model.

    Args:
        model: a transformers causal language model in evaluation mode.
        search: ``shared`` or ``plain``, the value of ``decoding_search``.

    Raises:
        ValueError: the model's beams cannot share a prompt, as ``shared`` requires.
        RuntimeError: the model is in training mode.
    """
    return PlainReader(model) if search == "plain" else SharedReader(model)
