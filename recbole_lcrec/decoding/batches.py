"""Users in batches of so many tokens, fewer of them when memory runs out.

Knows lengths and a budget. Refuses to know what is done with a batch. Whatever happens, every user is served in full:
a lack of memory makes batches smaller, never the search.
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

__all__ = ["Parts", "plan_batches", "work_through"]


def plan_batches(
    lengths: Sequence[int] | np.ndarray, extra: int, max_tokens: int, per_user: int = 1
) -> list[np.ndarray]:
    """Parts users into batches of like length.

    Args:
        lengths: tokens of each user's longest prompt [B].
        extra: further tokens of each prompt, those of its branches.
        max_tokens: prompts of a batch x (the longest + ``extra``) at most; one user at least.
        per_user: prompts of each user.

    Returns:
        The numbers of the users of each batch; each user is in one. The longest come first, so that a lack of memory
        shows at once.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    batches, start = [], 0
    while start < len(order):
        count = max(1, max_tokens // (per_user * (lengths[order[start]] + extra)))
        batches.append(order[start : start + count])
        start += count
    return batches


@dataclass
class Parts:
    """Into how many parts a process divides its batches, because memory did not suffice for whole ones.

    It is kept from call to call, so that a lack of memory is met once. Which batches there are does not depend on it:
    processes that share them out must agree.
    """

    count: int = 1


def work_through(batches: Sequence[np.ndarray], work: Callable[[np.ndarray], None], parts: Parts | None = None) -> None:
    """Works on every batch; when memory does not suffice for one, on it and all after it in halves.

    Args:
        batches: numbers of users.
        work: does all that is to be done for some users; called again for those it failed on.
        parts: what earlier calls found out; is doubled when memory does not suffice.

    Raises:
        RunAborted: memory does not suffice for one user.
    """
    parts = parts or Parts()
    pending = _divided(batches, parts.count)
    while pending:
        batch = pending.popleft()
        if _fits(batch, work):
            continue
        if len(batch) == 1:
            raise RunAborted(
                "memory does not suffice to decode a single user: free some, lower MAX_ITEM_LIST_LENGTH or "
                "decoding_beam_size, set decoding_exact=False, which widens the beam, or load the model in bf16 "
                "(tuning_precision)"
            )
        getLogger().warning(
            f"Not enough memory to decode {len(batch)} users at once, so batches are halved, with as many beams as "
            "before; a lower decoding_max_tokens saves the trial"
        )
        parts.count *= 2
        pending = _divided((batch, *pending), 2)


def _divided(batches: Iterable[np.ndarray], parts: int) -> deque[np.ndarray]:
    return deque(part for batch in batches for part in np.array_split(batch, parts) if len(part))


def _fits(batch: np.ndarray, work: Callable[[np.ndarray], None]) -> bool:
    try:
        work(batch)
    except (MemoryError, RuntimeError) as err:
        if not is_out_of_memory(err):
            raise
    else:
        return True
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # here and not above: the error holds on to what the failed call had made
    return False
