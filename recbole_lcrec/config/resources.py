"""Paths of the property files, in an installed wheel or a source checkout."""

from __future__ import annotations

from pathlib import Path

from recbole_lcrec.runtime.errors import RunAborted

__all__ = ["properties_dir"]

_PACKAGE = Path(__file__).resolve().parents[1]


def properties_dir(package: Path = _PACKAGE) -> Path:
    """Return the folder of property files (``model``, ``dataset``, ``instructions``, ``deepspeed``).

    Args:
        package: folder of the ``recbole_lcrec`` package.

    Returns:
        ``<package>/properties`` of an installed wheel, else ``<package>/../properties`` of a source checkout.

    Raises:
        RunAborted: neither folder exists.
    """
    places = (package / "properties", package.parent / "properties")
    for place in places:
        if (place / "model").is_dir():
            return place
    raise RunAborted(
        f"the property files of recbole_lcrec are in neither {places[0]} nor {places[1]}; "
        "install the package again (pip install --force-reinstall .)"
    )
