"""Download the data sets that RecBole offers, and put them where RecBole looks for them.

RecBole downloads a missing data set itself, in one attempt and after asking on the terminal. Here an interrupted
download is resumed, and the files appear all at once or not at all.
"""

from __future__ import annotations

import shutil
import zipfile
import zlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from recbole_lcrec.config.values import read_yaml
from recbole_lcrec.preparation.download import download
from recbole_lcrec.preparation.forms.staging import staged

__all__ = ["download_recbole", "recbole_addresses"]

_SUFFIXES = (".inter", ".item", ".user", ".kg", ".link", ".net")


@cache
def recbole_addresses() -> dict[str, str]:
    """Return name of a data set -> address of its archive, from RecBole's list."""
    recbole = find_spec("recbole")
    if recbole is None or not recbole.submodule_search_locations:
        return {}
    listed = read_yaml(Path(recbole.submodule_search_locations[0]) / "properties" / "dataset" / "url.yaml")
    return {str(name): str(address) for name, address in listed.items()}


def download_recbole(
    name: str, folder: Path, mirror: str | None = None, proxy: str | None = None, show_progress: bool = True
) -> list[Path]:
    """Download one of RecBole's data sets and extract its atomic files.

    Args:
        name: one of :func:`recbole_addresses`.
        folder: ``dataset/<name>``; created if needed. The archive is removed once its files are extracted.
        mirror: address that replaces the publisher's, with the same paths.
        proxy: address of a proxy; None for the environment's.
        show_progress: whether to show a progress bar.

    Returns:
        The atomic files.

    Raises:
        ValueError: the archive is damaged or encrypted, contains no interactions or two files of one kind, or the
            folder contains a data set already or is not writable.
        DownloadError: the archive could not be downloaded; names its address and the folder to put it in.
        OSError: the disk is full; partial files have been removed.
    """
    address = recbole_addresses()[name]
    path = urlsplit(address).path
    archive = folder / "raw" / PurePosixPath(path).name
    if mirror:
        address = f"{mirror.rstrip('/')}{path}"
    with staged(name, folder) as target:
        download(address, archive, proxy=proxy, show_progress=show_progress)
        _unpack(archive, name, target)
        files = [folder / file.name for file in target.iterdir()]
    archive.unlink()
    return sorted(files)


def _unpack(archive: Path, name: str, target: Path) -> None:
    """Extract the archive's atomic files under the data set's name; folders inside the archive are ignored."""
    try:
        with zipfile.ZipFile(archive) as archived:
            members = _by_suffix(archive, name, archived.namelist())
            for suffix in filter(members.__contains__, _SUFFIXES):
                with archived.open(members[suffix]) as source, (target / f"{name}{suffix}").open("wb") as stream:
                    shutil.copyfileobj(source, stream)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        RuntimeError,
    ) as err:  # RuntimeError: encrypted, or unknown compression
        raise ValueError(f"{archive} is not a complete archive ({err}); remove it to download it again") from err
    if ".inter" not in members:
        raise ValueError(f"{archive} contains no interactions, but {', '.join(sorted(members.values())) or 'nothing'}")


def _by_suffix(archive: Path, name: str, members: list[str]) -> dict[str, str]:
    """Return suffix -> member of the archive; folders and macOS metadata are skipped."""
    found: dict[str, str] = {}
    for member in members:
        path = PurePosixPath(member)
        if member.endswith("/") or "__MACOSX" in path.parts or path.name.startswith("._"):
            continue
        if path.suffix in found and path.suffix in _SUFFIXES:
            raise ValueError(
                f"{archive} contains both {found[path.suffix]} and {member}; extract it by hand and put the right one "
                f"into {archive.parents[1]} as {name}{path.suffix}"
            )
        found[path.suffix] = member
    return found
