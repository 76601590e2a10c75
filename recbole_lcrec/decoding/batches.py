"""Group users into batches by token budget, and split batches further when memory runs out.

Running out of memory makes batches smaller; it never changes the beam size or drops a user.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from logging import getLogger

import numpy as np
import torch

from recbole_lcrec.runtime.errors import RunAborted
from recbole_lcrec.runtime.memory import is_out_of_memory

__all__ = ["BatchBackoff", "plan_batches", "run_batches"]


def plan_batches(
    lengths: Sequence[int] | np.ndarray, extra: int, max_tokens: int, per_user: int = 1
) -> list[np.ndarray]:
    """Group users with prompts of similar length.

    Args:
        lengths: tokens of each user's longest prompt [B].
        extra: branch tokens that are read after each prompt.
        max_tokens: token budget of a batch: its prompts times (longest prompt + ``extra``). A batch has at least one
            user, whatever the budget.
        per_user: prompts per user.

    Returns:
        Positions in ``lengths`` of each batch's users; every user is in exactly one batch. The longest prompts come
        first, so that a lack of memory shows early.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    batches, start = [], 0
    while start < len(order):
        count = max(1, max_tokens // (per_user * (lengths[order[start]] + extra)))
        batches.append(order[start : start + count])
        start += count
    return batches


@dataclass
class BatchBackoff:
    """The degree to which a process splits its batches because whole ones did not fit in memory.

    It is kept between calls, so that a process runs out of memory only once. Planned batches do not depend on it,
    because all processes of a run must plan the same ones.

    Attributes:
        divisor: each planned batch is split into this many parts.
    """

    divisor: int = 1


def run_batches(
    batches: Sequence[np.ndarray], work: Callable[[np.ndarray], None], backoff: BatchBackoff | None = None
) -> None:
    """Call ``work`` on every batch; when one does not fit in memory, halve it and all later ones and try again.

    Args:
        batches: positions of users.
        work: processes some users; called again with fewer of them if it runs out of memory.
        backoff: the splitting that earlier calls found necessary; updated in place.

    Raises:
        RunAborted: a single user does not fit in memory.
    """
    backoff = backoff or BatchBackoff()
    pending = _split(batches, backoff.divisor)
    while pending:
        batch = pending.popleft()
        if _fits(batch, work):
            continue
        if len(batch) == 1:
            raise RunAborted(
                "not enough memory to decode a single user: free memory, lower MAX_ITEM_LIST_LENGTH or "
                "decoding_beam_size, set decoding_exact=False, which otherwise widens the beam, or load the model in "
                "bf16 (tuning_precision)"
            )
        getLogger().warning(
            f"Not enough memory to decode {len(batch)} users at once: halving the batches, with the same beam size; "
            "lower decoding_max_tokens to avoid the failed attempt"
        )
        backoff.divisor *= 2
        pending = _split((batch, *pending), 2)


def _split(batches: Iterable[np.ndarray], divisor: int) -> deque[np.ndarray]:
    return deque(part for batch in batches for part in np.array_split(batch, divisor) if len(part))


def _fits(batch: np.ndarray, work: Callable[[np.ndarray], None]) -> bool:
    """Call ``work``; return False if it ran out of memory."""
    try:
        work(batch)
    except (MemoryError, RuntimeError) as err:
        if not is_out_of_memory(err):
            raise
    else:
        return True
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # outside the handler: the error's traceback holds tensors of the failed call
    return False
