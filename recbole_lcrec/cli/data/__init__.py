"""The command ``python -m recbole_lcrec.data``.

Steps to download, prepare, import, convert and export data sets.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from recbole_lcrec.cli.data.form_steps import EXPORT, MINIONEREC, TEXTS
from recbole_lcrec.cli.data.import_step import IMPORT
from recbole_lcrec.cli.data.raw_steps import DOWNLOAD, PREPARE
from recbole_lcrec.cli.data.step import Step
from recbole_lcrec.runtime.commands import run_command

__all__ = ["main"]

_STEPS: tuple[Step, ...] = (DOWNLOAD, PREPARE, IMPORT, MINIONEREC, TEXTS, EXPORT)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: flags without the program's name; None for those of the process.

    Returns:
        0, or 2 after an error in flags or data, which is reported in one line.
    """
    flags = sys.argv[1:] if argv is None else argv
    return run_command(partial(_prepared, flags), flags)


def _prepared(flags: Sequence[str]) -> Callable[[], Any]:
    options = _parser().parse_args(list(flags))
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return partial(options.work, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m recbole_lcrec.data",
        description="Import, convert and export data sets: Amazon's raw files, your own tables, published formats.",
        epilog="python -m recbole_lcrec.data STEP --help shows the flags of a step.",
    )
    steps = parser.add_subparsers(metavar="STEP", required=True)
    for step in _STEPS:
        flags = steps.add_parser(
            step.name,
            help=step.summary,
            description=step.description,
            epilog=step.examples and f"examples:\n{step.examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        step.add_flags(flags)
        flags.add_argument(
            "--data_path", default="dataset", metavar="FOLDER", help="contains a folder for each data set"
        )
        flags.add_argument("--state", metavar="LEVEL", help="DEBUG shows the traceback of an error")
        flags.set_defaults(work=step.work)
    return parser
