"""Selection of the task families that a run is tuned on.

The names in its settings are checked, and the families that its data allow are found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recbole_lcrec.config.values import did_you_mean
from recbole_lcrec.instructions.alignment_data import AlignmentData
from recbole_lcrec.instructions.families import TaskFamily
from recbole_lcrec.instructions.tasks import task_families

__all__ = ["chosen_tasks", "missing_data", "requested_families", "task_problems"]

_PAPER = "paper"


def task_problems(values: Mapping[str, Any]) -> list[str]:
    """Check the names of task families in ``tuning_tasks`` and ``tuning_samples_per_task``.

    Args:
        values: configuration keys and values. A key that is absent is not checked. Wrong types are reported by
            :class:`~recbole_lcrec.config.settings.TuningSettings`, that of ``tuning_tasks`` here, too.

    Returns:
        One sentence for each unknown name, with key, value, the known names and the nearest of them, and one with the
        known names where ``tuning_tasks`` is neither "paper" nor a list of names.
    """
    tasks, caps = values.get("tuning_tasks"), values.get("tuning_samples_per_task")
    named = {
        "tuning_tasks": list(tasks) if isinstance(tasks, (list, tuple)) else [],
        "tuning_samples_per_task": list(caps) if isinstance(caps, Mapping) else [],
    }
    known = list(task_families())
    malformed = "tuning_tasks" in values and tasks not in ("auto", _PAPER) and not _is_names(tasks)
    wrong = (
        [f"tuning_tasks = {tasks!r}: expected 'auto', 'paper', or a list of {', '.join(known)}"] if malformed else []
    )
    return wrong + [
        f"{key} = {values[key]!r}: there is no task family {name!r}; known are {', '.join(known)}"
        f"{did_you_mean(name, known)}"
        for key, names in named.items()
        for name in names
        if isinstance(name, str) and name not in known
    ]


def _is_names(tasks: Any) -> bool:
    return isinstance(tasks, (list, tuple)) and bool(tasks) and all(isinstance(name, str) for name in tasks)


def requested_families(tasks: str | Sequence[str]) -> tuple[TaskFamily, ...]:
    """Return the families that ``tuning_tasks`` asks for, in the order of :func:`task_families`.

    "paper" asks for LC-Rec's five.

    Raises:
        ValueError: a name is unknown, or ``tasks`` is neither "paper" nor a list of names, as "auto", which the model's
            settings replace.
    """
    families = task_families()
    if tasks == _PAPER:
        return tuple(family for family in families.values() if family.of_paper)
    problems = task_problems({"tuning_tasks": tasks})
    if tasks == "auto":
        problems = ["tuning_tasks = 'auto' depends on the model: give 'paper' or names"]
    if problems:
        raise ValueError("; ".join(problems))
    return tuple(family for name, family in families.items() if name in tasks)


def missing_data(data: AlignmentData) -> dict[str, str]:
    """Return family name -> why it cannot be built from the data, with the remedy; "" where it can."""
    return {name: family.missing(data) for name, family in task_families().items()}


def chosen_tasks(tasks: str | Sequence[str], data: AlignmentData) -> tuple[tuple[str, ...], dict[str, str]]:
    """Resolve ``tuning_tasks`` for a data set.

    Args:
        tasks: "paper", or names of task families.
        data: what the families would be built from.

    Returns:
        Names in the order of :func:`task_families`, and name -> why the family is left out, which only "paper" does.

    Raises:
        ValueError: a name is unknown, a family that is requested by name lacks its data, or "paper" finds no data for
            SEQ, which ranking relies on.
    """
    requested = [family.name for family in requested_families(tasks)]
    missing = missing_data(data)
    if tasks == _PAPER:
        if missing["seq"]:
            raise ValueError(f"tuning_tasks = 'paper', but there are no data to tune seq on: {missing['seq']}")
        left_out = {name: missing[name] for name in requested if missing[name]}
        return tuple(name for name in requested if name not in left_out), left_out
    lacking = [f"{name} cannot be built, for {missing[name]}; or leave {name} out" for name in tasks if missing[name]]
    if lacking:
        raise ValueError(f"tuning_tasks = {list(tasks)}: {'. '.join(lacking)}")
    return tuple(requested), {}
