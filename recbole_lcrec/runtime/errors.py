"""The error of a run that cannot go on though nothing that was given is wrong.

Knows what tells it from others: wrong input is a ValueError, a mistake of the program's own any other error. Refuses to
know who raises it.
"""

from __future__ import annotations

__all__ = ["RunAborted"]


class RunAborted(RuntimeError):
    """Logits are no numbers, memory does not suffice, a file changed under way: a command tells it in one line."""
