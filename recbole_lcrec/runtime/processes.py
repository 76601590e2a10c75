"""Distributed processes: their number, the rank of this one, and shared values.

A launcher such as torchrun starts them.
"""

from __future__ import annotations

import os
from typing import Any

from recbole_lcrec.runtime.errors import RunAborted

__all__ = ["from_all_processes", "from_first_process", "from_launcher", "process_count", "process_rank"]


def process_count() -> int:
    """Return the number of processes that a launcher such as torchrun started; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def process_rank() -> int:
    """Return the rank of this process; rank 0 writes logs and results.

    Raises:
        RunAborted: there are several processes, but the launcher did not set their ranks.
    """
    return from_launcher("RANK") if process_count() > 1 else 0


def from_first_process(value: Any) -> Any:
    """Return the value of rank 0 in every process; the other processes wait for it.

    Use it for decisions: processes that each decide by their own value (a score rounded differently, a name with a time
    stamp) diverge, and those that continue training wait forever. The process group must be initialised.
    """
    if process_count() == 1:
        return value
    from torch import distributed

    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def from_all_processes(value: Any) -> list[Any]:
    """Return the values of all processes, ordered by rank, in every process. The process group must be initialised."""
    if process_count() == 1:
        return [value]
    from torch import distributed

    box: list[Any] = [None] * process_count()
    distributed.all_gather_object(box, value)
    return box


def from_launcher(name: str) -> int:
    """Return a number that the launcher sets in the environment, such as ``LOCAL_RANK``.

    Raises:
        RunAborted: the variable is not set.
    """
    if name not in os.environ:
        raise RunAborted(f"WORLD_SIZE is {process_count()} but {name} is not set; start the processes with torchrun")
    return int(os.environ[name])
