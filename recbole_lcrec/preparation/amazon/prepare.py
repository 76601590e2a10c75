"""Amazon's raw files as RecBole's atomic files, as the paper prepares them (IV-A1).

Knows the order of the steps and what is written. Refuses to know file formats, addresses and Config.

A user's first interaction with an item counts and later ones do not, as in the preparation that the paper's authors
published. Items without a line of metadata or without a title are removed. Times of the 2018 edition are whole days,
so many are equal: they keep the order of the file. The authors' order within a day is that of a set, and is lost.
"""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from logging import getLogger
from pathlib import Path
from time import perf_counter

import numpy as np
from tqdm import tqdm

from recbole_lcrec.preparation.amazon.choice import AmazonOptions, choose
from recbole_lcrec.preparation.amazon.files import RawFiles, expected_counts, find_raw, remote_files
from recbole_lcrec.preparation.amazon.interactions import Interactions, read_interactions
from recbole_lcrec.preparation.amazon.metadata import scan_metadata, write_items
from recbole_lcrec.preparation.amazon.report import Report
from recbole_lcrec.preparation.amazon.review_texts import TextSpool, read_texts
from recbole_lcrec.preparation.download import download
from recbole_lcrec.preparation.raw_lines import BadLines
from recbole_lcrec.runtime.artifacts import Artifact, ArtifactStore
from recbole_lcrec.runtime.disk_full import disk_full

__all__ = ["AmazonOptions", "amazon_artifact", "download_amazon", "prepare_amazon", "require_raw", "write_amazon"]

_FORM = 1
_REPORT = "report.json"


def download_amazon(
    name: str,
    folder: Path,
    edition: str = "2018",
    category: str | None = None,
    mirror: str | None = None,
    proxy: str | None = None,
    kinds: Sequence[str] = ("ratings", "metadata", "reviews"),
    show_progress: bool = True,
) -> list[Path]:
    """Fetches those raw files of a data set that are not in the folder yet.

    Args:
        name: name of the data set, of the paper or of a category.
        folder: ``dataset/<name>/raw``; made when absent.
        edition: ``2018`` or ``2023``.
        category: Amazon's category; by default the one that the name stands for.
        mirror: address that takes the publisher's place.
        proxy: address of a proxy; by default what the environment names.
        kinds: which files.
        show_progress: whether a bar shows the bytes.

    Raises:
        ValueError: no such edition or category, or a file in the folder is not of the known size.
        DownloadError: a file could not be fetched; names it, its address and the folder to put it in.
        DiskFullError: the disk is full; what came is kept where the next call can go on with it.
    """
    files = [file for file in remote_files(name, edition, category, mirror) if file.kind in kinds]
    return [
        download(file.address, folder / file.name, file.size, file.digest, proxy=proxy, show_progress=show_progress)
        for file in files
    ]


def require_raw(
    name: str, folder: Path, edition: str | None = None, category: str | None = None, full_reviews: bool = False
) -> RawFiles:
    """:func:`find_raw`, but it must be there.

    Raises:
        ValueError: it is not; lists the files, their addresses and the folder to put them in.
    """
    raw = find_raw(name, folder, edition, category, full_reviews)
    if raw is None:
        files = "\n".join(
            f"  {file.name}  from {file.address}" for file in remote_files(name, edition or "2018", category)
        )
        raise ValueError(
            f"no raw files of {name!r} are in {folder}. Put these there, or have them downloaded:\n{files}"
        )
    return raw


def prepare_amazon(
    name: str,
    folder: Path,
    out_folder: Path,
    edition: str | None = None,
    category: str | None = None,
    options: AmazonOptions | None = None,
    show_progress: bool = True,
) -> Report:
    """Prepares a data set from raw files and puts the atomic files into a folder of the user's.

    The files are written beside and moved when all are whole; ``<name>.inter`` comes last, so that a folder that holds
    it holds everything. Other files of the folder are left alone.

    Args:
        name: name of the data set, of the paper or of a category.
        folder: folder of the raw files, ``dataset/<name>/raw``.
        out_folder: takes ``<name>.inter``, ``<name>.item`` and ``<name>.report.json``; may be ``dataset/<name>``.
        edition: ``2018`` or ``2023``; by default what the files tell.
        category: Amazon's category; by default the one that the name stands for.
        options: how; by default as the paper.
        show_progress: whether bars are shown.

    Raises:
        ValueError: files are missing, damaged, or do not go together; nothing is left after the core; or the folder
            cannot be written to.
        DiskFullError: the disk is full; what was half written is gone.
    """
    options = options or AmazonOptions()
    raw = require_raw(name, folder, edition, category, options.below_five)
    final = out_folder / f"{name}.inter"
    if final.exists() and not (out_folder / f"{name}.{_REPORT}").exists():
        raise ValueError(
            f"{final} is there already and was not made from raw files; move it away, or name another folder"
        )
    partial = out_folder / f".{name}.preparing"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    except OSError as err:
        raise ValueError(f"{out_folder} cannot be written to ({err}); name another folder") from err
    try:
        report = write_amazon(raw, partial, options, show_progress)
        final.unlink(missing_ok=True)
        for file in (f"{name}.{_REPORT}", f"{name}.item", final.name):
            os.replace(partial / file, out_folder / file)
    except OSError as err:
        if (full := disk_full(err, out_folder)) is None:
            raise
        raise full from err
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    report.log()
    return report


def amazon_artifact(
    raw: RawFiles, store: ArtifactStore, options: AmazonOptions | None = None, show_progress: bool = True
) -> tuple[Artifact, Report]:
    """The atomic files as an artifact that is made once.

    It is named by the raw files' names, sizes and times of change, not by their content: they are gigabytes, and to
    read them at every start would take as long as many a run. A file that was only touched is prepared again.

    Raises:
        ValueError, OSError: as :func:`prepare_amazon`.
    """
    options = options or AmazonOptions()
    files = [[path.name, (stat := path.stat()).st_size, stat.st_mtime_ns] for path in raw.all()]
    parts = {
        "form": _FORM,
        "name": raw.name,
        "edition": raw.edition,
        "interactions": raw.interactions.name,
        "reviews": raw.reviews.name if raw.reviews else None,
        "files": files,
        "options": asdict(options),
    }

    def build(folder: Path) -> None:
        write_amazon(raw, folder, options, show_progress)

    artifact = store.get_or_build("amazon", parts, build)
    report = Report.load(artifact.path / f"{raw.name}.{_REPORT}")
    getLogger().info(f"{'Reusing' if artifact.reused else 'Prepared'} {raw.name} in {artifact.path}")
    report.log()
    return artifact, report


def write_amazon(
    raw: RawFiles, target: Path, options: AmazonOptions | None = None, show_progress: bool = True
) -> Report:
    """Writes ``<name>.inter``, ``<name>.item`` and ``<name>.report.json`` into an existing folder.

    Interactions stand user by user in the order in which users come up, each user's in time order, equal times in the
    order of the file.

    Raises:
        ValueError: files are damaged or do not go together, or nothing is left after the core.
    """
    options, begin = options or AmazonOptions(), perf_counter()
    bad = {path: BadLines(path, options.bad_line_limit) for path in raw.all()}
    metadata = scan_metadata(raw.metadata, raw.edition, bad[raw.metadata], show_progress)
    interactions = read_interactions(raw.interactions, raw.edition, metadata.rows, bad[raw.interactions], show_progress)
    rows, steps, lacking = choose(interactions, metadata, options)
    rows = rows[np.lexsort((rows, interactions.times[rows], interactions.users[rows]))]
    kept = np.zeros(len(metadata.rows), dtype=bool)
    kept[[metadata.rows[interactions.item_ids[item]] for item in np.unique(interactions.items[rows]).tolist()]] = True
    write_items(metadata, kept, target / f"{raw.name}.item", show_progress)
    reviews = raw.reviews if options.with_reviews else None
    told = None if reviews is None else BadLines(reviews, None) if reviews == raw.interactions else bad[reviews]
    n_reviews = _write_interactions(raw, interactions, rows, target, told, show_progress)
    expected = expected_counts(raw.name, raw.edition) if options.as_paper else None
    notes = {
        **{f"broken lines of {path.name}": lines.count for path, lines in bad.items()},
        "duplicate lines of metadata": metadata.duplicates,
        "titles without words or of page source": metadata.page_source,
        **lacking,
        "interactions with a review": n_reviews,
    }
    with_untitled = None
    untitled = lacking["items without a title"]
    if expected and untitled and not options.keep_untitled and steps[-1].triple() != expected:
        other = AmazonOptions(keep_untitled=True)
        with_untitled = choose(interactions, metadata, other)[1][-1].triple()
    report = Report(raw.name, raw.category, raw.edition, tuple(steps), expected, with_untitled, notes)
    report.save(target / f"{raw.name}.{_REPORT}")
    getLogger().info(f"{raw.name}: prepared in {perf_counter() - begin:.1f} s")
    return report


def _write_interactions(
    raw: RawFiles,
    interactions: Interactions,
    rows: np.ndarray,
    target: Path,
    reviews: BadLines | None,
    show_progress: bool,
) -> int:
    """Writes the ``.inter`` file.

    Args:
        raw: the raw files.
        interactions: all interactions.
        rows: int64 [R], those to write, in this order.
        target: existing folder.
        reviews: names the file of reviews and takes its broken lines; None for no reviews.
        show_progress: whether bars are shown.

    Returns:
        How many interactions have a review.
    """
    header = ["user_id:token", "item_id:token", "rating:float", "timestamp:float"]
    with (
        TextSpool(target / f".{raw.name}.texts", len(rows)) as spool,
        (target / f"{raw.name}.inter").open("w", encoding="utf-8", newline="") as stream,
    ):
        found = 0
        if reviews is not None:
            header += ["summary:token_seq", "review:token_seq"]
            found = read_texts(reviews.path, raw.edition, interactions, rows, spool, reviews, show_progress)
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(header)
        for n, row in enumerate(
            tqdm(rows.tolist(), f"{raw.name}.inter", delay=1, leave=False, disable=not show_progress)
        ):
            fields = [
                interactions.user_ids[interactions.users[row]],
                interactions.item_ids[interactions.items[row]],
                f"{interactions.ratings[row]:g}",
                _seconds(int(interactions.times[row])),
            ]
            writer.writerow([*fields, *spool.get(n)] if reviews is not None else fields)
    return found


def _seconds(moment: int) -> str:
    """Milliseconds as seconds, exactly."""
    whole, rest = divmod(abs(moment), 1000)
    sign = "-" if moment < 0 else ""
    return f"{sign}{whole}.{rest:03d}" if rest else f"{sign}{whole}"
