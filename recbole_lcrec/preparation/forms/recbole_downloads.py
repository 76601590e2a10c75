"""Data sets that RecBole offers to download, fetched and put where it looks for them.

Knows RecBole's list of addresses and how its archives are packed. Refuses to know what the files hold.

RecBole fetches them itself when a data set is missing, in one go and after a question on the screen; here a fetch is
resumed after a break, and its files are there all at once or not at all.
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
from recbole_lcrec.preparation.forms.placing import placed

__all__ = ["download_recbole", "recbole_addresses"]

_SUFFIXES = (".inter", ".item", ".user", ".kg", ".link", ".net")


@cache
def recbole_addresses() -> dict[str, str]:
    """Name of a data set -> address of its archive, as RecBole lists them."""
    recbole = find_spec("recbole")
    if recbole is None or not recbole.submodule_search_locations:
        return {}
    listed = read_yaml(Path(recbole.submodule_search_locations[0]) / "properties" / "dataset" / "url.yaml")
    return {str(name): str(address) for name, address in listed.items()}


def download_recbole(
    name: str, folder: Path, mirror: str | None = None, proxy: str | None = None, show_progress: bool = True
) -> list[Path]:
    """Fetches one of RecBole's data sets and unpacks its atomic files.

    Args:
        name: one of :func:`recbole_addresses`.
        folder: ``dataset/<name>``; made when absent. The archive goes once its files are there.
        mirror: address that takes the publisher's place, with the same folders below it.
        proxy: address of a proxy; by default what the environment names.
        show_progress: whether a bar shows the bytes.

    Returns:
        The atomic files.

    Raises:
        ValueError: the archive is damaged or encrypted, holds no interactions or two files of one kind, or the folder
            holds a data set already or cannot be written to.
        DownloadError: the archive could not be fetched; names its address and the folder to put it in.
        OSError: the disk is full; what was half written is gone.
    """
    address = recbole_addresses()[name]
    path = urlsplit(address).path
    archive = folder / "raw" / PurePosixPath(path).name
    if mirror:
        address = f"{mirror.rstrip('/')}{path}"
    with placed(name, folder) as target:
        download(address, archive, proxy=proxy, show_progress=show_progress)
        _unpack(archive, name, target)
        files = [folder / file.name for file in target.iterdir()]
    archive.unlink()
    return sorted(files)


def _unpack(archive: Path, name: str, target: Path) -> None:
    """Writes the archive's atomic files under the data set's name; folders inside the archive are passed over."""
    try:
        with zipfile.ZipFile(archive) as packed:
            members = _by_suffix(archive, name, packed.namelist())
            for suffix in filter(members.__contains__, _SUFFIXES):
                with packed.open(members[suffix]) as source, (target / f"{name}{suffix}").open("wb") as stream:
                    shutil.copyfileobj(source, stream)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as err:  # the last: encrypted, unknown packing
        raise ValueError(f"{archive} is no whole archive ({err}); remove it to have it fetched again") from err
    if ".inter" not in members:
        raise ValueError(f"{archive} holds no interactions, but {', '.join(sorted(members.values())) or 'nothing'}")


def _by_suffix(archive: Path, name: str, members: list[str]) -> dict[str, str]:
    """Suffix -> member of the archive; folders and what macOS puts beside files are passed over."""
    found: dict[str, str] = {}
    for member in members:
        path = PurePosixPath(member)
        if member.endswith("/") or "__MACOSX" in path.parts or path.name.startswith("._"):
            continue
        if path.suffix in found and path.suffix in _SUFFIXES:
            raise ValueError(
                f"{archive} holds both {found[path.suffix]} and {member}; unpack it by hand and put the right one into "
                f"{archive.parents[1]} as {name}{path.suffix}"
            )
        found[path.suffix] = member
    return found
