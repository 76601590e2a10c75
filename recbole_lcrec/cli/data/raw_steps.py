"""Steps ``download`` and ``prepare`` of the data command.

Fetch public data, and prepare Amazon's raw files.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from recbole_lcrec.cli.data.step import Step
from recbole_lcrec.config.values import did_you_mean

__all__ = ["DOWNLOAD", "PREPARE"]

_KINDS = ("ratings", "metadata", "reviews")


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="Games, Instruments, Arts, or an Amazon category such as Toys_and_Games")
    parser.add_argument("--edition", choices=["2018", "2023"], help="edition of the reviews; 2018 is the paper's")
    parser.add_argument("--category", metavar="NAME", help="Amazon's category, if it differs from the name")


def _add_download(parser: argparse.ArgumentParser) -> None:
    _add_name(parser)
    parser.add_argument(
        "--kinds",
        metavar="KINDS",
        help=f"which of Amazon's files, separated by commas: {', '.join(_KINDS)} (default: all)",
    )
    parser.add_argument("--mirror", metavar="ADDRESS", help="replaces the publisher's address")
    parser.add_argument("--proxy", metavar="ADDRESS", help="proxy (default: the environment's)")


def _kinds(text: str | None) -> tuple[str, ...]:
    kinds = _KINDS if text is None else tuple(kind.strip() for kind in text.split(","))
    for kind in kinds:
        if kind not in _KINDS:
            raise ValueError(
                f"--kinds: no kind {kind!r}; the kinds are {', '.join(_KINDS)}{did_you_mean(kind, _KINDS)}"
            )
    return kinds


def _download(options: argparse.Namespace) -> None:
    from recbole_lcrec.preparation.amazon.prepare import download_amazon
    from recbole_lcrec.preparation.forms.recbole_downloads import download_recbole, recbole_addresses

    folder, kinds = Path(options.data_path) / options.name, _kinds(options.kinds)
    if options.name in recbole_addresses() and not (options.edition or options.category):
        if options.kinds is not None:
            raise ValueError(
                f"--kinds does not apply to {options.name}, which RecBole offers as one archive; remove it"
            )
        files = download_recbole(options.name, folder, options.mirror, options.proxy)
    else:
        files = download_amazon(
            options.name,
            folder / "raw",
            options.edition or "2018",
            options.category,
            options.mirror,
            options.proxy,
            kinds,
        )
    logging.getLogger().info("\n".join(f"{path}: {path.stat().st_size:,} bytes" for path in files))


def _add_prepare(parser: argparse.ArgumentParser) -> None:
    _add_name(parser)
    parser.add_argument("--keep_untitled", action="store_true", help="keep items that have metadata but no title")
    parser.add_argument("--keep_repeats", action="store_true", help="keep a user's later interactions with an item")
    parser.add_argument("--k", type=int, default=5, metavar="K", help="minimum interactions per user and item (5)")
    parser.add_argument(
        "--bad_line_limit", type=int, default=100, metavar="N", help="broken lines that may be skipped (100)"
    )


def _prepare(options: argparse.Namespace) -> None:
    from recbole_lcrec.preparation.amazon.prepare import AmazonOptions, prepare_amazon

    amazon_options = AmazonOptions(
        k_user=options.k,
        k_item=options.k,
        keep_repeats=options.keep_repeats,
        keep_untitled=options.keep_untitled,
        bad_line_limit=options.bad_line_limit,
    )
    folder = Path(options.data_path) / options.name
    prepare_amazon(options.name, folder / "raw", folder, options.edition, options.category, amazon_options)


DOWNLOAD = Step(
    "download",
    "download Amazon's raw files, or a data set that RecBole offers",
    "Download the raw files of an Amazon data set into DATA_PATH/NAME/raw; the first run prepares them, and needs\n"
    "no reviews if there are ratings. Or download one of RecBole's data sets, under RecBole's name, into\n"
    "DATA_PATH/NAME.",
    "  python -m recbole_lcrec.data download Games\n"
    "  python -m recbole_lcrec.data download amazon-video-games-18\n"
    "  python -m recbole_lcrec.data download Video_Games --edition=2023 --kinds=ratings,metadata\n"
    "  python -m recbole_lcrec.data download Games --proxy=http://proxy:3128",
    _add_download,
    _download,
)
PREPARE = Step(
    "prepare",
    "convert Amazon's raw files to atomic files, as in the paper",
    "Write NAME.inter and NAME.item beside DATA_PATH/NAME/raw, also for plain RecBole.",
    "  python -m recbole_lcrec.data prepare Games --data_path=dataset",
    _add_prepare,
    _prepare,
)
