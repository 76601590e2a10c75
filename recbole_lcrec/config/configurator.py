"""The configuration of one model: RecBole's ``Config`` with this package's property files and strict checks.

``sys.argv`` is not read (command-line values are passed in), and no process group is opened: under torchrun each
process takes its own device, and ``transformers`` opens the group.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from recbole.config import Config as RecBoleConfig
from recbole.evaluator import metric_types
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.trainer import Trainer
from recbole.utils import ModelType

from recbole_lcrec.config import registry
from recbole_lcrec.config.checks import check_common_values, check_history, last_epoch_problems, values_for_model
from recbole_lcrec.config.evaluation_checks import ability_problems, search_problems
from recbole_lcrec.config.item_features import feature_columns, with_feature_columns, with_given_names
from recbole_lcrec.config.known_keys import property_file, stage_files
from recbole_lcrec.config.model_spec import ModelSpec
from recbole_lcrec.config.recbole_values import recbole_problems
from recbole_lcrec.config.resources import properties_dir
from recbole_lcrec.config.settings import StageSettings, keys_of
from recbole_lcrec.config.values import parse_value, plain_value, read_yaml, write_yaml
from recbole_lcrec.runtime.processes import from_launcher, process_count, process_rank

__all__ = ["Config"]

Stage = TypeVar("Stage", bound=StageSettings)

# Keys of a command that runs several models or seeds; a saved configuration is that of one run.
_OF_THE_COMMAND = frozenset({"seeds", "reference"})

# Keys that RecBole's Config derives from others; a saved configuration leaves them out, so that they are derived again.
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

    Later sources override earlier ones, key by key (a nested mapping is replaced as a whole): RecBole's defaults
    (overall, model, sample, data set, quick start), ``properties/overall.yaml``, the stages that the model reads
    (``properties/stages``), the model's own property file, the preset that a later source names (``scratch_preset``),
    ``properties/dataset/<dataset>.yaml``, ``config_file_list`` in its order, ``config_dict``, ``command_line``. The
    last three may hold ``Model.key``, which applies only to that model and overrides the bare key of the same source.

    A label such as ``SASRec-BCE`` names a variant of a model: ``config["model"]`` is ``SASRec``, :attr:`label` is the
    label, and ``SASRec-BCE.key`` applies only to that variant.

    Differences from RecBole's Config:

    - ``sys.argv`` is not read.
    - An unknown key or a value out of range is an error.
    - A given ``data_path`` is also used for ml-100k.
    - What a given ``eval_args`` leaves out comes from ``properties/overall.yaml``; RecBole would fall back to a random
      split.
    - ``train_neg_sample_args`` is None if a sequential model's loss is cross entropy, unless it is given.
    - ``repeatable`` follows ``mask_history`` for models that are not sequential, because RecBole masks their history
      by it.
    - ``load_col`` follows ``USER_ID_FIELD``, ``ITEM_ID_FIELD`` and ``TIME_FIELD``, unless it is given.
    - ``load_col`` is extended by the columns that ``selected_features`` or ``item_attribute`` name, for models that
      read them.
    - ``use_gpu: False`` means the CPU.
    - Under torchrun (``WORLD_SIZE`` above 1) ``CUDA_VISIBLE_DEVICES`` is not changed, and the device is
      ``cuda:LOCAL_RANK``.

    Attributes:
        label: the name under which the model's results are reported.

    Args:
        model: a model's name, the label of a variant, or a class; None: the ``model`` of a source.
        dataset: the data set's name; None: the ``dataset`` of a source.
        config_file_list: paths of YAML property files.
        config_dict: parameters; values that are text are parsed as on the command line.
        command_line: parameters that override all others, already parsed (see ``command_line.parse_command_line``).
        run: labels of all models of the run; bare keys that only the others know are ignored. None: this model alone.

    Raises:
        ValueError: an unknown model, key or metric, a value of the wrong type or out of range, or a property file that
            cannot be read; all problems of the values are in one message.
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
        self._arguments = (model, dataset)
        self._command_line = dict(command_line or {})
        self._run = tuple(run or ())
        self._stages: dict[type[StageSettings], StageSettings] = {}
        if isinstance(config_file_list, (str, Path)):
            config_file_list = [config_file_list]
        super().__init__(model, dataset, config_file_list, config_dict)
        registry.expose_to_recbole(self.spec)

    @property
    def spec(self) -> ModelSpec:
        """Specification of the model."""
        return registry.spec_of(self.model)

    @property
    def label(self) -> str:
        """Name under which the model's results are reported: the model's, or that of a variant."""
        label: str | None = self.final_config_dict.get("model_label")
        return label or self.model

    def stage(self, stage: type[Stage]) -> Stage:
        """Return the settings of one stage, built and checked once.

        Raises:
            ValueError: the model does not read the stage, or a value that was set later is out of range.
        """
        stages = self.__dict__.setdefault("_stages", {})  # pickles of earlier versions have none
        if stage not in (self.spec.part("settings") or ()):
            raise ValueError(
                f"{self.model} does not read {stage.__name__}: name that class among the settings of its ModelSpec"
            )
        if stage not in stages:
            stages[stage] = stage.from_config(self.final_config_dict)
        found: Stage = stages[stage]
        return found

    def __setitem__(self, key: str, value: Any) -> None:
        """Set a value; the settings of stages are rebuilt on the next access."""
        super().__setitem__(key, value)
        self._stages = {}

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
        sources, saved_label = _without_label(sources)
        named = {key: value for _, values in sources for key, value in values.items()}
        given_model, given_dataset = self._arguments
        model: str | type = given_model or _named("model", named.get("model"), registry.registered_names()[0])
        self.dataset: str = given_dataset or _named("dataset", named.get("dataset"), "ml-100k")
        label = model if isinstance(model, str) else model.__name__
        self.model: str = registry.spec_of(label).name
        self.model_class: type = registry.get_model(label) if isinstance(model, str) else model
        self.external_config_dict: dict[str, Any] = {}
        for source, values in sources:
            run = self._run or (label,)
            self.external_config_dict.update(
                values_for_model(values, source, label, self.dataset, run, strict=source == "command line")
            )
        label = saved_label if saved_label is not None and label == self.model else label
        if registry.spec_of(label).name != self.model:
            raise ValueError(f"model_label = {label!r}: expected a variant of {self.model}, such as {self.model}-wide")
        if label != self.model:
            self.external_config_dict["model_label"] = label

    def _get_model_and_dataset(self, model: Any, dataset: Any) -> tuple[str, type, str]:
        return self.model, self.model_class, self.dataset

    def _load_internal_config_dict(self, model: str, model_class: type, dataset: str) -> None:
        super()._load_internal_config_dict(model, model_class, dataset)
        columns = self.internal_config_dict.get("load_col") or {}
        ours = properties_dir()
        own_data = ours / f"dataset/{dataset}.yaml"
        data = read_yaml(own_data) if own_data.is_file() else {}
        spec = self.spec
        for path in (
            ours / "overall.yaml",
            *stage_files(spec),
            property_file(spec),
            *self._presets(data),
        ):
            if path.is_file():  # an unknown preset is reported with the other values
                self.internal_config_dict.update(read_yaml(path))
        others = set(registry.FEATURE_KEYS) - {spec.feature_key}
        self.internal_config_dict.update({key: value for key, value in data.items() if key not in others})
        if set(columns) > {"inter"} and not spec.feature_key:  # files that RecBole requires for this model
            self.internal_config_dict["load_col"] = columns

    def _presets(self, data: Mapping[str, Any]) -> list[Path]:
        """Return the files of the presets that the data set's file or a later source names."""
        keyed = [
            (stage.preset_folder, f"{stage.prefix}preset")
            for stage in self.spec.part("settings") or ()
            if stage.preset_folder
        ]
        return [
            properties_dir() / folder / f"{self.external_config_dict.get(key, data.get(key))}.yaml"
            for folder, key in keyed
        ]

    def _get_final_config_dict(self) -> dict[str, Any]:
        final = super()._get_final_config_dict()
        if isinstance(final["eval_args"], Mapping):
            final["eval_args"] = {**self.internal_config_dict["eval_args"], **final["eval_args"]}
        cross_entropy = final["MODEL_TYPE"] == ModelType.SEQUENTIAL and final.get("loss_type") == "CE"
        if cross_entropy and "train_neg_sample_args" not in self.external_config_dict:
            final["train_neg_sample_args"] = None
        if final["MODEL_TYPE"] != ModelType.SEQUENTIAL and "repeatable" not in self.external_config_dict:
            final["repeatable"] = not final["mask_history"]
        if "load_col" not in self.external_config_dict:
            final["load_col"] = with_given_names(final["load_col"], final)
        problems: list[str] = []
        try:
            features = feature_columns(self.model, final)
            final["load_col"] = with_feature_columns(final["load_col"], final["ITEM_ID_FIELD"], features)
        except ValueError as err:
            problems.append(str(err))
        stages = self.spec.part("settings") or ()
        defaults, find_problems = self.spec.part("default_values"), registry.model_part(self.spec, "value_problems")
        if defaults is not None:
            final.update(defaults(final))
        problems += check_common_values(final, set(metric_types), skip=keys_of(stages))
        sequential, source = final["MODEL_TYPE"] == ModelType.SEQUENTIAL, registry.recbole_source(self.spec.name)
        problems += recbole_problems(final, self.external_config_dict, sequential, source)
        problems += [] if sequential else check_history(final)
        ranks_in_full = self.spec.full_ranking and _ranks_in_full(self.model_class)
        problems += ability_problems(self.model, final["eval_args"], ranks_in_full, self.spec.candidate_scores)
        problems += search_problems(self.model, final, bool(getattr(self.model_class, "ranks_in_full", False)))
        if registry.get_trainer(final["MODEL_TYPE"], self.model).fit is Trainer.fit:
            problems += last_epoch_problems(final)
        if find_problems is not None:
            problems += find_problems(final)
        for stage in stages:
            try:
                self._stages[stage] = stage.from_config(final)
            except ValueError as err:
                problems.append(str(err))
        if problems:
            raise ValueError(f"{final.get('model_label', self.model)}: " + "; ".join(problems))
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
        """Set data path and device again, after the configuration was read from a file of another machine."""
        self._set_data_path()
        self._init_device()

    def _init_device(self) -> None:
        final = self.final_config_dict
        if process_count() > 1:
            on_gpu = final["use_gpu"] and str(final["gpu_id"]) != "" and torch.cuda.is_available()
            final["device"] = torch.device("cuda", from_launcher("LOCAL_RANK")) if on_gpu else torch.device("cpu")
            final["single_spec"], final["local_rank"] = True, 0
            if process_rank() != 0:
                final["state"], final["show_progress"] = "ERROR", False
            return
        final.pop("local_rank", None)  # RecBole would open a process group
        super()._init_device()
        if not final["use_gpu"]:
            final["device"] = torch.device("cpu")

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what may be missing when the pickle is read: the model's class, and settings built from values."""
        return {key: value for key, value in vars(self).items() if key not in ("model_class", "_stages")}

    def to_plain(self) -> dict[str, Any]:
        """Return the full configuration as values that YAML can represent.

        Keys that RecBole derives, and ``seeds`` and ``reference`` of the command, are left out, so that
        ``Config(config_dict=config.to_plain())`` is the same configuration, also on another machine.

        Raises:
            RuntimeError: the configuration contains a value that YAML cannot represent.
        """
        plain = {
            key: plain_value(key, value)
            for key, value in self.final_config_dict.items()
            if key not in _DERIVED | _OF_THE_COMMAND
        }
        plain.pop("data_path")
        if self.data_root is not None:
            plain["data_path"] = plain_value("data_path", self.data_root)
        if (plain.get("train_neg_sample_args") or {}).get("distribution") == "none":
            plain["train_neg_sample_args"] = None
        return plain

    def save(self, path: str | Path) -> None:
        """Write :meth:`to_plain` as a property file for ``config_file_list``."""
        write_yaml(self.to_plain(), path)


def _without_label(sources: list[tuple[str, Any]]) -> tuple[list[tuple[str, Any]], str | None]:
    """Return the sources without ``model_label``, which saved configurations hold, and its value or None."""
    label = None
    kept = []
    for source, values in sources:
        label = str(values.get("model_label", label)) if "model_label" in values else label
        kept.append((source, {key: value for key, value in values.items() if key != "model_label"}))
    return kept, label


def _ranks_in_full(model: type) -> bool:
    """Return whether a model ranks the catalogue; RecBole ranks item by item with its own models that do not."""
    if model.__module__.startswith("recbole."):
        return True
    if hasattr(model, "ranks_in_full"):
        return bool(model.ranks_in_full)
    return any("full_sort_predict" in vars(base) for base in model.__mro__ if base is not AbstractRecommender)


def _named(key: str, value: Any, example: str) -> str:
    if not value or not isinstance(value, str):
        raise ValueError(f"no {key} is given; set it with --{key}={example}, in a property file or as an argument")
    return value
