"""What a step of the data command is.

Knows its parts. Refuses to know any step.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Step"]


@dataclass(frozen=True)
class Step:
    """One step of ``python -m recbole_lcrec.data``.

    Attributes:
        name: what the user types.
        summary: one line for the list of steps.
        description: a paragraph for the step's own help.
        examples: command lines, indented by two blanks.
        add_flags: adds the step's flags to its parser; ``--data_path`` and ``--state`` come by themselves.
        work: does the step with the read flags; ValueError and OSError are told in one line. It loads what it needs
            only when it is called, so that the help comes at once.
    """

    name: str
    summary: str
    description: str
    examples: str
    add_flags: Callable[[argparse.ArgumentParser], None]
    work: Callable[[argparse.Namespace], None]
