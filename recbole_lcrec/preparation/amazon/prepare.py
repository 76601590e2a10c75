"""Prepare Amazon's raw files as RecBole's atomic files, as in the paper (IV-A1).

A user's first interaction with an item counts and later ones are dropped, as in the preparation published by the
paper's authors. Items without metadata or without a title are removed. Times of the 2018 edition are whole days, so
many are equal: ties keep the order of the file. The authors' order within a day is that of a Python set, and cannot be
reproduced.
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
    """Download the raw files of a data set that are not in the folder yet.

    Args:
        name: name of the data set: one of the paper's, or a category.
        folder: ``dataset/<name>/raw``; created if needed.
        edition: ``2018`` or ``2023``.
        category: Amazon's category; by default the one that the name stands for.
        mirror: address that replaces the publisher's.
        proxy: address of a proxy; None for the environment's.
        kinds: which files.
        show_progress: whether to show a progress bar.

    Raises:
        ValueError: the edition or category does not exist, or a file in the folder has another size than expected.
        DownloadError: a file could not be downloaded; names it, its address and the folder to put it in.
        DiskFullError: the disk is full; a partial file that the next call can resume is kept.
    """
    files = [file for file in remote_files(name, edition, category, mirror) if file.kind in kinds]
    return [
        download(file.address, folder / file.name, file.size, file.digest, proxy=proxy, show_progress=show_progress)
        for file in files
    ]


def require_raw(
    name: str, folder: Path, edition: str | None = None, category: str | None = None, full_reviews: bool = False
) -> RawFiles:
    """Find the raw files as :func:`find_raw` does; they must exist.

    Raises:
        ValueError: they do not exist; lists the files, their addresses and the folder to put them in.
    """
    raw = find_raw(name, folder, edition, category, full_reviews)
    if raw is None:
        files = "\n".join(
            f"  {file.name}  from {file.address}" for file in remote_files(name, edition or "2018", category)
        )
        raise ValueError(f"there are no raw files of {name!r} in {folder}. Put these there, or download them:\n{files}")
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
    """Prepare a data set from raw files and put the atomic files into a folder.

    The files are written to a temporary folder and moved when all are complete; ``<name>.inter`` comes last, so a
    folder that contains it contains everything. Other files in the folder are left alone.

    Args:
        name: name of the data set: one of the paper's, or a category.
        folder: folder of the raw files, ``dataset/<name>/raw``.
        out_folder: folder for ``<name>.inter``, ``<name>.item`` and ``<name>.report.json``, such as ``dataset/<name>``.
        edition: ``2018`` or ``2023``; by default inferred from the files.
        category: Amazon's category; by default the one that the name stands for.
        options: options of the preparation; by default the paper's.
        show_progress: whether to show progress bars.

    Raises:
        ValueError: files are missing, damaged or inconsistent, no interaction remains, or the folder is not writable.
        DiskFullError: the disk is full; partial files have been removed.
    """
    options = options or AmazonOptions()
    raw = require_raw(name, folder, edition, category, options.below_five)
    final = out_folder / f"{name}.inter"
    if final.exists() and not (out_folder / f"{name}.{_REPORT}").exists():
        raise ValueError(f"{final} exists already and was not made from raw files; move it away, or use another folder")
    partial = out_folder / f".{name}.preparing"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    except OSError as err:
        raise ValueError(f"{out_folder} is not writable ({err}); use another folder") from err
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
    """Prepare the atomic files as an artifact, once.

    The artifact is named by the raw files' names, sizes and modification times instead of their content: hashing
    gigabytes at every start would take as long as many runs. A file that was only touched is prepared again.

    Raises:
        ValueError, OSError: as in :func:`prepare_amazon`.
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
    """Write ``<name>.inter``, ``<name>.item`` and ``<name>.report.json`` into an existing folder.

    Interactions are written user by user in order of first appearance, each user's in time order, ties in the order of
    the file.

    Raises:
        ValueError: files are damaged or inconsistent, or no interaction remains.
    """
    options, begin = options or AmazonOptions(), perf_counter()
    bad = {path: BadLines(path, options.bad_line_limit) for path in raw.all()}
    metadata = scan_metadata(raw.metadata, raw.edition, bad[raw.metadata], show_progress)
    interactions = read_interactions(raw.interactions, raw.edition, metadata.rows, bad[raw.interactions], show_progress)
    rows, steps, missing = choose(interactions, metadata, options)
    rows = rows[np.lexsort((rows, interactions.times[rows], interactions.users[rows]))]
    kept = np.zeros(len(metadata.rows), dtype=bool)
    kept[[metadata.rows[interactions.item_ids[item]] for item in np.unique(interactions.items[rows]).tolist()]] = True
    write_items(metadata, kept, target / f"{raw.name}.item", show_progress)
    reviews = raw.reviews if options.with_reviews else None
    bad_reviews = None if reviews is None else BadLines(reviews, None) if reviews == raw.interactions else bad[reviews]
    n_reviews = _write_interactions(raw, interactions, rows, target, bad_reviews, show_progress)
    expected = expected_counts(raw.name, raw.edition) if options.as_paper else None
    notes = {
        **{f"broken lines of {path.name}": lines.count for path, lines in bad.items()},
        "duplicate lines of metadata": metadata.duplicates,
        "titles without words or of page source": metadata.page_source,
        **missing,
        "interactions with a review": n_reviews,
    }
    with_untitled = None
    untitled = missing["items without a title"]
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
    """Write the ``.inter`` file.

    Args:
        raw: the raw files.
        interactions: all interactions.
        rows: int64 [R], those to write, in this order.
        target: existing folder.
        reviews: names the file of reviews and records its broken lines; None for no reviews.
        show_progress: whether to show progress bars.

    Returns:
        Number of interactions with a review.
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
    """Format milliseconds as seconds, exactly."""
    whole, rest = divmod(abs(moment), 1000)
    sign = "-" if moment < 0 else ""
    return f"{sign}{whole}.{rest:03d}" if rest else f"{sign}{whole}"
