"""Task families are found in the folder: a new one needs a module and templates, and nothing else."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from recbole_lcrec.config.resources import properties_dir
from recbole_lcrec.instructions import tasks
from recbole_lcrec.instructions.context import InstructionContext
from recbole_lcrec.instructions.families import TaskFamily
from recbole_lcrec.instructions.mixture import alignment_instructions, require_templates
from recbole_lcrec.instructions.selection import requested_families, task_problems
from recbole_lcrec.instructions.template_file import load_templates
from recbole_lcrec.instructions.templates import Instruction
from tests.instructions.plain_world import alignment_data, context_of, everything, tuning

OURS = properties_dir() / "instructions" / "lcrec.yaml"
PREVIOUS = '''
"""PRE: an item with its title asks for the item that the same user chose before it."""

from recbole_lcrec.instructions.alignment_data import missing_targets
from recbole_lcrec.instructions.families import TaskFamily
from recbole_lcrec.instructions.subtasks import SubTask

SUBTASK = SubTask("{subtask}", {number}, shown=frozenset({{"item", "title"}}), asked=frozenset({{"history"}}))


class Previous:
    def __init__(self, context):
        self.context, self.targets = context, context.data.targets()

    def size(self, epoch):
        return len(self.targets)

    def instruction(self, epoch, datum):
        position = int(self.targets[datum])
        title = self.context.data.item(int(self.context.data.sequences.items[position])).title
        values = {{"item": self.context.target(position), "title": title}}
        return self.context.instruction(SUBTASK, epoch, datum, history=self.context.target(position - 1), **values)


FAMILY = TaskFamily("{name}", (SUBTASK,), lambda context: {{SUBTASK.name: Previous(context)}}, missing_targets)
'''
TEMPLATES = {"tasks": {"pre": [{"instruction": "Before {item} ({title})?", "response": "{history}"}]}}
AddFamily = Callable[..., None]


@pytest.fixture
def add_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write a module into a folder that is searched for task families."""
    folder = tmp_path / "more_tasks"
    folder.mkdir()
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(folder)])
    loaded = []

    def add(module: str = "pre", code: str = PREVIOUS, **names: object) -> None:
        values = {"name": "pre", "subtask": "pre", "number": 900, **names}
        (folder / f"{module}.py").write_text(code.format(**values), encoding="utf-8")
        importlib.invalidate_caches()
        loaded.append(f"{tasks.__name__}.{module}")

    yield add
    for name in loaded:
        sys.modules.pop(name, None)


def test_families_in_the_order_of_the_paper():
    """Families of a later paper come after these; their own order and numbers are part of every random draw."""
    families, subtasks = tasks.task_families(), tasks.subtasks()
    assert list(families)[:5] == ["seq", "mut", "asy", "ite", "per"]
    assert all(isinstance(family, TaskFamily) and family.name == name for name, family in families.items())
    assert list(subtasks) == [one.name for family in families.values() for one in family.subtasks]
    assert [subtask.number for subtask in subtasks.values()][:12] == list(range(12))


def test_a_new_family_is_found_and_built(add_family: AddFamily, tmp_path: Path):
    add_family()
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(TEMPLATES), encoding="utf-8")
    data = alignment_data([[0, 1, 2], [5]], ("a", "b", "c", "d", "e", "f"))
    context = InstructionContext(data, load_templates(path, fallback=OURS), 3, 0, np.ones(6, dtype=np.int64), 9)
    assert "pre" not in alignment_instructions(context, tuning(tasks="paper")).counts(0)
    both = alignment_instructions(context, tuning(tasks=["pre", "mut", "seq"]))
    assert both.counts(0) == {"seq": 2, "mut": 12, "pre": 2}
    alone = alignment_instructions(context, tuning(tasks=["pre"]))
    before, after = context.templates.frame.split("{instruction}")
    assert everything(alone, 0) == [
        Instruction(f"{before}Before <1> (b)?{after}", "<0>"),
        Instruction(f"{before}Before <2> (c)?{after}", "<1>"),
    ]
    capped = alignment_instructions(context, tuning(tasks=["pre", "seq"], samples_per_task={"pre": 1}))
    assert capped.counts(0) == {"seq": 2, "pre": 1}


def test_a_new_family_is_known_to_all_checks(add_family: AddFamily):
    assert task_problems({"tuning_tasks": ["pre"]})[0].startswith("tuning_tasks = ['pre']: there is no task family")
    add_family()
    assert task_problems({"tuning_tasks": ["pre"], "tuning_samples_per_task": {"pre": 1}}) == []
    assert (
        f"known are {', '.join(tasks.task_families())}; did you mean 'pre'?"
        in task_problems({"tuning_tasks": ["prr"]})[0]
    )
    (family,) = requested_families(["pre"])
    assert family.needs_item_texts and not family.needs_user_texts


def test_a_new_family_without_templates_is_an_error(add_family: AddFamily):
    add_family()
    message = r"task family pre: there are no templates for pre; add them to .*lcrec\.yaml .*, or leave pre out of"
    with pytest.raises(ValueError, match=message):
        require_templates(tuning(tasks=["seq", "pre"]), load_templates(OURS))
    with pytest.raises(ValueError, match=message):
        alignment_instructions(context_of(alignment_data([[0, 1]])), tuning(tasks=["pre"]))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"name": "mut"}, r"two task families are named 'mut': mut\.py and pre\.py"),
        ({"subtask": "ite"}, r"two sub-tasks are named 'ite': ite in ite\.py and ite in pre\.py"),
        ({"number": 7}, r"two sub-tasks have the number 7: asy_description in asy\.py and pre in pre\.py"),
    ],
)
def test_two_of_one_name_or_number_are_an_error(add_family: AddFamily, names, message):
    add_family(**names)
    with pytest.raises(ValueError, match=message):
        tasks.task_families()


def test_modules_without_a_family_are_an_error(add_family: AddFamily):
    add_family("notes", "")
    with pytest.raises(ValueError, match=r"module notes of .* must define FAMILY, a TaskFamily, but it is None"):
        tasks.task_families()


def test_families_without_sub_tasks_are_an_error():
    with pytest.raises(ValueError, match="task family 'new' has no sub-tasks"):
        TaskFamily("new", (), sources=lambda context: {}, missing=lambda data: "")
