"""The processes of a run: how many a launcher such as torchrun started, which one this is, and how they agree.

Knows the launcher's environment variables. Refuses to know what the processes do.
"""

from __future__ import annotations

import os
from typing import Any

from recbole_lcrec.runtime.errors import RunAborted

__all__ = ["from_all_processes", "from_first_process", "from_launcher", "process_count", "process_rank"]


def process_count() -> int:
    """How many processes a launcher such as torchrun started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def process_rank() -> int:
    """The number of this process among those that the launcher started; process 0 writes logs and results.

    Raises:
        RunAborted: there are several processes, but the launcher did not number them.
    """
    return from_launcher("RANK") if process_count() > 1 else 0


def from_first_process(value: Any) -> Any:
    """The first process's value, in every process; the others wait until the first one gets there.

    Processes that decide by values of their own (a score rounded otherwise, a name made of the time) part ways, and
    those that train on wait for ever. The process group must be open already.
    """
    if process_count() == 1:
        return value
    from torch import distributed

    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def from_all_processes(value: Any) -> list[Any]:
    """The values of all processes, in their order, in every process. The process group must be open already."""
    if process_count() == 1:
        return [value]
    from torch import distributed

    box: list[Any] = [None] * process_count()
    distributed.all_gather_object(box, value)
    return box


def from_launcher(name: str) -> int:
    """A number that the launcher puts into the environment, such as ``LOCAL_RANK``.

    Raises:
        RunAborted: it is not there.
    """
    if name not in os.environ:
        raise RunAborted(f"WORLD_SIZE is {process_count()} but {name} is not set; start the processes with torchrun")
    return int(os.environ[name])
