"""Checks of the values that only RecBole reads, which it would ignore or trip over late.

``checks.py`` has the values that every run of this package depends on, ``recbole_conflicts.py`` the keys that
contradict each other, and ``preparation/named_fields.py`` the columns that a file must have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import inf
from typing import Any

from recbole_lcrec.config.recbole_conflicts import (
    COLUMN_KEYS,
    column_problems,
    ignored_problems,
    split_problems,
    transform_problems,
)
from recbole_lcrec.config.value_checks import Check, either, flag, integer, list_of, mapping_of, number, one_of
from recbole_lcrec.config.value_checks import optional as maybe
from recbole_lcrec.config.values import did_you_mean

__all__ = ["recbole_problems"]

_LOSS = re.compile(r"""\bloss_type\s*[!=]=\s*["'](\w+)["']""")
_DEVICE = re.compile(r"-1|\d+|(?:GPU|MIG)-[\w/-]+")


def _name(value: Any) -> str:
    return "" if isinstance(value, str) and value.strip() else "a name"


def _separator(value: Any) -> str:
    return "" if isinstance(value, str) and value else "the characters between two values, such as ' '"


def _any_case(*choices: str) -> Check:
    """Return a check for one of some words, in any case."""
    known = one_of(*choices)
    return lambda value: known(value.lower() if isinstance(value, str) else value)


def _interval(value: Any) -> str:
    """Check RecBole's intervals: ``"[5,inf)"``, or several with semicolons between them."""
    expected = "an interval in quotes, such as '[5,inf)' or '(0,10]'"
    pairs = isinstance(value, (list, tuple)) and len(value) == 2 and not any(number(-inf)(end) for end in value)
    if not isinstance(value, str) and not pairs:
        return expected
    for part in str(value).split(";"):
        ends = re.fullmatch(r"[\[(]([^,]*),([^,]*)[\])]", part.strip())
        try:
            low, high = (float(end) for end in ends.groups()) if ends else (1.0, 0.0)
        except ValueError:
            return expected
        if not low <= high:
            return expected
    return ""


def _values_to_keep(value: Any) -> str:
    """Check the values of a column to keep: an interval of numbers, or a list of words."""
    if not isinstance(value, str):
        return list_of(_name)(value) and "an interval of numbers such as '[3,inf)', or a list of words"
    return _interval(value)


def _gpu_id(value: Any) -> str:
    named = ",".join(map(str, value)) if isinstance(value, tuple) else value
    if isinstance(named, (str, int)) and not isinstance(named, bool):
        devices = [device.strip() for device in str(named).split(",")]
        if named == "" or all(_DEVICE.fullmatch(device) for device in devices):
            return ""
    return "numbers of GPUs, such as 0 or '0,1'; use_gpu: False stands for the CPU"


def _bigger(value: Any) -> str:
    return "" if value is True else "True, because a higher value of every metric that can be computed here is better"


def _clip_grad_norm(value: Any) -> str:
    checks = {
        "max_norm": number(0.0, above=True),
        "norm_type": either(number(0.0, above=True), one_of(inf, "inf")),
        "error_if_nonfinite": flag,
        "foreach": maybe(flag),
    }
    good = isinstance(value, Mapping) and "max_norm" in value and set(value) <= set(checks)
    if good and not any(checks[key](each) for key, each in value.items()):
        return ""
    return f"None or a mapping such as {{'max_norm': 1.0}} with a positive norm; its keys are {', '.join(checks)}"


_NEGATIVES: dict[str, Check] = {
    "distribution": one_of("uniform", "popularity", "None", None),
    "sample_num": integer(1),
    "alpha": number(0.0),
    "dynamic": flag,
    "candidate_num": integer(0),
}


def _train_negatives(value: Any) -> str:
    if value == "None":
        return ""
    if not isinstance(value, Mapping):
        return "None or a mapping such as {'distribution': 'uniform', 'sample_num': 1}"
    for key, each in value.items():
        if key not in _NEGATIVES:
            return f"keys out of {', '.join(_NEGATIVES)}, not {key!r}{did_you_mean(str(key), _NEGATIVES)}"
        if expected := _NEGATIVES[key](each):
            return f"{key} to be {expected}"
    if value.get("dynamic") and not value.get("candidate_num"):
        return "candidate_num of at least 1, because dynamic is True"
    return ""


def _columns(value: Any) -> str:
    good = isinstance(value, Mapping) and all(each == "*" or not list_of(_name, True)(each) for each in value.values())
    return "" if good else "a mapping of files to lists of columns, such as {'inter': ['user_id', 'item_id']}"


def _threshold(value: Any) -> str:
    one = isinstance(value, Mapping) and len(value) == 1
    return mapping_of(_name, number(-inf))(value) if one else "a mapping of one column to a number, {'rating': 3}"


def _discretization(value: Any) -> str:
    def method(each: Any) -> str:
        named = isinstance(each, Mapping) and each.get("method")
        good = named == "LD" or (named == "ED" and not integer(1)(each.get("bucket")))
        return "" if good else "{'method': 'LD'} or {'method': 'ED', 'bucket': 10}"

    return mapping_of(_name, method)(value)


def _benchmark(value: Any) -> str:
    good = not list_of(_name)(value) and len(value) == 3
    return "" if good else "None or three names, of the files for training, validation and test"


_CHECKS: dict[str, Check] = {
    "gpu_id": _gpu_id,
    "state": maybe(_any_case("debug", "info", "warning", "error", "critical")),
    "log_wandb": flag,
    "wandb_project": _name,
    "worker": integer(0),
    "shuffle": flag,
    "train_neg_sample_args": maybe(_train_negatives),
    "clip_grad_norm": maybe(_clip_grad_norm),
    "loss_decimal_place": integer(1),  # RecBole takes 0 for 4
    "require_pow": flag,
    "enable_amp": flag,
    "enable_scaler": flag,
    "transform": maybe(one_of("mask_itemseq", "inverse_itemseq", "crop_itemseq", "reorder_itemseq")),
    "valid_metric_bigger": _bigger,
    "metric_decimal_place": integer(0),
    "field_separator": _separator,
    "seq_separator": _separator,
    "USER_ID_FIELD": _name,
    "ITEM_ID_FIELD": _name,
    "RATING_FIELD": _name,
    "TIME_FIELD": _name,
    "LABEL_FIELD": _name,
    "NEG_PREFIX": _name,
    "ITEM_LIST_LENGTH_FIELD": _name,
    "LIST_SUFFIX": _name,
    "POSITION_FIELD": _name,
    "HEAD_ENTITY_ID_FIELD": _name,
    "TAIL_ENTITY_ID_FIELD": _name,
    "RELATION_ID_FIELD": _name,
    "ENTITY_ID_FIELD": _name,
    "seq_len": maybe(mapping_of(_name, integer(1))),
    "threshold": maybe(_threshold),
    "numerical_features": list_of(_name, allow_empty=True),
    "load_col": maybe(_columns),
    "unload_col": maybe(_columns),
    "unused_col": maybe(_columns),
    "additional_feat_suffix": maybe(either(_name, list_of(_name))),
    "rm_dup_inter": maybe(one_of("first", "last")),
    "val_interval": maybe(mapping_of(_name, _values_to_keep)),
    "filter_inter_by_user_or_item": flag,
    "user_inter_num_interval": maybe(_interval),
    "item_inter_num_interval": maybe(_interval),
    "entity_kg_num_interval": maybe(_interval),
    "relation_kg_num_interval": maybe(_interval),
    "kg_reverse_r": flag,
    "alias_of_user_id": maybe(list_of(_name)),
    "alias_of_item_id": maybe(list_of(_name)),
    "alias_of_entity_id": maybe(list_of(_name)),
    "alias_of_relation_id": maybe(list_of(_name)),
    "preload_weight": maybe(mapping_of(_name, _name)),
    "normalize_field": maybe(list_of(_name)),
    "normalize_all": maybe(flag),
    "discretization": maybe(_discretization),
    "benchmark_filename": maybe(_benchmark),
}


def recbole_problems(
    values: Mapping[str, Any], given: Mapping[str, Any], sequential: bool, source: str = ""
) -> list[str]:
    """Return the problems of the values that only RecBole reads, one sentence each.

    Args:
        values: the merged parameters, before RecBole interprets them.
        given: those that a user has given.
        sequential: whether the model is one of RecBole's sequential type.
        source: source text of a model of RecBole; empty for all other models.
    """
    learners = ["adam", "adamw", "sgd", "adagrad", "rmsprop"]
    if "sparse=True" in source or not source:  # else its gradients are dense, which SparseAdam refuses
        learners.append("sparse_adam")
    checks = {**_CHECKS, "learner": _any_case(*learners)}
    if losses := sorted(set(_LOSS.findall(source))):
        checks["loss_type"] = one_of(*losses)
    wrong = {key: text for key in checks if key in values and (text := checks[key](values[key]))}
    problems = [f"{key} = {values[key]!r}: expected {expected}" for key, expected in wrong.items()]
    if isinstance(values["eval_args"], Mapping):
        problems += split_problems(values["eval_args"], sequential)
    problems += ignored_problems(values, given)
    problems += [] if "transform" in wrong else transform_problems(values, sequential)
    if not wrong.keys() & COLUMN_KEYS:
        problems += column_problems(values)
    return problems
