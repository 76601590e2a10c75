"""The tuning data of a run: all chosen families, capped and combined."""

import pickle
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from recbole_lcrec.instructions.context import InstructionContext, draw
from recbole_lcrec.instructions.mixture import alignment_instructions
from recbole_lcrec.instructions.tasks import subtasks, task_families
from recbole_lcrec.instructions.tasks.seq import SequentialInstructions, StreamInstructions
from recbole_lcrec.instructions.templates import Instruction, Templates
from recbole_lcrec.instructions.user_texts import Intention, Preference
from tests.instructions.plain_world import (
    N_TEMPLATES,
    TEMPLATES,
    alignment_data,
    context_of,
    everything,
    read_back,
    tuning,
)

LISTS = [[0, 1, 2, 3], [4, 0, 4], [5]]
TITLES = ("t0", "", "t2", "t3", "t4", " ")
DESCRIPTIONS = ("d0", "d1", "", "d3", "", "")
INTENTIONS = (Intention(0, 1, "want a"), Intention(0, 3, "want b"), Intention(1, 2, "want c"))
PREFERENCES = (Preference(0, 4, "like a"), Preference(2, 1, "like b"))
GENERAL = (Instruction("g0", "h0"), Instruction("g1", "h1"))
COUNTS = {
    "seq": 3 + 2,
    "mut": 4 + 3 + 2 + 2 + 2,  # titles 0 2 3 4; descriptions 0 1 3; both 0 3, twice; a title alone 2 4
    "asy": 4 + 3 + 5,  # targets 1 2 3, 0 4: titles of 2 3 0 4; descriptions of 1 3 0; a title before each
    "ite": 2 * 3,
    "per": 2,
}


def full_data():
    return alignment_data(LISTS, TITLES, DESCRIPTIONS, intentions=INTENTIONS, preferences=PREFERENCES)


def mixture_of(data=None, general=(), templates=TEMPLATES, tokens=(1,) * 6, budget=10, **changes):
    counted = None if tokens is None else np.array(tokens)
    context = InstructionContext(data or full_data(), templates, 3, 7, counted, budget)
    return alignment_instructions(context, tuning(**changes), general)


def test_counts_by_hand():
    source = mixture_of(tasks=list(COUNTS))
    assert source.counts(0) == COUNTS and list(source.counts(0)) == list(COUNTS)
    subtasks = Counter(read_back(one)[1] for one in everything(source, 0))
    assert subtasks == {
        **{"seq": 5, "mut_title": 4, "mut_description": 3, "mut_text": 2, "mut_item": 2, "mut_item_title": 2},
        **{"asy_title": 4, "asy_description": 3, "asy_titles": 5, "ite": 3, "ite_history": 3, "per": 2},
    }


@pytest.mark.parametrize("family", COUNTS)
def test_each_family_alone(family):
    source = mixture_of(tasks=[family])
    assert source.counts(5) == {family: COUNTS[family]}
    shown = {read_back(one)[1] for one in everything(source, 0)}
    assert shown == {subtask.name for subtask in task_families()[family].subtasks}


def test_templates_are_drawn_by_seed_epoch_datum_and_sub_task():
    for family in COUNTS:
        for epoch in (0, 3):
            shown = {}
            for number, subtask, *_ in map(read_back, everything(mixture_of(tasks=[family]), epoch)):
                shown.setdefault(subtask, []).append(number)
            for name, numbers in shown.items():
                subtask = subtasks()[name]
                assert numbers == [draw(7, epoch, datum, N_TEMPLATES, subtask) for datum in range(len(numbers))]


def test_other_families_do_not_change_seq():
    alone = [one.response for one in everything(mixture_of(tasks=["seq"]), 2)]
    among = [one.response for one in everything(mixture_of(tasks=list(COUNTS), samples_per_task={"asy": 2}), 2)]
    assert among[: len(alone)] == alone


def test_an_epoch_shows_each_datum_once():
    source = mixture_of(tasks=list(COUNTS))
    shown = []
    for epoch in range(12):
        made = [read_back(one) for one in everything(source, epoch)]
        data = Counter((subtask, str(prompt), str(response)) for _, subtask, prompt, response in made)
        wordings = tuple(number for number, *_ in made)
        assert set(data.values()) == {1}  # no two data of this set are written alike
        shown.append((tuple(data), wordings))
    assert len({data for data, _ in shown}) == 1 and len({wordings for _, wordings in shown}) == 12
    columns = list(zip(*(wordings for _, wordings in shown), strict=True))
    assert all(set(column) <= set(range(N_TEMPLATES)) and len(set(column)) > 1 for column in columns)


def test_workers_and_resumed_runs_read_the_same():
    source = mixture_of(tasks=list(COUNTS), general=GENERAL, samples_per_task=4)
    calls = [(epoch, datum) for epoch in range(3) for datum in range(source.size(epoch))]
    expected = [source.instruction(*call) for call in calls]
    other = pickle.loads(pickle.dumps(mixture_of(tasks=list(COUNTS), general=GENERAL, samples_per_task=4)))
    assert [other.instruction(*call) for call in reversed(calls)] == expected[::-1]


def test_caps_for_all_families_and_by_family():
    assert mixture_of(tasks=list(COUNTS), samples_per_task=4).counts(0) == {
        family: min(4, n) for family, n in COUNTS.items()
    }
    capped = mixture_of(tasks=list(COUNTS), samples_per_task={"asy": 5, "per": 1})
    assert capped.counts(0) == {**COUNTS, "asy": 5, "per": 1}
    whole = Counter(
        (one.prompt[2:], one.response) for one in everything(mixture_of(tasks=["asy"]), 0)
    )  # without the number of the template
    seen = Counter()
    for epoch in range(12):  # 12 data, 5 an epoch: each 5 times in 12 epochs
        seen.update(
            (one.prompt[2:], one.response) for one in everything(mixture_of(tasks=["asy"], samples_per_task=5), epoch)
        )
    assert seen == {datum: 5 * n for datum, n in whole.items()}


def test_general_instructions_once_per_epoch():
    source = mixture_of(tasks=["seq"], general=GENERAL, samples_per_task=1)
    assert source.counts(4) == {"seq": 1, "general": 2}
    assert everything(source, 4)[1:] == list(GENERAL)


def test_seq_as_instructions_or_as_streams():
    data = full_data()
    worded = SequentialInstructions(context_of(data, 3, 7), data.targets())
    streams = StreamInstructions(context_of(data, 3, 7))
    assert everything(mixture_of(tasks=["seq"]), 1) == everything(worded, 1)
    source = mixture_of(tasks=["seq", "per"], seq_format="stream")
    assert source.counts(1) == {"seq": 2, "per": 2}
    assert everything(source, 1)[:2] == everything(streams, 1)


def test_stream_epochs_then_the_mixture():
    source = mixture_of(tasks=list(COUNTS), stream_epochs=2, general=GENERAL)
    assert [source.counts(epoch) for epoch in (0, 1)] == [{"seq": 2}] * 2
    assert source.counts(2) == {**COUNTS, "general": 2}
    assert all(not one.closed for one in everything(source, 1)) and all(one.closed for one in everything(source, 2))
    assert everything(source, 3) == everything(mixture_of(tasks=list(COUNTS), general=GENERAL), 3)
    assert mixture_of(tasks=list(COUNTS), stream_epochs=1, samples_per_task={"seq": 1}).counts(0) == {"seq": 1}


def test_the_paper_takes_the_families_that_have_data():
    def counts(source):
        return {family: count for family, count in source.counts(0).items() if family in COUNTS}

    assert counts(mixture_of(alignment_data(LISTS), tokens=None)) == {"seq": 5}
    titles_only = mixture_of(alignment_data(LISTS, TITLES, ("",) * 6))
    assert counts(titles_only) == {"seq": 5, "mut": 4 + 4, "asy": 4 + 5}
    assert counts(mixture_of(tasks="paper")) == COUNTS


@pytest.mark.parametrize(
    ("family", "lacks"),
    [("mut", "has no item texts"), ("asy", "has no item texts"), ("ite", "no intentions"), ("per", "no preferences")],
)
def test_a_requested_family_without_data_is_an_error(family, lacks):
    with pytest.raises(
        ValueError, match=rf"tuning_tasks = \['seq', '{family}'\]: {family} cannot .*{lacks}.*leave {family}"
    ):
        mixture_of(alignment_data(LISTS), tasks=["seq", family])


def test_streams_first_need_seq():
    unchecked = SimpleNamespace(**{**vars(tuning(tasks=["mut"])), "stream_epochs": 1})  # the settings refuse it too
    with pytest.raises(ValueError, match=r"tuning_stream_epochs = 1 .*\['mut'\] has that form: add seq"):
        alignment_instructions(context_of(full_data()), unchecked)


def test_sub_tasks_without_templates_are_an_error():
    templates = Templates(TEMPLATES.frame, {task: TEMPLATES.tasks[task] for task in ("seq", "mut_title")})
    assert mixture_of(tasks=["seq"], templates=templates).size(0) == 5
    with pytest.raises(ValueError, match="no templates for mut_description, mut_text, mut_item, mut_item_title; add"):
        mixture_of(tasks=["seq", "mut"], templates=templates)


def test_titles_must_be_counted():
    with pytest.raises(ValueError, match="title_tokens must be counted"):
        mixture_of(tasks=["asy"], tokens=None)
    assert mixture_of(tasks=["mut"], tokens=None).counts(0) == {"mut": COUNTS["mut"]}
