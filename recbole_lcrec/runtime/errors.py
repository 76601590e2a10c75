"""The error of a run that cannot continue although its input is valid.

Invalid input raises ValueError; any other exception is a bug.
"""

from __future__ import annotations

__all__ = ["RunAborted"]


class RunAborted(RuntimeError):
    """The run cannot continue, though its input is valid; commands report the message in one line, without a traceback.

    Examples: logits are NaN, memory is exhausted, or a file changed while it was read.
    """
