"""Where the property files are, in an installed wheel and in a source checkout, and names for a run's folders.

Knows the two places in which the package's ``properties`` folder can stand. Refuses to know what is in the files and
who reads them.
"""

from __future__ import annotations

from pathlib import Path

from recbole_lcrec.runtime.errors import RunAborted

__all__ = ["properties_dir", "unused_path"]

_PACKAGE = Path(__file__).resolve().parents[1]


def properties_dir(package: Path = _PACKAGE) -> Path:
    """Finds the folder of property files (``model``, ``dataset``, ``instructions``, ``deepspeed``).

    Args:
        package: Folder of the ``recbole_lcrec`` package.

    Returns:
        ``<package>/properties`` of an installed wheel, else ``<package>/../properties`` of a source checkout.

    Raises:
        RunAborted: Neither folder exists.
    """
    places = (package / "properties", package.parent / "properties")
    for place in places:
        if (place / "model").is_dir():
            return place
    raise RunAborted(
        f"the property files of recbole_lcrec are in neither {places[0]} nor {places[1]}; "
        "install the package again (pip install --force-reinstall .)"
    )


def unused_path(path: Path) -> Path:
    """The path, with a number behind it when another run that began in the same second has taken it."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate
