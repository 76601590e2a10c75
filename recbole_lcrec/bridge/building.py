"""Building of a run from its configuration: checked inputs, data set, loaders and an untrained model."""

from __future__ import annotations

from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole.utils import init_seed

from recbole_lcrec.bridge.loading import create_dataset, data_preparation
from recbole_lcrec.bridge.required_features import require_features
from recbole_lcrec.config.registry import get_trainer, model_class, model_part, spec_of
from recbole_lcrec.preparation.locate import prepare_data_files, require_dataset

__all__ = ["BuiltRun", "build_model", "build_run", "build_trainer", "require_inputs"]


@dataclass(frozen=True, eq=False)
class BuiltRun:
    """Data and model of a run.

    Attributes:
        model: the model on the configured device, untrained.
        dataset: RecBole's data set, or an instance of the model's own class.
        train_data, valid_data, test_data: RecBole's loaders of the three splits.
    """

    model: Any
    dataset: Any
    train_data: Any
    valid_data: Any
    test_data: Any


def require_inputs(config: Any) -> None:
    """Check, before anything is loaded, that the data set and each file that the model needs exist.

    Args:
        config: a :class:`recbole_lcrec.config.Config`.

    Raises:
        ValueError: something is missing.
    """
    require_dataset(config)
    spec = spec_of(config["model"])
    if spec.feature_key:
        prepare_data_files(config)  # other forms become atomic files, whose item file is checked
        require_features(config)
    check_inputs = model_part(spec, "check_inputs")
    if check_inputs is not None:
        check_inputs(config)


def build_run(config: Any) -> BuiltRun:
    """Load the data and build the untrained model, each from the configured seed.

    Args:
        config: a :class:`recbole_lcrec.config.Config`.
    """
    logger = getLogger()
    logger.info(config)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    logger.info(dataset)
    train_data, valid_data, test_data = data_preparation(config, dataset)
    init_seed(config["seed"], config["reproducibility"])
    build = spec_of(config["model"]).part("build") or build_model
    model = build(config, train_data)
    logger.info(model)
    return BuiltRun(model, dataset, train_data, valid_data, test_data)


def build_model(config: Any, train_data: Any) -> Any:
    """Build a model on the configured device.

    Args:
        config: a :class:`recbole_lcrec.config.Config`.
        train_data: the loader of the training rows.
    """
    return model_class(config)(config, train_data._dataset).to(config["device"])


def build_trainer(config: Any, model: Any, saved_model_file: Path | None = None) -> Any:
    """Build the trainer of a model.

    Args:
        config: a :class:`recbole_lcrec.config.Config`.
        model: the model built from ``config``.
        saved_model_file: where the trainer saves the model; None: the trainer's own name, by model and time.
    """
    trainer = get_trainer(config["MODEL_TYPE"], config.model)(config, model)
    if saved_model_file is not None:
        trainer.saved_model_file = str(saved_model_file)
    return trainer
