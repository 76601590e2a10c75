"""Registry of models: this package's, those of other packages and of scripts, and RecBole's.

Other packages offer their models under the entry point group ``recbole_lcrec.models``: the names are read from
metadata, and a package is imported only when one of its models is requested. RecBole's models are found by reading its
folder. ``known_keys.py`` says which parameters a model takes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from recbole_lcrec.config.model_spec import ModelSpec, resolve
from recbole_lcrec.config.values import did_you_mean, first_line
from recbole_lcrec.runtime.errors import RunAborted

__all__ = [
    "ENTRY_POINTS",
    "FEATURE_KEYS",
    "expose_to_recbole",
    "get_model",
    "get_trainer",
    "model_class",
    "model_names",
    "model_part",
    "recbole_dir",
    "recbole_source",
    "register_model",
    "registered_names",
    "spec_of",
]

ENTRY_POINTS = "recbole_lcrec.models"
"""The entry point group under which other packages offer a :class:`ModelSpec`."""

FEATURE_KEYS = ("selected_features", "item_attribute")
"""Keys of RecBole's models that name the item features to read."""

_OWN = (
    "recbole_lcrec.models.lcrec.spec:SPEC",
    "recbole_lcrec.models.counting.spec:COVISIT",
    "recbole_lcrec.models.counting.spec:TEXT_KNN",
    "recbole_lcrec.models.counting.spec:COVISIT_TEXT",
    "recbole_lcrec.models.s3rec.spec:SPEC",
    "recbole_lcrec.models.sasrec_bce.spec:SPEC",
    "recbole_lcrec.models.esasrec.spec:SPEC",
    "recbole_lcrec.models.fmlprec.spec:SPEC",
)
_REGISTERED: dict[str, ModelSpec] = {}
_VARIANT = re.compile(r"(\w+)-[\w-]*\w")

Model = TypeVar("Model", bound=type)


def recbole_dir() -> Path:
    """Return RecBole's installed source folder, found without importing RecBole.

    Raises:
        RunAborted: RecBole is not installed.
    """
    spec = find_spec("recbole")
    if spec is None or not spec.submodule_search_locations:
        raise RunAborted("RecBole is not installed; install it with: pip install recbole==1.2.1")
    return Path(next(iter(spec.submodule_search_locations)))


def register_model(property_file: str | Path, **parts: Any) -> Callable[[Model], Model]:
    """Return a class decorator that registers a model defined in a script.

    Args:
        property_file: path of a YAML file with a default for each of the model's keys; relative to the folder of the
            script that defines the model.
        parts: the other fields of :class:`ModelSpec`.

    Returns:
        A decorator that returns the class itself; the model's name is the class's.

    Raises:
        ValueError: another model has the same name.
    """

    def register(model: Model) -> Model:
        script = getattr(sys.modules.get(model.__module__), "__file__", None)
        folder = Path(script).resolve().parent if script else Path.cwd()
        spec = ModelSpec(model.__name__, model, folder / property_file, **parts)
        before = _REGISTERED.get(spec.name)
        again = before is not None and _same_class(before.model, model)
        if not again and spec.name in model_names():
            raise ValueError(f"model {spec.name!r} exists already; rename the class that is being registered")
        _REGISTERED[spec.name] = spec
        return model

    return register


def _same_class(one: Any, other: type) -> bool:
    """Return whether one class is a redefinition of the other, as when a notebook cell is run twice."""
    return isinstance(one, type) and (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)


@dataclass(frozen=True)
class _Offer:
    """A model that another package offers; ``package`` is the name of its distribution."""

    package: str
    point: EntryPoint


@cache
def _offers() -> dict[str, list[_Offer]]:
    """Return model name -> packages that offer it, read from metadata only."""
    found: dict[str, list[_Offer]] = {}
    for point in entry_points(group=ENTRY_POINTS):
        package = point.dist.name if point.dist is not None else point.value
        offers = found.setdefault(point.name, [])
        if all((offer.package, offer.point.value) != (package, point.value) for offer in offers):
            offers.append(_Offer(package, point))
    return {name: sorted(offers, key=lambda offer: offer.package) for name, offers in found.items()}


@cache
def _own_specs() -> dict[str, ModelSpec]:
    return {spec.name: spec for spec in map(resolve, _OWN)}


@cache
def _recbole_sources() -> dict[str, Path]:
    """Return model name -> source file. RecBole's rule: a model's module is its name in lower case."""
    sources = {}
    for path in sorted(recbole_dir().glob("model/*_recommender/*.py")):
        for name in re.findall(r"^class (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            if name.lower() == path.stem:
                sources[name] = path
    return sources


def recbole_source(name: str) -> str:
    """Return the source text of a model of RecBole; empty for all other models."""
    path = _recbole_sources().get(name)
    return path.read_text(encoding="utf-8") if path is not None else ""


def registered_names() -> list[str]:
    """Return the models that are not RecBole's: this package's, then those of other packages and scripts."""
    others = sorted({*_offers(), *_REGISTERED} - set(_own_specs()))
    return [*_own_specs(), *others]


def model_names() -> list[str]:
    """Return every model that can be run: :func:`registered_names`, then RecBole's in alphabetical order."""
    first = registered_names()
    return [*first, *sorted(set(_recbole_sources()) - set(first))]


def spec_of(label: str) -> ModelSpec:
    """Return the specification of a model; for the label of a variant, that of its model.

    The label of a variant is a model's name, a hyphen and any word: ``SASRec-BCE`` is a variant of ``SASRec``.

    Raises:
        ValueError: there is no such model, two packages offer it, or it cannot be loaded.
    """
    names = model_names()
    variant = _VARIANT.fullmatch(label)
    name = variant[1] if variant and label not in names else label
    if name not in names:
        example = registered_names()[0]
        hint = did_you_mean(name, names, limit=3)
        hint = hint or f"; use {example} or a model of RecBole, such as SASRec, GRU4Rec, Pop (--help lists all)"
        raise ValueError(f"unknown model {label!r}{hint}")
    offers = _offers().get(name, [])
    if name in _own_specs():
        _refuse_duplicates(name, offers, "recbole-lcrec")
        return _own_specs()[name]
    if name in _REGISTERED:
        _refuse_duplicates(name, offers, "this script")
        return _REGISTERED[name]
    if name in _recbole_sources():
        _refuse_duplicates(name, offers, "RecBole")
        return _recbole_spec(name)
    _refuse_duplicates(name, offers[1:], offers[0].package)
    return _offered_spec(name, offers[0])


def _refuse_duplicates(name: str, offers: list[_Offer], first: str) -> None:
    if offers:
        packages = " and ".join([first, *(offer.package for offer in offers)])
        raise ValueError(f"model {name!r} is offered by {packages}: uninstall all but one of them")


def _offered_spec(name: str, offer: _Offer) -> ModelSpec:
    where = f"model {name!r} of the package {offer.package} ({offer.point.value})"
    try:
        spec = offer.point.load()
    except Exception as err:  # another package's code may raise anything; the other models stay usable
        raise ValueError(f"{where} cannot be imported: {first_line(err)}; fix or uninstall the package") from err
    if not isinstance(spec, ModelSpec):
        raise ValueError(f"{where} is a {type(spec).__name__}, but must be a recbole_lcrec.ModelSpec")
    if spec.name != name:
        raise ValueError(f"{where} calls itself {spec.name!r}; its entry point must have the same name")
    return spec


@cache
def _recbole_spec(name: str) -> ModelSpec:
    path, source = _recbole_sources()[name], recbole_source(name)
    read = next((key for key in FEATURE_KEYS if re.search(rf"""config\[\s*["']{key}["']""", source)), None)
    return ModelSpec(
        name,
        f"recbole.model.{path.parent.name}.{path.stem}:{name}",
        f"model/{name}.yaml",  # this package's defaults, if any, override RecBole's
        feature_key=read,
    )


def get_model(label: str) -> type:
    """Import and return the class of a model.

    Raises:
        ValueError: there is no such model, or it or a package that it needs cannot be imported.
    """
    found: type = spec_of(label).part("model")
    return found


def model_class(config: Any) -> type:
    """Return the class of a configured model, looked up by name for a configuration that was read from a pickle."""
    found: type = vars(config).get("model_class") or get_model(config["model"])
    return found


def get_trainer(model_type: Any, label: str) -> Any:
    """Return the trainer class of a model: its own, that of its base class, or the one that RecBole chooses.

    Args:
        model_type: RecBole's ``ModelType``.
        label: the model's name, or the label of a variant.
    """
    spec = spec_of(label)
    return model_part(spec, "trainer") or import_module("recbole.utils").get_trainer(model_type, spec.name)


_CLASS_DEFAULTS = {
    "dataset": "default_dataset",
    "trainer": "default_trainer",
    "value_problems": "value_problems",
    "check_inputs": "check_inputs",
}


def model_part(spec: ModelSpec, field: str) -> Any:
    """Return a part of a specification, or what the model's class (or its base) has for it; None if neither has one.

    Args:
        spec: of the model.
        field: ``dataset``, ``trainer``, ``value_problems`` or ``check_inputs``.
    """
    part = spec.part(field)
    return getattr(spec.part("model"), _CLASS_DEFAULTS[field], None) if part is None else part


def expose_to_recbole(spec: ModelSpec) -> None:
    """Put a model's data set and trainer where RecBole's ``create_dataset`` and ``get_trainer`` look.

    Calling it again changes nothing.
    """
    for package, ending, part in (
        ("recbole.data.dataset", "Dataset", model_part(spec, "dataset")),
        ("recbole.trainer", "Trainer", model_part(spec, "trainer")),
    ):
        if part is not None:
            setattr(import_module(package), spec.name + ending, part)
