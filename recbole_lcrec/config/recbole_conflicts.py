"""Checks of RecBole's keys that contradict each other or have no effect."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from recbole_lcrec.config.value_checks import list_of, number, one_of, optional
from recbole_lcrec.config.values import did_you_mean

__all__ = [
    "COLUMN_KEYS",
    "column_problems",
    "ignored_problems",
    "sequence_problems",
    "split_problems",
    "transform_problems",
]

_SPLIT = ("split", "order", "group_by", "mode")
_ID_FIELDS = ("USER_ID_FIELD", "ITEM_ID_FIELD")
COLUMN_KEYS = frozenset({"threshold", "load_col", "unload_col", "unused_col", "TIME_FIELD", *_ID_FIELDS})
"""The keys whose values :func:`column_problems` compares, so that each must be of the right form."""

_SHARES = {"mask_itemseq": "mask_ratio", "crop_itemseq": "eta", "reorder_itemseq": "beta"}


def split_problems(eval_args: Mapping[str, Any], sequential: bool) -> list[str]:
    """Return the problems of ``eval_args`` but for its modes: unknown keys, order, groups, parts of no interactions."""
    problems = [
        f"eval_args: there is no {key!r}; its keys are {', '.join(_SPLIT)}{did_you_mean(str(key), _SPLIT)}"
        for key in eval_args
        if key not in _SPLIT
    ]
    order, groups, split = eval_args.get("order"), eval_args.get("group_by"), eval_args.get("split")
    if expected := one_of("TO", "RO")(order):
        problems.append(f"eval_args order = {order!r}: expected {expected}: TO is by time, RO at random")
    elif sequential and order != "TO":
        problems.append(f"eval_args order = {order!r}: a sequential model needs 'TO', the order of time")
    if expected := optional(one_of("user", "none"))(groups):
        problems.append(f"eval_args group_by = {groups!r}: expected {expected}")
    if expected := _split(split):
        problems.append(f"eval_args split = {split!r}: expected {expected}")
    elif groups in (None, "none") and "RS" not in (split or ()):
        problems.append(
            f"eval_args group_by = {groups!r} contradicts split = {split!r}, which parts the interactions of each "
            "user: set group_by to user"
        )
    return problems


def _split(split: Any) -> str:
    how, parts = next(iter(split.items())) if isinstance(split, Mapping) and len(split) == 1 else (None, None)
    if how == "LS":
        if parts == "valid_only":
            return "'valid_and_test' or 'test_only' for LS, because 'valid_only' leaves nothing to test on"
        expected = one_of("valid_and_test", "test_only")(parts)
        return f"{expected} for LS" if expected else ""
    if how in ("RS", "TS"):
        if list_of(number(0.0))(parts) or not isinstance(parts, list) or len(parts) != 3:
            return f"three shares for {how}, of training, validation and test, such as [0.8, 0.1, 0.1]"
        if not parts[0] or not parts[2]:
            return f"shares above 0 of training and test for {how}, such as [0.8, 0.1, 0.1]"
        return ""
    return (
        "one of {'LS': 'valid_and_test'} (the last two interactions of each user), {'RS': [0.8, 0.1, 0.1]} (shares) "
        "and {'TS': [0.8, 0.1, 0.1]} (shares by time)"
    )


def ignored_problems(values: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Return the problems of keys that RecBole would ignore, and of what is not installed."""
    problems = []
    if given.get("config_file") is not None:
        problems.append(
            f"config_file = {given['config_file']!r} is not read: name property files by --config_files, or by "
            "config_file_list in Python"
        )
    if values.get("log_wandb") is True and find_spec("wandb") is None:
        problems.append(
            "log_wandb = True needs the package wandb, which is not installed: pip install wandb, or set it to False"
        )
    if values.get("normalize_field") and values.get("normalize_all") is True:
        problems.append("normalize_field and normalize_all are both set: remove one of the two")
    return problems


def column_problems(values: Mapping[str, Any]) -> list[str]:
    """Return the problems of columns that a run needs but would not read, and of names given to two columns."""
    fields = {key: values[key] for key in (*_ID_FIELDS, "TIME_FIELD")}
    problems = [
        f"{key} = {fields[key]!r} is {other}, too: name another column"
        for other, key in (
            ("USER_ID_FIELD", "ITEM_ID_FIELD"),
            ("USER_ID_FIELD", "TIME_FIELD"),
            ("ITEM_ID_FIELD", "TIME_FIELD"),
        )
        if fields[key] == fields[other]
    ]
    load, unload, unused = (values[key] or {} for key in ("load_col", "unload_col", "unused_col"))
    order = values["eval_args"].get("order") if isinstance(values["eval_args"], Mapping) else None
    timed = ["TIME_FIELD"] if order == "TO" else []
    for source, keys in {"inter": [*_ID_FIELDS, *timed], "user": ["USER_ID_FIELD"], "item": ["ITEM_ID_FIELD"]}.items():
        for key in keys:
            problems += _lost(source, key, fields[key], load, unload, unused)
        if load.get(source) and unload.get(source):
            problems.append(
                f"unload_col = {unload}: load_col of {source} names the columns already, {load[source]!r}; leave the "
                "columns out there, or set load_col to None"
            )
    if kept := {key: field for key, field in fields.items() if field in (values["threshold"] or ())}:
        key, field = next(iter(kept.items()))
        problems.append(f"threshold = {values['threshold']}: would replace {field!r}, the {key}; name another column")
    if values["load_col"] is not None and not load.get("inter"):
        problems.append(f"load_col = {load}: reads no columns of the inter file; add inter: [user_id, item_id]")
    if unknown := set(unused) - {"inter", "user", "item", *load}:
        problems.append(f"unused_col = {unused}: no file {sorted(unknown)[0]} is read; its keys are inter, user, item")
    return problems


def _lost(source: str, key: str, field: str, load: Any, unload: Any, unused: Any) -> list[str]:
    listed = load.get(source, "*" if not load else [])
    if listed and listed != "*" and field not in listed:
        return [f"load_col = {load}: {source} lacks {field!r}, the {key}; add it there, or correct {key}"]
    for name, columns in (("unload_col", unload), ("unused_col", unused)):
        needed = name == "unload_col" or key != "TIME_FIELD"
        if needed and field in columns.get(source, ()):
            return [f"{name} = {columns}: {field!r} of {source} is the {key}, which every run needs; remove it there"]
    return []


def transform_problems(values: Mapping[str, Any], sequential: bool) -> list[str]:
    """Return the problem of a ``transform`` of histories that a model has not, or without the share that it needs."""
    name = values["transform"]
    if name is None:
        return []
    if not sequential:
        return [f"transform = {name!r} changes histories, which only sequential models have: remove it"]
    share = _SHARES.get(name)
    if share is None or (values.get(share) is not None and not number(0.0, 1.0)(values[share])):
        return []
    return [f"transform = {name!r} needs {share}, a number of at least 0 and at most 1, not {values.get(share)!r}"]


def sequence_problems(values: Mapping[str, Any]) -> list[str]:
    """Return the problems of keys that would bypass the sequences of items which a model of this package makes."""
    problems = []
    if values.get("transform") is not None:
        problems.append(
            f"transform = {values['transform']!r} would change what this model is tested on, not what it learns from: "
            "remove it, or give it to another model alone, as SASRec.transform"
        )
    if values.get("benchmark_filename") is not None:
        problems.append(
            f"benchmark_filename = {values['benchmark_filename']!r}: this model makes its sequences from one .inter "
            "file with times: join the files into one, remove benchmark_filename, and split by eval_args"
        )
    return problems
