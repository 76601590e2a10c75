"""Names and locations of Amazon's raw files.

Data sets, categories, editions, addresses, expected counts.

Addresses and counts are in ``properties/data/amazon.yaml``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_lcrec.config.resources import properties_dir
from recbole_lcrec.config.values import did_you_mean, read_yaml
from recbole_lcrec.preparation.raw_lines import read_lines

__all__ = ["EDITIONS", "RawFiles", "RemoteFile", "category_of", "expected_counts", "find_raw", "remote_files"]

EDITIONS = ("2018", "2023")
_CATEGORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]*")


@dataclass(frozen=True)
class RawFiles:
    """The raw files of one data set.

    Attributes:
        name: name of the data set.
        category: Amazon's name of the category.
        edition: ``2018`` or ``2023``.
        interactions: ratings (``.csv``), or reviews if there are no ratings.
        metadata: the items.
        reviews: the reviews; None if there are none.
    """

    name: str
    category: str
    edition: str
    interactions: Path
    metadata: Path
    reviews: Path | None

    def all(self) -> list[Path]:
        """Return all files, each once."""
        return sorted({self.interactions, self.metadata} | ({self.reviews} if self.reviews else set()))


@dataclass(frozen=True)
class RemoteFile:
    """A file to download: its address, and its size in bytes and digest (``sha256:<digits>``) if known."""

    kind: str
    name: str
    address: str
    size: int | None = None
    digest: str | None = None


def category_of(name: str) -> str:
    """Return the category of a data set: for the paper's names its Amazon category, otherwise the name itself.

    Raises:
        ValueError: the name cannot be a category.
    """
    category = _sources()["categories"].get(name, name)
    if not _CATEGORY.fullmatch(category):
        raise ValueError(
            f"{name!r} cannot be an Amazon category, such as Video_Games: use only letters, digits and '_'"
        )
    return str(category)


def expected_counts(name: str, edition: str) -> tuple[int, int, int] | None:
    """Return users, items and interactions from the paper's Table II; None for other data sets."""
    counts = _sources()["counts"].get(name) if edition == "2018" else None
    return (counts[0], counts[1], counts[2]) if counts else None


def remote_files(
    name: str, edition: str = "2018", category: str | None = None, mirror: str | None = None
) -> list[RemoteFile]:
    """Return the ratings, metadata and reviews of a data set, with their addresses.

    Args:
        name: name of the data set.
        edition: ``2018`` or ``2023``.
        category: Amazon's category; by default that of :func:`category_of`.
        mirror: address that replaces the publisher's, with the same paths.

    Raises:
        ValueError: the edition does not exist, or the name cannot be a category.
    """
    if edition not in EDITIONS:
        raise ValueError(f"edition = {edition!r} must be one of {', '.join(EDITIONS)}{did_you_mean(edition, EDITIONS)}")
    sources, category = _sources(), category_of(category or name)
    base = (mirror or sources["bases"][edition]).rstrip("/")
    files = []
    for kind, pattern in sources["files"][edition].items():
        path = pattern.format(category=category)
        file_name = path.rsplit("/", 1)[-1]
        size, digest = sources["checks"].get(file_name, (None, None))
        files.append(RemoteFile(kind, file_name, f"{base}/{path}", size, digest))
    return files


def find_raw(
    name: str, folder: Path, edition: str | None = None, category: str | None = None, full_reviews: bool = False
) -> RawFiles | None:
    """Find the raw files of a data set; each may be gzipped.

    Interactions are read from the ratings if they exist, as in the paper's preparation, otherwise from the reviews. A
    ``_5`` file of reviews is as good as the full one: what its publishers left out cannot be in a 5-core.

    Args:
        name: name of the data set.
        folder: folder of the files, ``dataset/<name>/raw``.
        edition: ``2018`` or ``2023``; by default inferred from the files.
        category: Amazon's category; by default that of :func:`category_of`.
        full_reviews: whether to prefer the full file of reviews over the ``_5`` one (for a core below 5).

    Returns:
        The files; None if there are neither ratings, reviews nor metadata.

    Raises:
        ValueError: only some of the required files exist, or those of both editions do.
    """
    if edition is not None and edition not in EDITIONS:
        raise ValueError(f"edition = {edition!r} must be one of {', '.join(EDITIONS)}")
    category = category_of(category or name)
    reviews_2018 = [f"{category}_5.json", f"{category}.json"]
    names = {
        "2018": (reviews_2018[:: -1 if full_reviews else 1], f"meta_{category}.json"),
        "2023": ([f"{category}.jsonl"], f"meta_{category}.jsonl"),
    }
    ratings = _first(folder, [f"{category}.csv"])
    ratings_edition = _edition_of(ratings) if ratings else None
    found: dict[str, tuple[Path | None, Path | None]] = {}
    for each, (reviews, metadata) in names.items():
        files = _first(folder, reviews), _first(folder, [metadata])
        if edition in (None, each) and (any(files) or ratings_edition == each):
            found[each] = files
    if not found:
        return None
    if len(found) > 1:
        raise ValueError(
            f"{folder} contains files of {category} of both editions; set the edition, or move one to another folder"
        )
    ((edition, (review_file, metadata_file)),) = found.items()
    interactions = (ratings if ratings_edition == edition else None) or review_file
    if interactions is None or metadata_file is None:
        missing = f"{category}.csv or {names[edition][0][0]}.gz" if interactions is None else f"{names[edition][1]}.gz"
        raise ValueError(f"{folder} contains files of {category} ({edition}), but not {missing}; put it there as well")
    return RawFiles(name, category, edition, interactions, metadata_file, review_file)


def _sources() -> Mapping[str, Any]:
    return read_yaml(properties_dir() / "data" / "amazon.yaml")


def _first(folder: Path, names: list[str]) -> Path | None:
    paths = (folder / f"{name}{suffix}" for name in names for suffix in ("", ".gz"))
    return next((path for path in paths if path.is_file()), None)


def _edition_of(ratings: Path) -> str:
    """Return the edition of a ratings table: only that of 2023 has a header."""
    first = next((line for _, line in read_lines(ratings)), b"")
    return "2023" if b"parent_asin" in first else "2018"
