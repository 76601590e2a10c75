"""Runs that several processes share: each is done once, by the process that takes it first."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from logging import getLogger
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

__all__ = ["shared"]

Job = TypeVar("Job")
Done = TypeVar("Done")


def shared(
    jobs: Mapping[Path, Job],
    find: Callable[[Job], Done | None],
    do: Callable[[Job], Done],
    pause: float = 5.0,
) -> Iterator[Done]:
    """Yield the result of every job, found or made here or by another process.

    A job is locked while a process does it, and the system opens the lock when the process ends in any way; then the
    others find its result, or do it themselves.

    Args:
        jobs: lock file -> job, in the order in which they are to be done.
        find: returns the result of a finished job, else None.
        do: does a job and returns its result.
        pause: seconds between two looks at the jobs of other processes.
    """
    left, waits = dict(jobs), False
    while left:
        before = len(left)
        for path, job in list(left.items()):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            try:
                done = find(job)
                yield do(job) if done is None else done
                del left[path]
            finally:
                lock.release()
        if left and len(left) == before:
            if not waits:
                getLogger().info(f"Waiting for {len(left)} runs that other processes are training")
            waits = True
            time.sleep(pause)
