"""Loading of saved runs with data and trained model, from folders of a model's own trainer and from ``.pth`` files."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from recbole_lcrec.bridge.building import BuiltRun, build_run, require_inputs
from recbole_lcrec.bridge.run_log import run_log, warnings_alone
from recbole_lcrec.config.configurator import Config
from recbole_lcrec.config.model_spec import ModelSpec
from recbole_lcrec.config.registry import spec_of
from recbole_lcrec.config.values import first_line
from recbole_lcrec.runs.saved import run_values

__all__ = ["load_folder", "load_pickle", "load_run", "read_run", "rebuild", "spec_of_folder"]

Restore = Callable[[Any], None]


def load_run(model_file: str | Path) -> tuple[Config, BuiltRun]:
    """Load a saved run, ready to be evaluated again.

    Args:
        model_file: a folder, or a ``.pth`` file that RecBole's trainer saved. A ``.pth`` file is a pickle, which can
            run any code when it is read: load only files that you trust.

    Returns:
        The run's configuration, and its data and trained model in evaluation mode.

    Raises:
        ValueError: the path does not exist, a file of the folder is missing, or the model is not installed.
    """
    config, restore = read_run(Path(model_file))
    return config, rebuild(config, restore)


def read_run(path: Path) -> tuple[Config, Restore]:
    """Read the configuration of a saved run, before its data and model are built.

    Returns:
        The configuration, and ``restore(model)``, which loads the weights into a newly built model.

    Raises:
        ValueError: the path does not exist, a file of the folder is missing, or the model is not installed.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist; give a folder or .pth file that a run saved")
    return load_folder(path) if path.is_dir() else load_pickle(path)


def rebuild(config: Config, restore: Restore, logged: bool = True) -> BuiltRun:
    """Build the data and the model of a saved run, with its weights and in evaluation mode.

    Args:
        config: of the run.
        restore: see :func:`read_run`.
        logged: whether to log configuration, data and model, as at the start of a run.
    """
    require_inputs(config)
    with run_log(config) if logged else warnings_alone():
        run = build_run(config)
        restore(run.model)
        run.model.eval()
    return run


def spec_of_folder(folder: Path) -> ModelSpec:
    """Return the specification of the model that saved a folder.

    Raises:
        ValueError: there is no ``config.yaml``, or it names a model that is not installed.
    """
    return _installed(str(run_values(folder).get("model")), folder)


def load_folder(folder: Path) -> tuple[Config, Restore]:
    """Read a folder that a model's own trainer saved, by ``load_folder`` of its specification.

    Returns:
        The configuration, and ``restore(model)``, which loads the weights into a newly built model.

    Raises:
        ValueError: the folder is damaged, or its model is not installed or does not save folders.
    """
    spec = spec_of_folder(folder)
    load = spec.part("load_folder")
    if load is None:
        raise ValueError(f"{folder}: {spec.name} saves a .pth file instead of a folder; give that file")
    config, restore = load(folder)
    return config, restore


def load_pickle(path: Path) -> tuple[Config, Restore]:
    """Read a checkpoint of RecBole's trainer, a pickle that can run any code: read only files that you trust.

    Returns:
        The configuration, and ``restore(model)``, which loads the weights into a newly built model.

    Raises:
        ValueError: the file is not such a checkpoint, or its model is not installed.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=False)
    except (ImportError, AttributeError) as err:
        raise ValueError(
            f"{path} was saved by a model that is not installed here ({first_line(err)}); install the package that "
            "provides it, or import the script that defines it first"
        ) from err
    except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError) as err:
        raise ValueError(f"{path} cannot be read as a checkpoint: {first_line(err)}") from err
    if not isinstance(checkpoint, dict) or not {"config", "state_dict"} <= set(checkpoint):
        raise ValueError(f"{path} is not a checkpoint of RecBole's trainer: it has no 'config' and 'state_dict'")
    saved = checkpoint["config"]
    _installed(saved["model"], path)
    if isinstance(saved, Config):
        saved.adapt_to_machine()
    elif not torch.cuda.is_available():
        saved["device"] = torch.device("cpu")
    if saved["train_stage"] == "finetune":
        saved["train_stage"] = "pretrain"  # this file has all weights, and the pre-trained file may be gone

    def restore(model: Any) -> None:
        model.load_state_dict(checkpoint["state_dict"])
        model.load_other_parameter(checkpoint.get("other_parameter"))

    return saved, restore


def _installed(name: str, path: Path) -> ModelSpec:
    try:
        return spec_of(name)
    except ValueError as err:
        raise ValueError(
            f"{path} was saved by the model {name!r}, which cannot be loaded: {err}; install the package that provides "
            "it, or import the script that registers it first"
        ) from err
