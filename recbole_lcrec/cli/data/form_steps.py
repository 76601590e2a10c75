"""Steps of the data command that convert data sets: ``export``, ``minionerec`` and ``texts``."""

from __future__ import annotations

import argparse
import logging
from importlib.util import find_spec
from pathlib import Path

from recbole_lcrec.cli.data.step import Step

__all__ = ["EXPORT", "MINIONEREC", "TEXTS"]

_COLUMNS = {
    "user": ("user_id", "column of user ids"),
    "item": ("item_id", "column of item ids"),
    "time": ("timestamp", "column of times"),
    "title": (None, "column of titles (title), such as movie_title"),
    "description": (None, "column of descriptions (description, if it exists)"),
    "brand": (None, "column of brands (brand, if it exists)"),
    "categories": (None, "column of categories (categories, if it exists)"),
}


def _folder_of(options: argparse.Namespace) -> Path:
    """Return the data set's folder; RecBole's own copy of ml-100k if the user has none."""
    folder = Path(options.data_path) / options.name
    found = find_spec("recbole") if options.name == "ml-100k" and not folder.exists() else None
    if found is not None and found.submodule_search_locations:
        return Path(found.submodule_search_locations[0]) / "dataset_example" / "ml-100k"
    return folder


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="name of the data set, in any format that a run reads")
    parser.add_argument("--form", choices=["atomic", "published"], required=True, help="what to write")
    parser.add_argument("--out", metavar="FOLDER", required=True, help="the files are written to FOLDER/NAME")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    published = parser.add_argument_group("for --form=published")
    published.add_argument(
        "--index", metavar="FILE", help="index of the items (default: NAME.index.json beside the data)"
    )
    published.add_argument("--user", metavar="FILE", help="intentions (default: NAME.user.json beside the data)")
    published.add_argument("--renumber", action="store_true", help="renumber ids that are whole numbers too")
    for column, (default, text) in _COLUMNS.items():
        published.add_argument(f"--{column}_field", metavar="COLUMN", default=default, help=text)


def _export(options: argparse.Namespace) -> None:
    source, out = _folder_of(options), Path(options.out) / options.name
    if options.form == "atomic":
        given = [f"--{flag}" for flag in ("index", "user", "renumber") if getattr(options, flag)]
        given += [f"--{name}_field" for name, (standard, _) in _COLUMNS.items() if _field(options, name) != standard]
        if given:
            raise ValueError(f"{', '.join(given)}: not used by --form=atomic, which keeps ids and columns; remove them")
        from recbole_lcrec.preparation.export.atomic_export import export_atomic

        paths = export_atomic(options.name, source, out, options.overwrite, show_progress=True)
        logging.getLogger().info("\n".join(f"{path}: {path.stat().st_size:,} bytes" for path in paths))
        return
    from recbole_lcrec.preparation.export.publish import SourceColumns, publish

    counts = publish(
        options.name,
        source,
        out,
        Path(options.index) if options.index else None,
        Path(options.user) if options.user else None,
        options.renumber,
        SourceColumns(
            user=options.user_field,
            item=options.item_field,
            time=options.time_field,
            title=options.title_field,
            description=options.description_field,
            brand=options.brand_field,
            categories=options.categories_field,
        ),
        options.overwrite,
        show_progress=True,
    )
    listed = ", ".join(f"{count:,} {what}" for what, count in counts.items())
    logging.getLogger().info(f"{listed}\nin {out}")


def _field(options: argparse.Namespace, column: str) -> str | None:
    value: str | None = getattr(options, f"{column}_field")
    return value


def _add_minionerec(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="name of the data set to make, DATA_PATH/NAME")
    parser.add_argument(
        "--source", metavar="FOLDER", help="contains train/, valid/, test/ and index/, or train.csv ..."
    )
    parser.add_argument("--category", metavar="NAME", help="prefix of the file names (default: NAME)")
    for split in ("train", "valid", "test"):
        parser.add_argument(f"--{split}", metavar="FILE", help=f"the rows for {split}, instead of --source")
    parser.add_argument("--items", metavar="FILE", help="texts, as in NAME.item.json (default: found in --source)")
    parser.add_argument("--index", metavar="FILE", help="index, as in NAME.index.json (default: found in --source)")
    parser.add_argument("--max_history", type=int, metavar="N", help="length to which histories were cut")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")


def _minionerec(options: argparse.Namespace) -> None:
    from recbole_lcrec.preparation.forms import minionerec_rows as rows
    from recbole_lcrec.preparation.forms.minionerec import convert_minionerec

    single = [Path(path) for path in (options.train, options.valid, options.test) if path]
    if bool(single) == bool(options.source):
        raise ValueError("give either --source, or --train, --valid and --test (those that exist)")
    if options.source:
        found = rows.find_source(Path(options.source), options.category or options.name)
    else:
        found = rows.SourceFiles(tuple(single))
    items = Path(options.items) if options.items else found.items
    index = Path(options.index) if options.index else found.index
    out = Path(options.data_path) / options.name
    convert_minionerec(
        options.name, rows.SourceFiles(found.rows, items, index), out, options.max_history, options.overwrite
    )
    logging.getLogger().info(f"in {out}")


def _add_texts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="name of the data set, such as amazon-video-games-18")
    parser.add_argument("--metadata", metavar="FILE", help="default: meta_<Category>.json.gz in DATA_PATH/NAME/raw")
    parser.add_argument("--edition", choices=["2018", "2023"], help="of the metadata (default: inferred from the name)")
    parser.add_argument("--item_field", metavar="COLUMN", default="item_id", help="column of item ids")
    parser.add_argument("--overwrite", action="store_true", help="replace existing texts")


def _texts(options: argparse.Namespace) -> None:
    from recbole_lcrec.preparation.forms.join_texts import join_texts

    join_texts(
        options.name,
        Path(options.data_path) / options.name,
        Path(options.metadata) if options.metadata else None,
        options.edition,
        options.item_field,
        options.overwrite,
        show_progress=True,
    )


EXPORT = Step(
    "export",
    "write a data set for plain RecBole, or in LC-Rec's published format",
    "Write any data set that a run reads into OUT/NAME: as atomic files for plain RecBole, or in the published\n"
    "format of LC-Rec, with whole numbers as ids (item2id and user2id then contain the original ids).",
    "  python -m recbole_lcrec.data export Games --form=atomic --out=elsewhere\n"
    "  python -m recbole_lcrec.data export shop --form=published --out=published --index=saved/run/shop.index.json\n"
    "  python -m recbole_lcrec.data export ml-100k --form=published --out=published --title_field=movie_title",
    _add_export,
    _export,
)
MINIONEREC = Step(
    "minionerec",
    "convert MiniOneRec's CSV files to atomic files",
    "Reconstruct users' sequences from rows of history and target, with titles and index, and write atomic files\n"
    "into DATA_PATH/NAME. The split of the rows is not kept: a run tests each user's last item.",
    "  python -m recbole_lcrec.data minionerec Office_Products --source=MiniOneRec/data/Amazon\n"
    "  python -m recbole_lcrec.data minionerec shop --train=train.csv --test=test.csv --items=items.json",
    _add_minionerec,
    _minionerec,
)
TEXTS = Step(
    "texts",
    "add Amazon's metadata to a data set without texts",
    "Write DATA_PATH/NAME/NAME.item for the items of NAME.inter, from Amazon's metadata.",
    "  python -m recbole_lcrec.data texts amazon-video-games-18 --metadata=meta_Video_Games.json.gz",
    _add_texts,
    _texts,
)
