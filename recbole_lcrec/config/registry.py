"""Which models and which parameters exist: this package's and RecBole's.

Knows where models, trainers and property files are, and lists them by reading RecBole's folder, without importing
RecBole. Imports a model only when its class is asked for. Refuses to know the values of parameters.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from recbole_lcrec.config.resources import properties_dir
from recbole_lcrec.config.settings import known_keys as settings_keys
from recbole_lcrec.config.values import did_you_mean, read_yaml
from recbole_lcrec.runtime.errors import RunAborted

__all__ = [
    "FEATURE_KEYS",
    "OWN_MODELS",
    "check_model_name",
    "feature_key",
    "get_model",
    "get_trainer",
    "known_keys",
    "model_names",
    "recbole_dir",
    "register",
]

OWN_MODELS = {"LCRec": ("recbole_lcrec.models.lcrec.model", "LCRec")}
FEATURE_KEYS = ("selected_features", "item_attribute")
"""The keys by which RecBole's models name the item features that they read."""
_OWN_TRAINERS = {"LCRec": ("recbole_lcrec.models.lcrec.trainer", "LCRecTrainer")}
_OWN_DATASETS = {"LCRec": ("recbole_lcrec.models.lcrec.dataset", "LCRecDataset")}

# Keys that RecBole reads although no property file gives them: of every run, and of its own models' training.
_EVERY_RUN = frozenset({"model", "dataset", "encoding", "tail_ratio"})
_RECBOLE_TRAINING = frozenset({"reg_weight", "mask_ratio", "ft_ratio", "eta", "beta", "kge_interval", "save_step"})


def recbole_dir() -> Path:
    """RecBole's installed source folder, found without importing RecBole.

    Raises:
        RunAborted: RecBole is not installed.
    """
    spec = find_spec("recbole")
    if spec is None or not spec.submodule_search_locations:
        raise RunAborted("RecBole is not installed; install it with: pip install recbole==1.2.1")
    return Path(next(iter(spec.submodule_search_locations)))


@cache
def _recbole_sources() -> dict[str, Path]:
    """Model name -> its source file. RecBole's rule: a model's module is its name in lower case."""
    sources = {}
    for path in sorted(recbole_dir().glob("model/*_recommender/*.py")):
        for name in re.findall(r"^class (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            if name.lower() == path.stem:
                sources[name] = path
    return sources


def model_names() -> list[str]:
    """Every model that can be run: this package's, then RecBole's in alphabetical order."""
    return [*OWN_MODELS, *sorted(_recbole_sources())]


def check_model_name(name: str) -> None:
    """Refuses a model that does not exist.

    Raises:
        ValueError: it does not; the message names the nearest that do.
    """
    names = model_names()
    if name not in names:
        hint = did_you_mean(name, names, limit=3) or "; it is LCRec or a model of RecBole, such as SASRec, GRU4Rec, Pop"
        raise ValueError(f"unknown model {name!r}{hint}")


def get_model(name: str) -> type:
    """The class of a model.

    Raises:
        ValueError: no such model, or a package that it needs is not installed.
    """
    check_model_name(name)
    if name in OWN_MODELS:
        return _resolve(OWN_MODELS[name])
    try:
        return import_module("recbole.utils").get_model(name)
    except ModuleNotFoundError as err:
        raise ValueError(f"model {name} needs the package {err.name!r}, which is not installed") from err


def get_trainer(model_type: Any, name: str) -> type:
    """The trainer class of a model; RecBole's rule for RecBole's models.

    Args:
        model_type: RecBole's ``ModelType``.
        name: the model's name.
    """
    if name in _OWN_TRAINERS:
        return _resolve(_OWN_TRAINERS[name])
    return import_module("recbole.utils").get_trainer(model_type, name)


def register() -> None:
    """Puts this package's data sets and trainers where RecBole's ``create_dataset`` and ``get_trainer`` look.

    Calling it again changes nothing.
    """
    for package, owned in (("recbole.data.dataset", _OWN_DATASETS), ("recbole.trainer", _OWN_TRAINERS)):
        for place in owned.values():
            setattr(import_module(package), place[1], _resolve(place))


@cache
def known_keys(model: str, dataset: str = "") -> frozenset[str]:
    """Every parameter that has a meaning for a model on a data set.

    These are the keys of RecBole's and this package's property files, of RecBole's lists of arguments, and those that
    the model's source reads.

    Raises:
        ValueError: no such model.
    """
    check_model_name(model)
    theirs, ours = recbole_dir() / "properties", properties_dir()
    files = [
        theirs / "overall.yaml",
        theirs / "dataset/sample.yaml",
        ours / "overall.yaml",
        *sorted((theirs / "quick_start_config").glob("*.yaml")),
        *(
            folder / f"{kind}/{name}.yaml"
            for folder in (theirs, ours)
            for kind, name in (("model", model), ("dataset", dataset or "sample"))
        ),
    ]
    keys = {key for path in files if path.is_file() for key in read_yaml(path)} | _EVERY_RUN | _recbole_arguments()
    keys.difference_update(key for key in FEATURE_KEYS if key != feature_key(model))  # a data set names both
    if model in OWN_MODELS:
        return frozenset(keys.union(settings_keys()))
    source = _recbole_sources()[model].read_text(encoding="utf-8")
    return frozenset(keys.union(_RECBOLE_TRAINING, re.findall(r"""config\[\s*["'](\w+)["']\s*\]""", source)))


@cache
def feature_key(model: str) -> str | None:
    """The key by which a model of RecBole names the item features that it reads; None for models that read none."""
    path = _recbole_sources().get(model)
    source = path.read_text(encoding="utf-8") if path else ""
    return next((key for key in FEATURE_KEYS if re.search(rf"""config\[\s*["']{key}["']""", source)), None)


@cache
def _recbole_arguments() -> frozenset[str]:
    """The lists in RecBole's ``argument_list.py``, read without importing it."""
    tree = ast.parse((recbole_dir() / "utils/argument_list.py").read_text(encoding="utf-8"))
    lists = [ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign)]
    return frozenset(key for keys in lists for key in keys)


def _resolve(place: tuple[str, str]) -> type:
    return getattr(import_module(place[0]), place[1])
