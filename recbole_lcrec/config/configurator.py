"""One model's whole configuration: RecBole's ``Config`` with this package's property files and loud errors.

Knows the order in which sources beat each other and what a saved configuration holds. Refuses to read ``sys.argv``
(command-line values are handed in) and to open process groups: under torchrun each process takes its own device and
``transformers`` opens the group.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from recbole.config import Config as RecBoleConfig
from recbole.evaluator import metric_types
from recbole.utils import ModelType

from recbole_lcrec.config import registry, settings
from recbole_lcrec.config.checks import check_beams, check_common_values, check_history, check_stages, values_for_model
from recbole_lcrec.config.item_features import feature_columns, with_feature_columns
from recbole_lcrec.config.resources import properties_dir
from recbole_lcrec.config.values import parse_value, read_yaml, write_yaml
from recbole_lcrec.runtime.processes import from_launcher, process_count, process_rank

__all__ = ["Config"]

# What RecBole's Config derives from other keys; a saved configuration leaves them out, so that they are derived anew.
_DERIVED = frozenset(
    {
        "MODEL_TYPE",
        "MODEL_INPUT_TYPE",
        "eval_type",
        "valid_metric_bigger",
        "valid_neg_sample_args",
        "test_neg_sample_args",
        "device",
        "single_spec",
        "local_rank",
    }
)


class Config(RecBoleConfig):
    """The configuration of one model on one data set.

    Later sources beat earlier ones, key by key (a nested mapping is replaced whole): RecBole's defaults (overall,
    model, sample, data set, quick start), ``properties/overall.yaml``, ``properties/model/<model>.yaml``,
    ``properties/scratch/<scratch_preset>.yaml`` if a later source names one, ``properties/dataset/<dataset>.yaml``,
    ``config_file_list`` in its order, ``config_dict``, ``command_line``. The
    last three may hold ``Model.key``, which reaches that model alone and beats the bare key of the same source.

    Where it departs from RecBole's: ``sys.argv`` is not read; an unknown key or a value out of range is an error;
    ``data_path`` is heeded for ml-100k too when it is given; what a given ``eval_args`` leaves out comes from
    ``properties/overall.yaml`` (RecBole would fall back to a random split); ``train_neg_sample_args`` is None where a
    sequential model's loss is cross entropy, unless it is given; ``repeatable`` follows ``mask_history`` for models
    that are not sequential, because RecBole masks their history by it; ``load_col`` gains the columns that
    ``selected_features`` or ``item_attribute`` name, for models that read them; ``use_gpu: False`` means the CPU; under
    torchrun (``WORLD_SIZE`` above 1) ``CUDA_VISIBLE_DEVICES`` is left alone and the device is ``cuda:LOCAL_RANK``.

    Args:
        model: a model's name or class; None: the sources' ``model``.
        dataset: the data set's name; None: the sources' ``dataset``.
        config_file_list: paths of YAML property files.
        config_dict: parameters; texts among the values are read as on the command line.
        command_line: parameters that beat all others, already read (see ``command_line.parse_command_line``).
        run: every model that is run beside this one; bare keys that only those know are passed over. None: this one.

    Raises:
        ValueError: an unknown model, key or metric, a value of the wrong type or out of range, or a property file that
            cannot be read; everything wrong with the values is in one message.
    """

    def __init__(
        self,
        model: str | type | None = None,
        dataset: str | None = None,
        config_file_list: Sequence[str | Path] | None = None,
        config_dict: Mapping[str, Any] | None = None,
        command_line: Mapping[str, Any] | None = None,
        run: Sequence[str] | None = None,
    ) -> None:
        self._asked = (model, dataset)
        self._command_line = dict(command_line or {})
        self._run = tuple(run or ())
        if isinstance(config_file_list, (str, Path)):
            config_file_list = [config_file_list]
        super().__init__(model, dataset, config_file_list, config_dict)
        if self.model in registry.OWN_MODELS:
            registry.register()

    def _load_config_files(self, file_list: Sequence[str | Path] | None) -> dict[str, Any]:
        self._files = [(str(path), read_yaml(path)) for path in file_list or ()]
        return {key: value for _, values in self._files for key, value in values.items()}

    def _load_variable_config_dict(self, config_dict: Mapping[str, Any] | None) -> dict[str, Any]:
        return {
            key: parse_value(value) if isinstance(value, str) else value for key, value in (config_dict or {}).items()
        }

    def _load_cmd_line(self) -> dict[str, Any]:
        return self._command_line

    def _merge_external_config_dict(self) -> None:
        sources = [
            *self._files,
            ("config_dict", self.variable_config_dict),
            ("command line", self.cmd_config_dict),
        ]
        named = {key: value for _, values in sources for key, value in values.items()}
        asked_model, asked_dataset = self._asked
        model: str | type = asked_model or _named("model", named.get("model"), "LCRec")
        self.dataset: str = asked_dataset or _named("dataset", named.get("dataset"), "ml-100k")
        self.model: str = model if isinstance(model, str) else model.__name__
        self.model_class: type = registry.get_model(model) if isinstance(model, str) else model
        self.external_config_dict: dict[str, Any] = {}
        for source, values in sources:
            run = self._run or (self.model,)
            self.external_config_dict.update(
                values_for_model(values, source, self.model, self.dataset, run, strict=source == "command line")
            )

    def _get_model_and_dataset(self, model: Any, dataset: Any) -> tuple[str, type, str]:
        return self.model, self.model_class, self.dataset

    def _load_internal_config_dict(self, model: str, model_class: type, dataset: str) -> None:
        super()._load_internal_config_dict(model, model_class, dataset)
        columns = self.internal_config_dict.get("load_col") or {}
        ours = properties_dir()
        own_data = ours / f"dataset/{dataset}.yaml"
        data = read_yaml(own_data) if own_data.is_file() else {}
        preset = self.external_config_dict.get("scratch_preset", data.get("scratch_preset"))
        for path in (ours / "overall.yaml", ours / f"model/{model}.yaml", ours / f"scratch/{preset}.yaml"):
            if path.is_file():  # a preset without a file is refused with the other values
                self.internal_config_dict.update(read_yaml(path))
        others = set(registry.FEATURE_KEYS) - {registry.feature_key(model)}
        self.internal_config_dict.update({key: value for key, value in data.items() if key not in others})
        if set(columns) > {"inter"} and not registry.feature_key(
            model
        ):  # RecBole names what this model cannot do without
            self.internal_config_dict["load_col"] = columns

    def _get_final_config_dict(self) -> dict[str, Any]:
        final = super()._get_final_config_dict()
        if isinstance(final["eval_args"], Mapping):
            final["eval_args"] = {**self.internal_config_dict["eval_args"], **final["eval_args"]}
        cross_entropy = final["MODEL_TYPE"] == ModelType.SEQUENTIAL and final.get("loss_type") == "CE"
        if cross_entropy and "train_neg_sample_args" not in self.external_config_dict:
            final["train_neg_sample_args"] = None
        if final["MODEL_TYPE"] != ModelType.SEQUENTIAL and "repeatable" not in self.external_config_dict:
            final["repeatable"] = not final["mask_history"]
        problems: list[str] = []
        try:
            features = feature_columns(self.model, final)
            final["load_col"] = with_feature_columns(final["load_col"], final["ITEM_ID_FIELD"], features)
        except ValueError as err:
            problems.append(str(err))
        own = self.model in registry.OWN_MODELS
        if own and final["learning_rate"] is None:
            final["learning_rate"] = settings.default_learning_rate(final["base_model"])
        problems += check_common_values(final, set(metric_types), skip=settings.known_keys() if own else ())
        if final["MODEL_TYPE"] != ModelType.SEQUENTIAL:
            problems += check_history(final)
        if self.model == "S3Rec":
            problems += check_stages(final)
        if own:
            problems += check_beams(final)
            try:
                settings.check_all(final)
            except ValueError as err:
                problems.append(str(err))
        if problems:
            raise ValueError(f"{self.model}: " + "; ".join(problems))
        if isinstance(final["topk"], tuple):
            final["topk"] = list(final["topk"])
        return final

    def _set_default_parameters(self) -> None:
        root = self.final_config_dict["data_path"]
        super()._set_default_parameters()
        given = self.dataset != "ml-100k" or "data_path" in self.external_config_dict
        self.data_root = root if given else None
        self._set_data_path()

    def _set_data_path(self) -> None:
        root = registry.recbole_dir() / "dataset_example" if self.data_root is None else self.data_root
        self.final_config_dict["data_path"] = os.path.join(root, self.dataset)

    def adapt_to_machine(self) -> None:
        """Finds data path and device anew, after the configuration came out of a file from another place."""
        self._set_data_path()
        self._init_device()

    def _init_device(self) -> None:
        final = self.final_config_dict
        if process_count() > 1:
            wanted = final["use_gpu"] and str(final["gpu_id"]) != "" and torch.cuda.is_available()
            final["device"] = torch.device("cuda", from_launcher("LOCAL_RANK")) if wanted else torch.device("cpu")
            final["single_spec"], final["local_rank"] = True, 0
            if process_rank() != 0:
                final["state"], final["show_progress"] = "ERROR", False
            return
        final.pop("local_rank", None)  # with it RecBole would open a process group
        super()._init_device()
        if not final["use_gpu"]:
            final["device"] = torch.device("cpu")

    def to_plain(self) -> dict[str, Any]:
        """The full configuration as values that YAML holds.

        What RecBole derives is left out, so that ``Config(config_dict=config.to_plain())`` is the same configuration,
        also on another machine.

        Raises:
            RuntimeError: a value that YAML cannot hold was put into the configuration.
        """
        plain = {key: _plain(key, value) for key, value in self.final_config_dict.items() if key not in _DERIVED}
        plain.pop("data_path")
        if self.data_root is not None:
            plain["data_path"] = _plain("data_path", self.data_root)
        if (plain.get("train_neg_sample_args") or {}).get("distribution") == "none":
            plain["train_neg_sample_args"] = None
        return plain

    def save(self, path: str | Path) -> None:
        """Writes :meth:`to_plain` as a property file that ``config_file_list`` takes."""
        write_yaml(self.to_plain(), path)


def _named(key: str, value: Any, example: str) -> str:
    if not value or not isinstance(value, str):
        raise ValueError(f"no {key} is named; give one with --{key}={example}, in a property file or as argument")
    return value


def _plain(key: str, value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(key, element) for element in value]
    if isinstance(value, Mapping):
        return {name: _plain(key, element) for name, element in value.items()}
    if isinstance(value, (Path, Enum)):
        return str(value) if isinstance(value, Path) else value.name
    raise RuntimeError(f"{key} = {value!r} of type {type(value).__name__} cannot be saved as YAML")
