"""Random draws, and instructions built in a drawn template."""

from collections import Counter
from types import MappingProxyType

import pytest

from recbole_lcrec.instructions.context import InstructionContext, draw
from recbole_lcrec.instructions.subtasks import SubTask
from recbole_lcrec.instructions.tasks import subtasks
from recbole_lcrec.instructions.templates import Instruction, Template, Templates
from tests.instructions.plain_world import alignment_data

SUBTASKS = subtasks()


def test_draws_depend_on_their_arguments_and_are_uniform():
    seq = SUBTASKS["seq"]
    grid = [(seed, epoch, datum) for seed in range(3) for epoch in range(3) for datum in range(200)]
    drawn = [draw(*place, 5, seq) for place in grid]
    assert drawn == [draw(*place, 5, seq) for place in reversed(grid)][::-1]
    counts = Counter(drawn)
    assert set(counts) == set(range(5))
    expected = len(grid) / 5
    assert sum((n - expected) ** 2 / expected for n in counts.values()) < 18.5  # chi-square, 4 degrees, p = 0.001
    columns = [drawn[start : start + 200] for start in range(0, len(drawn), 200)]
    assert len({tuple(column) for column in columns}) == 9
    assert draw(1, 2, 3, 1, seq) == 0


def test_draws_do_not_change_between_releases():
    drawn = [555, 409, 630, 584, 224, 286, 19, 613, 714, 926, 796, 864]  # by the paper's sub-tasks
    assert [draw(0, 1, 2, 1000, subtask) for subtask in SUBTASKS.values()][:12] == drawn


def test_sub_tasks_draw_independently():
    columns = {tuple(draw(0, 0, datum, 5, subtask) for datum in range(200)) for subtask in SUBTASKS.values()}
    assert len(columns) == len(SUBTASKS)


@pytest.mark.parametrize("subtask", SUBTASKS.values(), ids=SUBTASKS)
def test_braces_in_a_text_are_text(subtask: SubTask):
    values = {name: f"a {{{name}}} of {{{{0}}}}" for name in (*subtask.shown, *subtask.asked)}
    shown, asked = ("/".join(f"{{{name}}}" for name in sorted(part)) for part in (subtask.shown, subtask.asked))
    templates = Templates("[{instruction}] ", MappingProxyType({subtask.name: (Template(shown, asked),)}))
    context = InstructionContext(alignment_data([[0, 1]]), templates, 3, 0)
    assert context.instruction(subtask, 0, 0, **values, unused="x") == Instruction(
        "[" + "/".join(values[name] for name in sorted(subtask.shown)) + "] ",
        "/".join(values[name] for name in sorted(subtask.asked)),
        closed=True,
    )
