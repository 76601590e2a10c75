"""Step ``import`` of the data command: user tables to a data set, with a report."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from recbole_lcrec.cli.data.step import Step

__all__ = ["IMPORT"]


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", nargs="?", help="name of the new data set, for --dataset (default: name of the --interactions file)"
    )
    parser.add_argument(
        "--interactions", required=True, type=Path, metavar="FILE", help="users, items, times: csv, tsv, jsonl, parquet"
    )
    parser.add_argument("--items", type=Path, metavar="FILE", help="items with titles and other fields")
    parser.add_argument(
        "--columns",
        nargs="+",
        action="extend",
        default=[],
        metavar="OURS=THEIRS",
        help="columns of user_id, item_id, timestamp; title, description, brand, categories; rating, review, "
        "summary; or any other field. Columns with these names need no pair. items.item_id=id applies to one table",
    )
    parser.add_argument(
        "--types",
        nargs="+",
        action="extend",
        default=[],
        metavar="FIELD=TYPE",
        help="token, token_seq (text), float or float_seq, if the guess is wrong",
    )
    parser.add_argument(
        "--separator", metavar="SIGN", help="tab, comma, semicolon, pipe or any character (default: detected)"
    )
    parser.add_argument("--encoding", metavar="NAME", help="such as cp1252 or utf-16 (default: UTF-8)")
    parser.add_argument(
        "--no_quotes", action="store_true", help="read double quotes as ordinary characters, as in many tsv files"
    )
    parser.add_argument(
        "--time_format",
        metavar="FORM",
        help="s, ms, us, ns, iso, mixed, or a format such as '%%d.%%m.%%Y %%H:%%M' (default: detected)",
    )
    parser.add_argument(
        "--bad_row_limit", default="1%", metavar="N", help="unusable rows that may be dropped (default: 1%%)"
    )
    parser.add_argument(
        "--reserved_ids",
        metavar="MODE",
        help="ids that RecBole reads as missing, such as NA and null: stop (the default), or mark (written as NA_)",
    )
    parser.add_argument("--odd_ids", help=argparse.SUPPRESS)
    parser.add_argument("--first_only", action="store_true", help="keep only a user's first interaction with an item")
    parser.add_argument("--drop_unknown_items", action="store_true", help="drop interactions with items not in --items")
    for who in ("user", "item"):
        parser.add_argument(
            f"--min_{who}_interactions", type=int, default=0, metavar="N", help=f"drop {who}s with fewer"
        )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a data set of this name, with its index and intentions"
    )


def _reserved_ids(options: argparse.Namespace) -> str:
    """Return the value of ``--reserved_ids``, which the older flag ``--odd_ids`` also sets.

    Raises:
        ValueError: both flags are given.
    """
    mode: str | None = options.reserved_ids
    if options.odd_ids is not None:
        if mode is not None:
            raise ValueError("--odd_ids is an older name of --reserved_ids; give only --reserved_ids")
        logging.getLogger().warning("--odd_ids is deprecated; use --reserved_ids")
        mode = options.odd_ids
    return "stop" if mode is None else mode


def _import(options: argparse.Namespace) -> None:
    from recbole_lcrec.preparation.tables.columns import parse_pairs, parse_types
    from recbole_lcrec.preparation.tables.findings import BadRowLimit
    from recbole_lcrec.preparation.tables.importing import ImportOptions, import_tables, name_of

    import_tables(
        ImportOptions(
            name=name_of(options.interactions) if options.name is None else options.name,
            interactions=options.interactions,
            items=options.items,
            data_path=Path(options.data_path),
            pairs=parse_pairs(options.columns),
            types=parse_types(options.types),
            separator=options.separator,
            encoding=options.encoding,
            quotes=not options.no_quotes,
            time_format=options.time_format,
            bad_row_limit=BadRowLimit(options.bad_row_limit),
            reserved_ids=_reserved_ids(options),
            first_only=options.first_only,
            drop_unknown_items=options.drop_unknown_items,
            min_user_interactions=options.min_user_interactions,
            min_item_interactions=options.min_item_interactions,
            overwrite=options.overwrite,
        )
    )


IMPORT = Step(
    "import",
    "make a data set from your own tables",
    "Check a table of interactions and one of items, and write DATA_PATH/NAME/NAME.inter, NAME.item and a one-page\n"
    "report, NAME.import.html (and .json). docs/own-data.md explains each finding.",
    "  python -m recbole_lcrec.data import --interactions=shop.csv --items=products.csv\n"
    "  python -m recbole_lcrec.data import shop --interactions=orders.csv --items=products.csv \\\n"
    "    --columns user_id=customer item_id=sku timestamp=bought_at title=name description=about",
    _add_flags,
    _import,
)
