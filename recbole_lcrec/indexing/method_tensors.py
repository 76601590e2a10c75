"""Checks and conversions that index methods share.

Required embeddings, tensors of them, shapes of a saved state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["as_tensor", "require_array", "require_shapes"]


def require_array(array: np.ndarray | None) -> np.ndarray:
    """Return the array of a method that cannot work without one.

    Raises:
        RuntimeError: it is None.
    """
    if array is None:
        raise RuntimeError("this index method needs embeddings, but none were given")
    return array


def as_tensor(embeddings: np.ndarray) -> Tensor:
    """Return float32 embeddings ``[n, D]`` as a tensor on the CPU; a memory map stays one."""
    return torch.from_numpy(np.ascontiguousarray(embeddings, dtype=np.float32))


def require_shapes(state: Mapping[str, Tensor], expected: Mapping[str, Sequence[int]]) -> None:
    """Check the names and shapes of saved tensors.

    Raises:
        ValueError: a tensor is missing, unexpected, or of another shape.
    """
    for name in sorted({*state, *expected}):
        found = list(state[name].shape) if name in state else None
        shape = list(expected[name]) if name in expected else None
        if found != shape:
            raise ValueError(
                f"saved tensor {name!r} has shape {found} where the settings say {shape}; "
                "the file belongs to an index of other sizes: learn the index again, or restore the file"
            )
