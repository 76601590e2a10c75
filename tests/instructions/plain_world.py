"""Small sequences, texts and templates whose instructions can be parsed back into their values."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Any

import numpy as np

from recbole_lcrec.config.resources import properties_dir
from recbole_lcrec.config.settings import TuningSettings
from recbole_lcrec.config.values import read_yaml
from recbole_lcrec.data.sequences import UserSequences
from recbole_lcrec.instructions.alignment_data import AlignmentData
from recbole_lcrec.instructions.context import InstructionContext
from recbole_lcrec.instructions.tasks import subtasks
from recbole_lcrec.instructions.templates import Template, Templates
from recbole_lcrec.models.lcrec.settings import default_values

N_TEMPLATES = 4


def readable_templates() -> Templates:
    """Return templates that show their number, sub-task and named values: ``2|ite_history|history=..|..``."""

    def body(names: frozenset[str]) -> str:
        return "|".join(f"{name}={{{name}}}" for name in sorted(names))

    tasks = {
        name: tuple(Template(f"{n}|{name}|{body(task.shown)}", body(task.asked)) for n in range(N_TEMPLATES))
        for name, task in subtasks().items()
    }
    return Templates("{instruction}=", MappingProxyType(tasks))


TEMPLATES = readable_templates()


def read_back(instruction) -> tuple[int, str, dict[str, str], dict[str, str]]:
    """Return number of the template, sub-task, values of the prompt, values of the response."""
    assert instruction.prompt.endswith("=") and instruction.closed
    number, subtask, *shown = instruction.prompt[:-1].split("|")
    asked = instruction.response.split("|")
    return int(number), subtask, dict(part.split("=") for part in shown), dict(part.split("=") for part in asked)


def sequences_of(lists) -> UserSequences:
    offsets = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    items = np.array([item for items in lists for item in items], dtype=np.int64)
    return UserSequences(np.arange(1, len(lists) + 1), items, offsets)


def marked(lists) -> tuple[UserSequences, list[str], list[tuple[int, int]]]:
    """Return sequences without a repeated item, the item texts, and the (user, place) of each item row."""
    places = [(user, place) for user, items in enumerate(lists) for place in range(len(items))]
    texts = [f"<u_{user}><p_{place}>" for user, place in places]
    count = iter(range(len(places)))
    return sequences_of([[next(count) for _ in items] for items in lists]), texts, places


def parsed(text: str) -> list[tuple[int, int]]:
    """Return the (user, place) pairs in a text: <u_1><p_0>, <u_1><p_1> -> [(1, 0), (1, 1)]."""
    return [(int(user), int(place)) for user, place in re.findall(r"<u_(\d+)><p_(\d+)>", text)]


def everything(source, epoch: int) -> list:
    return [source.instruction(epoch, datum) for datum in range(source.size(epoch))]


def tuning(**changes: Any) -> TuningSettings:
    """Return the default settings of a pretrained model with some values changed."""
    values = {**read_yaml(properties_dir() / "model" / "LCRec.yaml"), "base_model": "pretrained"}
    keys = TuningSettings.keys()
    changed = {keys[name]: value for name, value in changes.items()}
    return TuningSettings.from_config({**values, **default_values(values), **changed})


def alignment_data(lists, titles=None, descriptions=None, n_items=6, **user_texts: Any) -> AlignmentData:
    """Return data whose item indices are <0>, <1>, ..."""
    texts = tuple(f"<{row}>" for row in range(n_items))
    return AlignmentData(sequences_of(lists), texts, titles, descriptions, **user_texts)


def context_of(data: AlignmentData, max_history: int = 3, seed: int = 0, **titles: Any) -> InstructionContext:
    return InstructionContext(data, TEMPLATES, max_history, seed, **titles)


def values_of(source, epoch: int = 0) -> list[tuple[str, ...]]:
    """Return the values of prompt and response of each datum."""
    return [(*shown.values(), *asked.values()) for _, _, shown, asked in map(read_back, everything(source, epoch))]


TITLES = ("t0", "", "t2", "t3", "t4", "t5")
DESCRIPTIONS = ("d0", "d1", "", "d3", "", "d5")
