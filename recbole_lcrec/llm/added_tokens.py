"""Start values of the vocabulary rows of added tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

__all__ = ["start_added_tokens"]


def start_added_tokens(
    model: PreTrainedModel, ids: Sequence[int], known: Sequence[int], directions: np.ndarray | None, seed: int
) -> None:
    """Set the rows of added tokens in the input embedding and, unless it is tied, in the output head.

    A row is the mean of the known tokens' rows plus a direction with their usual spread. All added tokens start alike,
    whether their rows are new or padding that the checkpoint already had and never trained.

    Args:
        model: a model with a row for every token; changed in place.
        ids: A added tokens.
        known: tokens whose rows are trained, or as random as the rest of a model from nothing.
        directions: float [A, D] with values of unit spread and D at most the model's width; missing dimensions, and
            rows of zeros, are drawn at random. None: all are.
        seed: seeds the random values.
    """
    rng = np.random.default_rng(seed)
    for matrix in _matrices(model):
        drawn = rng.standard_normal((len(ids), matrix.shape[1]))
        if directions is not None:
            given = directions.any(axis=1)
            drawn[given, : directions.shape[1]] = directions[given]
        rows = matrix[torch.as_tensor(known, device=matrix.device)].float()
        mean = rows.mean(dim=0)
        spread = (rows - mean).std()
        values = mean + spread * torch.as_tensor(drawn, dtype=torch.float32, device=matrix.device)
        matrix[torch.as_tensor(ids, device=matrix.device)] = values.to(matrix.dtype)


def _matrices(model: Any) -> Iterator[Tensor]:
    """Yield the vocabulary matrices, one where they are tied."""
    embedding, head = model.get_input_embeddings().weight.data, model.get_output_embeddings().weight.data
    yield embedding
    if head.data_ptr() != embedding.data_ptr():
        yield head
