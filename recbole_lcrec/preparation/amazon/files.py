"""Names and places of Amazon's raw files: data sets, categories, editions, addresses, expected counts.

Knows ``properties/data/amazon.yaml`` and what lies in a folder. Refuses to know what the files hold, but for the first
line of a table.
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
        interactions: ratings (``.csv``), or reviews where there are no ratings.
        metadata: the items.
        reviews: the reviews; None where there are none.
    """

    name: str
    category: str
    edition: str
    interactions: Path
    metadata: Path
    reviews: Path | None

    def all(self) -> list[Path]:
        """Every file, once."""
        return sorted({self.interactions, self.metadata} | ({self.reviews} if self.reviews else set()))


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch: its address, and its size in bytes and digest (``sha256:<digits>``) where they are known."""

    kind: str
    name: str
    address: str
    size: int | None = None
    digest: str | None = None


def category_of(name: str) -> str:
    """The category that a data set is made of: that of the paper's name, else the name itself.

    Raises:
        ValueError: it can be the name of no category.
    """
    category = _sources()["categories"].get(name, name)
    if not _CATEGORY.fullmatch(category):
        raise ValueError(
            f"{name!r} is no name of an Amazon category, such as Video_Games: letters, digits and '_' only"
        )
    return str(category)


def expected_counts(name: str, edition: str) -> tuple[int, int, int] | None:
    """Users, items and interactions of the paper's Table II; None for a data set that is not in it."""
    counts = _sources()["counts"].get(name) if edition == "2018" else None
    return (counts[0], counts[1], counts[2]) if counts else None


def remote_files(
    name: str, edition: str = "2018", category: str | None = None, mirror: str | None = None
) -> list[RemoteFile]:
    """The ratings, metadata and reviews of a data set, with their addresses.

    Args:
        name: name of the data set.
        edition: ``2018`` or ``2023``.
        category: Amazon's category; by default what :func:`category_of` says.
        mirror: address that takes the place of the publisher's, with the same folders below it.

    Raises:
        ValueError: no such edition, or no name of a category.
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
    """Looks for the raw files of a data set; each may be gzipped or not.

    Interactions come from the ratings where they lie there, as in the paper's preparation, else from the reviews. A
    ``_5`` file of reviews serves as well as the full one: what its publishers left out cannot be in a 5-core.

    Args:
        name: name of the data set.
        folder: where the files are, ``dataset/<name>/raw``.
        edition: ``2018`` or ``2023``; by default what the files themselves tell.
        category: Amazon's category; by default what :func:`category_of` says.
        full_reviews: whether the full file of reviews goes before the ``_5`` one (a core below 5 needs it).

    Returns:
        The files; None when neither ratings nor reviews nor metadata are there.

    Raises:
        ValueError: some of the needed files are there and others are not, or those of both editions are.
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
        raise ValueError(f"{folder} holds files of {category} of both editions; name one by edition, or part them")
    ((edition, (review_file, metadata_file)),) = found.items()
    interactions = (ratings if ratings_edition == edition else None) or review_file
    if interactions is None or metadata_file is None:
        wanted = f"{category}.csv or {names[edition][0][0]}.gz" if interactions is None else f"{names[edition][1]}.gz"
        raise ValueError(f"{folder} holds files of {category} ({edition}), but not {wanted}; put it there as well")
    return RawFiles(name, category, edition, interactions, metadata_file, review_file)


def _sources() -> Mapping[str, Any]:
    return read_yaml(properties_dir() / "data" / "amazon.yaml")


def _first(folder: Path, names: list[str]) -> Path | None:
    paths = (folder / f"{name}{suffix}" for name in names for suffix in ("", ".gz"))
    return next((path for path in paths if path.is_file()), None)


def _edition_of(ratings: Path) -> str:
    """The edition of a table: that of 2023 has a header."""
    first = next((line for _, line in read_lines(ratings)), b"")
    return "2023" if b"parent_asin" in first else "2018"
