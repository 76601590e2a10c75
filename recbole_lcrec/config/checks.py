"""Checks of parameters before any work starts: which keys exist, which models they reach, which values are allowed.

The values checked here are those that RecBole's trainers and evaluator read for every model; the values of stages are
checked in ``settings.py``. All problems of a configuration are reported in one message.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from recbole_lcrec.config.evaluation_checks import as_list, cutoffs, evaluation_modes, metric_problems
from recbole_lcrec.config.known_keys import known_keys
from recbole_lcrec.config.registry import spec_of
from recbole_lcrec.config.value_checks import Check, flag, integer, number, one_of, optional, seeds, text
from recbole_lcrec.config.values import did_you_mean

__all__ = [
    "beam_problems",
    "check_common_values",
    "check_history",
    "last_epoch_problems",
    "values_for_model",
]

_PARALLEL = frozenset({"nproc", "ip", "port", "world_size", "offset", "group_offset", "local_rank"})
_COMMAND_ONLY = frozenset({"config_files"})


def values_for_model(
    values: Mapping[str, Any],
    source: str,
    label: str,
    dataset: str,
    run: Sequence[str],
    strict: bool = False,
) -> dict[str, Any]:
    """Return those values of one source that apply to one model of a run.

    A bare key applies to each model of the run that knows it. ``Model.key`` applies to that model and its variants, and
    overrides the bare key; ``Label.key`` of a variant applies to that variant and overrides both.

    Args:
        values: bare and ``Model.key`` keys with their values.
        source: where the values come from, for error messages.
        label: the model to configure, or the label of a variant of one.
        dataset: the data set's name.
        run: the labels of every model of the run, ``label`` among them.
        strict: whether ``Model.key`` of a model outside the run is an error; property files may hold such keys.

    Raises:
        ValueError: no model of the run knows a key, or the model of ``Model.key`` does not know it; names all such
            keys.
    """
    for each in run:
        known_keys(each, dataset)  # a fault of a model's specification is reported once, not for every key
    bare, of_class, own, problems = {}, {}, {}, []
    for key, value in values.items():
        target, _, name = key.rpartition(".")
        try:
            problem = _problem_of_key(f"{key!r} ({source})", target, name, dataset, run, strict)
        except ValueError as err:
            problem = f"{key!r} ({source}): {err}"
        if problem:
            problems.append(problem)
        elif target == label:
            own[name] = value
        elif target and target == spec_of(label).name:
            of_class[name] = value
        elif not target and name in known_keys(label, dataset):
            bare[name] = value
    if problems:
        raise ValueError("; ".join(problems))
    return {**bare, **of_class, **own}


def _problem_of_key(where: str, target: str, name: str, dataset: str, run: Sequence[str], strict: bool) -> str:
    if name in _PARALLEL:
        return f"{where} is not used here: start several processes with torchrun"
    if name in _COMMAND_ONLY:
        return f"{where} is a flag of the command, not a parameter"
    if target:
        spec_of(target)
        if strict and target not in {*run, *(spec_of(label).name for label in run)}:
            return f"{where} is for {target}, which is not part of this run; its models are {', '.join(run)}"
    addressed = (target,) if target else tuple(run)
    known = frozenset().union(*(known_keys(label, dataset) for label in addressed))
    if name in known:
        return ""
    return f"unknown parameter {where} of {' and '.join(addressed)}{did_you_mean(name, known)}"


def _not_saved(value: Any) -> str:
    """Refuse RecBole's pickles of data sets and loaders: every run prepares its data itself, in exact time order."""
    return "False or None, because prepared data are never saved or reloaded here" if value else ""


_COMMON: dict[str, Check] = {
    "epochs": integer(0),
    "train_batch_size": integer(1),
    "eval_batch_size": integer(1),
    "learning_rate": number(0.0, above=True),
    "weight_decay": number(0.0),
    "eval_step": integer(0),
    "stopping_step": integer(0),
    "seed": integer(0, 2**32 - 1),
    "seeds": optional(seeds),
    "reference": optional(text),
    "table_format": one_of("markdown", "latex", "plain"),
    "MAX_ITEM_LIST_LENGTH": integer(1),
    "topk": cutoffs,
    "eval_args": evaluation_modes,
    "mask_history": flag,
    "repeated_targets": one_of("mask", "drop", "leak"),
    "fast_loading": flag,
    "reproducibility": flag,
    "repeatable": flag,
    "show_progress": flag,
    "use_gpu": flag,
    "save_dataset": _not_saved,
    "dataset_save_path": _not_saved,
    "save_dataloaders": _not_saved,
    "dataloaders_save_path": _not_saved,
    "data_path": text,
    "checkpoint_dir": text,
}


def check_common_values(
    values: Mapping[str, Any], metric_names: Collection[str], skip: Collection[str] = ()
) -> list[str]:
    """Return the problems of the values that RecBole reads for every model.

    Args:
        values: the merged parameters, before RecBole interprets them.
        metric_names: RecBole's metrics, in lower case.
        skip: keys that another check reports.

    Returns:
        One sentence per problem; empty if there is none.
    """
    problems = [
        f"{key} = {values[key]!r}: expected {expected}"
        for key, check in _COMMON.items()
        if key not in skip and key in values and (expected := check(values[key]))
    ]
    if not any(problem.startswith("topk ") for problem in problems):
        problems += metric_problems(values, metric_names)
    return problems


def check_history(values: Mapping[str, Any]) -> list[str]:
    """Return the problem of two keys that disagree about masking a general model's history; empty if they agree."""
    repeatable, masked = values["repeatable"], values["mask_history"]
    if not isinstance(repeatable, bool) or not isinstance(masked, bool) or repeatable != masked:
        return []
    return [
        f"repeatable = {repeatable} contradicts mask_history = {masked}: RecBole masks the history of a model that is "
        "not sequential exactly if repeatable is False; set only mask_history"
    ]


def last_epoch_problems(values: Mapping[str, Any]) -> list[str]:
    """Return the problem of an ``eval_step`` that does not divide ``epochs``: RecBole skips the last epochs."""
    epochs, step = values["epochs"], values["eval_step"]
    if integer(1)(epochs) or integer(1)(step) or epochs % min(step, epochs) == 0:
        return []
    return [
        f"eval_step = {step} does not divide epochs = {epochs}, so RecBole would not validate the last "
        f"{epochs % step}, and could not keep them: set epochs to {epochs - epochs % step}, or eval_step to 1"
    ]


def beam_problems(values: Mapping[str, Any]) -> list[str]:
    """Return the problem of more requested items than beams; empty if ``max(topk) <= decoding_beam_size``."""
    topk, beams = values["topk"], values["decoding_beam_size"]
    if cutoffs(topk) or integer(1)(beams) or max(as_list(topk)) <= beams:
        return []
    return [
        f"topk = {topk} needs {max(as_list(topk))} items per user, but decoding_beam_size = {beams} finds only "
        f"{beams}: raise decoding_beam_size or lower topk"
    ]
