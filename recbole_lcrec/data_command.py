"""Amazon's data sets fetched and prepared: the command ``python -m recbole_lcrec.data``.

Knows its flags and where raw and prepared files go. Refuses to know addresses and file formats. Loads what it needs
only when work begins.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from recbole_lcrec.quick_start import reported

__all__ = ["main"]

_EPILOG = """
Raw files lie in DATA_PATH/NAME/raw. A run prepares them itself, once, and finds the result again; prepare writes
NAME.inter and NAME.item beside them, for RecBole as it is.

examples:
  python -m recbole_lcrec.data download Games
  python -m recbole_lcrec.data download Video_Games --edition=2023 --proxy=http://proxy:3128
  python -m recbole_lcrec.data prepare Games --data_path=dataset
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command.

    Args:
        argv: flags without the program's name; None: those of the process.

    Returns:
        0, or 2 after a mistake in flags or data, which is told in one line.
    """
    flags = sys.argv[1:] if argv is None else argv
    return reported(partial(_prepared, flags), flags)


def _prepared(flags: Sequence[str]) -> Callable[[], Any]:
    parser = _parser()
    options = parser.parse_args(list(flags))
    if options.step == "prepare" and (options.mirror or options.proxy):
        parser.error("--mirror and --proxy are for download; prepare fetches nothing")
    return partial(_work, options)


def _work(options: argparse.Namespace) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    amazon = import_module("recbole_lcrec.data.amazon")
    folder = Path(options.data_path) / options.name
    if options.step == "download":
        files = amazon.download_amazon(
            options.name, folder / "raw", options.edition or "2018", options.category, options.mirror, options.proxy
        )
        logging.getLogger().info("\n".join(f"{path}: {path.stat().st_size:,} bytes" for path in files))
    else:
        amazon.prepare_amazon(options.name, folder / "raw", folder, options.edition, options.category)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m recbole_lcrec.data",
        description="Fetch and prepare the Amazon review data sets of the paper, and others of their kind.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("step", choices=["download", "prepare"], help="what to do")
    parser.add_argument("name", help="Games, Instruments, Arts, or a category of Amazon such as Toys_and_Games")
    parser.add_argument("--data_path", default="dataset", metavar="FOLDER", help="holds a folder for each data set")
    parser.add_argument("--edition", choices=["2018", "2023"], help="of the reviews; 2018 is the paper's")
    parser.add_argument("--category", metavar="NAME", help="Amazon's category, where the name does not say it")
    parser.add_argument("--mirror", metavar="ADDRESS", help="takes the publisher's place")
    parser.add_argument("--proxy", metavar="ADDRESS", help="of a proxy; else the environment's")
    parser.add_argument("--state", metavar="LEVEL", help="DEBUG shows where a mistake was found")
    return parser
