"""The task families, each a module that is found without being listed.

A module defines its family as ``FAMILY``.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Hashable, Iterable
from importlib import import_module

from recbole_lcrec.instructions.families import TaskFamily
from recbole_lcrec.instructions.subtasks import SubTask

__all__ = ["subtasks", "task_families"]


def task_families() -> dict[str, TaskFamily]:
    """Find the task families of this package.

    Returns:
        Name -> family, ordered by the number of each family's first sub-task.

    Raises:
        ValueError: a module defines no ``FAMILY``, or two families share a name, or two sub-tasks share a name or
            number; the message names both.
    """
    found = [(module.name, _family(module.name)) for module in pkgutil.iter_modules(__path__)]
    found.sort(key=lambda pair: pair[1].subtasks[0].number)
    _require_distinct("task families are named", ((family.name, f"{module}.py") for module, family in found))
    members = [(subtask, f"{subtask.name} in {module}.py") for module, family in found for subtask in family.subtasks]
    _require_distinct("sub-tasks are named", ((subtask.name, where) for subtask, where in members))
    _require_distinct("sub-tasks have the number", ((subtask.number, where) for subtask, where in members))
    return {family.name: family for _, family in found}


def subtasks() -> dict[str, SubTask]:
    """Return name -> sub-task, family by family."""
    return {subtask.name: subtask for family in task_families().values() for subtask in family.subtasks}


def _family(module: str) -> TaskFamily:
    family = getattr(import_module(f"{__name__}.{module}"), "FAMILY", None)
    if not isinstance(family, TaskFamily):
        raise ValueError(f"module {module} of {__name__} must define FAMILY, a TaskFamily, but it is {family!r}")
    return family


def _require_distinct(what: str, owners: Iterable[tuple[Hashable, str]]) -> None:
    first: dict[Hashable, str] = {}
    for value, where in owners:
        if value in first:
            raise ValueError(f"two {what} {value!r}: {first[value]} and {where}; change one of them")
        first[value] = where
