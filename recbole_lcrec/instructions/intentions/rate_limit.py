"""At most so many starts per minute, over all threads.

Knows a clock. Refuses to know what is started.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["RateLimiter"]


class RateLimiter:
    """Spaces starts evenly, so that no 60 seconds hold more than a given number of them. Threads may share one.

    Args:
        per_minute: most starts in 60 seconds; None: no limit.
        clock: seconds, never running backwards.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        per_minute: int | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._next = float("-inf")

    def wait(self) -> None:
        """Returns when the caller may start."""
        with self._lock:
            now = self._clock()
            start = max(now, self._next)
            self._next = start + self._gap
        if start > now:
            self._sleep(start - now)
