"""The parameters that a model knows: keys of its property file, of the stages it reads, and RecBole's own."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from recbole_lcrec.config.model_spec import ModelSpec
from recbole_lcrec.config.registry import FEATURE_KEYS, recbole_dir, recbole_source, spec_of
from recbole_lcrec.config.resources import properties_dir
from recbole_lcrec.config.settings import keys_of
from recbole_lcrec.config.values import read_yaml

__all__ = ["known_keys", "property_file", "stage_files"]

# Keys that RecBole reads although no property file has them: in every run, and in its trainers.
_EVERY_RUN = frozenset({"model", "dataset", "encoding", "tail_ratio"})
_RECBOLE_TRAINING = frozenset({"reg_weight", "mask_ratio", "ft_ratio", "eta", "beta", "kge_interval", "save_step"})


def property_file(spec: ModelSpec) -> Path:
    """Return the path of a model's property file.

    Raises:
        ValueError: the file does not exist, and the model is not one of RecBole's (some of which have none).
    """
    path = Path(spec.property_file)
    path = path if path.is_absolute() else properties_dir() / path
    if not path.is_file() and not recbole_source(spec.name):
        raise ValueError(
            f"model {spec.name}: its property file {path} does not exist; reinstall the package that provides the "
            "model, or correct the path in its ModelSpec"
        )
    return path


def stage_files(spec: ModelSpec) -> list[Path]:
    """Return the files with the defaults of the shared stages that a model reads."""
    return [properties_dir() / stage.default_file for stage in spec.part("settings") or () if stage.default_file]


def known_keys(label: str, dataset: str = "") -> frozenset[str]:
    """Return every parameter that a model on a data set can take.

    These are the keys of RecBole's and this package's property files, of the model's own file, of the stages that it
    reads, of RecBole's argument lists, and, for a model of RecBole, those that its source reads.

    Args:
        label: the model's name, or the label of a variant.
        dataset: the data set's name.

    Raises:
        ValueError: there is no such model.
    """
    return _known_keys(spec_of(label), dataset)


@cache
def _known_keys(spec: ModelSpec, dataset: str) -> frozenset[str]:
    theirs, ours = recbole_dir() / "properties", properties_dir()
    files = [
        theirs / "overall.yaml",
        theirs / "dataset/sample.yaml",
        ours / "overall.yaml",
        *sorted((theirs / "quick_start_config").glob("*.yaml")),
        *stage_files(spec),
        property_file(spec),
        *(
            folder / f"{kind}/{name}.yaml"
            for folder in (theirs, ours)
            for kind, name in (("model", spec.name), ("dataset", dataset or "sample"))
        ),
    ]
    keys = {key for path in files if path.is_file() for key in read_yaml(path)} | _EVERY_RUN | _recbole_arguments()
    keys.difference_update(key for key in FEATURE_KEYS if key != spec.feature_key)  # a data set names both
    stages = spec.part("settings")
    if stages is not None:
        return frozenset(keys.union(keys_of(stages)))
    source = recbole_source(spec.name)
    return frozenset(keys.union(_RECBOLE_TRAINING, re.findall(r"""config\[\s*["'](\w+)["']\s*\]""", source)))


@cache
def _recbole_arguments() -> frozenset[str]:
    """Return the keys in RecBole's ``argument_list.py``, read without importing it."""
    tree = ast.parse((recbole_dir() / "utils/argument_list.py").read_text(encoding="utf-8"))
    lists = [ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign)]
    return frozenset(key for keys in lists for key in keys)
