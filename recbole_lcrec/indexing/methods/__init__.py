"""Index methods by the names that ``index_method`` takes.

Those of the paper (III-B and Fig. 2), and classes of other packages.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from recbole_lcrec.config.values import did_you_mean, first_line
from recbole_lcrec.indexing.base import IndexMethod
from recbole_lcrec.indexing.methods.random import RandomMethod
from recbole_lcrec.indexing.methods.rqkmeans import RQKMeansMethod
from recbole_lcrec.indexing.methods.rqvae import RQVAEMethod
from recbole_lcrec.indexing.methods.supplement import SupplementMethod
from recbole_lcrec.indexing.methods.vanilla import VanillaMethod

__all__ = ["METHODS", "check_index_method", "index_method", "plugin_digest"]

METHODS: Mapping[str, type[IndexMethod]] = {
    "rqvae": RQVAEMethod,
    "rqkmeans": RQKMeansMethod,
    "vanilla": VanillaMethod,
    "random": RandomMethod,
    "supplement": SupplementMethod,
}
"""Name -> class."""

_AUTO = "auto"


def check_index_method(name: str) -> None:
    """Check a value of ``index_method``: ``auto``, a name in :data:`METHODS`, or ``package.module:Class``.

    Raises:
        ValueError: it is none of these, or names no usable class (see :func:`index_method`).
    """
    if name != _AUTO and name not in METHODS:
        index_method(name)


def index_method(name: str) -> type[IndexMethod]:
    """Return the class of an index method.

    Args:
        name: a name in :data:`METHODS`, or ``package.module:Class`` for a subclass of
            :class:`~recbole_lcrec.indexing.base.IndexMethod` in any importable module.

    Raises:
        ValueError: there is no such method; the module cannot be imported or lacks the name; or it names no complete
            subclass of ``IndexMethod``.
    """
    if name not in METHODS and ":" not in name:
        names = ", ".join(map(repr, (_AUTO, *METHODS)))
        raise ValueError(
            f"index_method = {name!r}: expected one of {names}, or a class of your own as 'package.module:Class'"
            f"{did_you_mean(name, (_AUTO, *METHODS))}"
        )
    return METHODS[name] if name in METHODS else _plugin(name)


def plugin_digest(name: str) -> str | None:
    """SHA-256 of the file that defines a method of another package, so that an edit leads to a new index.

    None for the methods in :data:`METHODS`, and for a class without a source file.
    """
    if name in METHODS:
        return None
    try:
        source = inspect.getsourcefile(index_method(name))
    except TypeError:
        return None
    return hashlib.sha256(Path(source).read_bytes()).hexdigest() if source and Path(source).is_file() else None


def _plugin(place: str) -> type[IndexMethod]:
    module, _, name = place.partition(":")
    if not (module and name):
        raise ValueError(f"index_method = {place!r}: expected 'package.module:Class'")
    try:
        found = import_module(module)
    except ModuleNotFoundError as err:
        raise ValueError(
            f"index_method = {place!r}: the module {module} cannot be imported ({first_line(err)}); install it, or put "
            "its folder on PYTHONPATH"
        ) from err
    except Exception as err:  # whatever the code of another package raises while it is imported
        raise ValueError(
            f"index_method = {place!r}: the module {module} cannot be imported ({type(err).__name__}: "
            f"{first_line(err)}); correct the module"
        ) from err
    kind = getattr(found, name, None)
    if kind is None:
        raise ValueError(
            f"index_method = {place!r}: the module {module} has no name {name!r}; give the name of a subclass of "
            "recbole_lcrec.indexing.base.IndexMethod in it"
        )
    if not (isinstance(kind, type) and issubclass(kind, IndexMethod)):
        raise ValueError(
            f"index_method = {place!r} is not a subclass of recbole_lcrec.indexing.base.IndexMethod; derive the class "
            "from it"
        )
    if inspect.isabstract(kind):
        missing = ", ".join(sorted(kind.__abstractmethods__))
        raise ValueError(f"index_method = {place!r} does not implement {missing}; define them in the class")
    return kind
