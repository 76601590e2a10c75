"""The models of a run: the checked configuration of each, and the parameters that all must share.

PyTorch and RecBole are loaded only after the model names have been checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_lcrec.config import registry
from recbole_lcrec.config.command_line import split_names
from recbole_lcrec.config.value_checks import split_seeds
from recbole_lcrec.config.values import did_you_mean, read_yaml

if TYPE_CHECKING:
    from recbole_lcrec.config.configurator import Config

__all__ = ["build_configs"]

# Parameters that all models of a run must share, so that their results are comparable in one table.
_SHARED = (
    "dataset",
    "data_path",
    "seed",
    "eval_args",
    "mask_history",
    "repeated_targets",
    "metrics",
    "topk",
    "USER_ID_FIELD",
    "ITEM_ID_FIELD",
    "TIME_FIELD",
    "benchmark_filename",
    "rm_dup_inter",
    "val_interval",
    "seeds",
    "reference",
    "table_format",
    "filter_inter_by_user_or_item",
    "user_inter_num_interval",
    "item_inter_num_interval",
)


def build_configs(
    model: str | type | Sequence[str] | None,
    dataset: str | None,
    config_file_list: Sequence[str | Path] | None,
    config_dict: Mapping[str, Any] | None,
    command_line: Mapping[str, Any] | None,
) -> list[Config]:
    """Return the checked configurations of all models of a run, in order; with ``seeds``, of all models for each.

    Args:
        model: one or more models, see :func:`recbole_lcrec.quick_start.run_recbole_lcrec`.
        dataset: name of the data set; None: the ``dataset`` of a file or of ``config_dict``.
        config_file_list: paths of YAML property files.
        config_dict: parameters, ``Model.key`` for those of one model.
        command_line: parameters that override all others.

    Raises:
        ValueError: a wrong model, data set or parameter, or models that cannot be compared.
    """
    models = _models(model, config_file_list, config_dict)
    names = [one if isinstance(one, str) else one.__name__ for one in models]
    for name in names:
        registry.spec_of(name)
    from recbole_lcrec.config.configurator import Config

    def configured(one: str | type, **changes: Any) -> Config:
        values = {**(command_line or {}), **changes}
        return Config(one, dataset, config_file_list, config_dict, command_line=values, run=names)

    configs = [configured(one) for one in models]
    labels = [config.label for config in configs]
    if len(set(labels)) < len(labels):
        raise ValueError(f"model_label: two models of {', '.join(labels)} have one label; give each its own")
    for config in configs[1:]:
        _require_one_catalogue(configs[0], config)
        for key in _SHARED:
            if config[key] != configs[0][key]:
                raise ValueError(
                    f"{key} differs between {configs[0].label} ({configs[0][key]!r}) and {config.label} "
                    f"({config[key]!r}): models of one run are compared, so set it for all of them with a bare --{key}"
                )
    reference = configs[0]["reference"]
    if reference is not None and reference not in labels:
        raise ValueError(
            f"reference = {reference!r} is not a model of this run{did_you_mean(reference, labels)}; its models are "
            f"{', '.join(labels)}"
        )
    seeds = split_seeds(configs[0]["seeds"])
    if seeds is None:
        return configs
    for config in configs:
        if "seed" in config.external_config_dict:
            raise ValueError(
                f"seed = {config['seed']} is given beside seeds, which sets the seed of each run: leave it out"
            )
    return [configured(one, seed=seed) for seed in seeds for one in models]


def _require_one_catalogue(first: Config, other: Config) -> None:
    """Refuse models that rank different catalogues: without the item file, only items with interactions are ranked."""
    reads = [config["load_col"] is None or "item" in config["load_col"] for config in (first, other)]
    if reads[0] != reads[1]:
        without = (first, other)[reads[0]]
        raise ValueError(
            f"load_col of {without.label} reads no item file, so it would rank a different catalogue than the other "
            "models; add an entry item: [item_id] to its load_col"
        )


def _models(
    model: str | type | Sequence[str] | None,
    config_file_list: Sequence[str | Path] | None,
    config_dict: Mapping[str, Any] | None,
) -> list[str | type]:
    if not model:
        sources = [*(read_yaml(path) for path in config_file_list or ()), config_dict or {}]
        model = next((values["model"] for values in reversed(sources) if values.get("model")), None)
    if isinstance(model, type):
        return [model]
    names = split_names(model if isinstance(model, str) else ",".join(model or ()))
    if not names:
        example = registry.registered_names()[0]
        raise ValueError(f"no model is given; set it with --model={example}, in a property file or as an argument")
    return list(names)
