"""Interface of the data command's steps."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Step"]


@dataclass(frozen=True)
class Step:
    """One step of ``python -m recbole_lcrec.data``.

    Attributes:
        name: name of the step on the command line.
        summary: one line for the list of steps.
        description: a paragraph for the step's own help.
        examples: command lines, indented by two blanks.
        add_flags: adds the step's flags to its parser; ``--data_path`` and ``--state`` are added to all steps.
        work: runs the step with the parsed flags; ValueError and OSError are reported in one line. It imports what it
            needs only when called, so that the help is shown at once.
    """

    name: str
    summary: str
    description: str
    examples: str
    add_flags: Callable[[argparse.ArgumentParser], None]
    work: Callable[[argparse.Namespace], None]
