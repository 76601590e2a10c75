"""Mixtures and caps by counting, and the whole source of a run."""

import pickle
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lcrec.config.settings import TASKS
from recbole_lcrec.instructions.mixture import (
    Capped,
    GivenInstructions,
    Mixture,
    StreamsFirst,
    alignment_instructions,
)
from recbole_lcrec.instructions.sources import SequentialInstructions, StreamInstructions
from recbole_lcrec.instructions.subtasks import SUBTASKS
from recbole_lcrec.instructions.templates import Instruction, Templates
from recbole_lcrec.instructions.user_texts import Intention, Preference
from tests.instructions.plain_world import (
    N_TEMPLATES,
    TEMPLATES,
    alignment_data,
    everything,
    material,
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
    return alignment_instructions(data or full_data(), tuning(**changes), templates, 3, 7, counted, budget, general)


def numbered(count):
    return GivenInstructions([Instruction(f"p{n}", f"r{n}") for n in range(count)])


# --- the parts --------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 4), max_size=5))
def test_a_mixture_is_its_parts_one_after_another(sizes):
    parts = tuple(
        (f"s{n}", GivenInstructions([Instruction(f"{n}", f"{m}") for m in range(size)])) for n, size in enumerate(sizes)
    )
    mixture = Mixture(parts)
    expected = [Instruction(f"{n}", f"{m}") for n, size in enumerate(sizes) for m in range(size)]
    assert everything(mixture, 3) == expected
    assert mixture.counts(3) == {f"s{n}": size for n, size in enumerate(sizes)}
    with pytest.raises(IndexError, match=f"has {sum(sizes)} instructions, so there is no number {sum(sizes)}"):
        mixture.instruction(3, sum(sizes))


@settings(deadline=None)
@given(st.integers(1, 25), st.integers(1, 30), st.integers(0, 3))
def test_a_cap_walks_through_all_data_before_any_comes_again(count, most, seed):
    source = Capped(numbered(count), most, seed)
    kept = min(count, most)
    epochs = [[int(one.response[1:]) for one in everything(source, epoch)] for epoch in range(-(-count // kept) * 3)]
    assert all(len(set(shown)) == len(shown) == kept for shown in epochs)  # a datum once per epoch
    walk = [datum for shown in epochs for datum in shown]
    rounds = [walk[start : start + count] for start in range(0, len(walk) - count + 1, count)]
    assert all(sorted(part) == list(range(count)) for part in rounds)
    assert set(Counter(walk).values()) <= {len(rounds), len(rounds) + 1}


def test_caps_follow_the_seed_and_no_earlier_call():
    orders = {tuple(one.response for one in everything(Capped(numbered(50), 10, seed), 1)) for seed in range(5)}
    assert len(orders) == 5
    backwards = [Capped(numbered(50), 10, 0).instruction(1, datum) for datum in reversed(range(10))]
    assert backwards[::-1] == everything(Capped(numbered(50), 10, 0), 1)


def test_streams_come_first():
    first, later = Mixture((("seq", numbered(2)),)), Mixture((("seq", numbered(5)), ("mut", numbered(1))))
    source = StreamsFirst(first, later, 2)
    assert [source.size(epoch) for epoch in range(4)] == [2, 2, 6, 6]
    assert source.counts(1) == {"seq": 2} and source.counts(2) == {"seq": 5, "mut": 1}
    assert everything(source, 1) == everything(first, 1) and everything(source, 2) == everything(later, 2)


# --- the source of a run ----------------------------------------------------------------------------------------------


def test_counts_by_hand():
    source = mixture_of(tasks="auto")
    assert source.counts(0) == COUNTS and list(source.counts(0)) == list(TASKS)
    subtasks = Counter(read_back(one)[1] for one in everything(source, 0))
    assert subtasks == {
        **{"seq": 5, "mut_title": 4, "mut_description": 3, "mut_text": 2, "mut_item": 2, "mut_item_title": 2},
        **{"asy_title": 4, "asy_description": 3, "asy_titles": 5, "ite": 3, "ite_history": 3, "per": 2},
    }


@pytest.mark.parametrize("family", TASKS)
def test_each_family_alone(family):
    source = mixture_of(tasks=[family])
    assert source.counts(5) == {family: COUNTS[family]}
    assert {SUBTASKS[read_back(one)[1]].family for one in everything(source, 0)} == {family}


def test_other_tasks_take_nothing_from_seq():
    alone = [one.response for one in everything(mixture_of(tasks=["seq"]), 2)]
    among = [one.response for one in everything(mixture_of(tasks="auto", samples_per_task={"asy": 2}), 2)]
    assert among[: len(alone)] == alone


def test_an_epoch_shows_each_datum_once_in_one_wording():
    source = mixture_of(tasks="auto")
    shown = []
    for epoch in range(12):
        made = [read_back(one) for one in everything(source, epoch)]
        data = Counter((subtask, str(prompt), str(response)) for _, subtask, prompt, response in made)
        wordings = tuple(number for number, *_ in made)
        assert set(data.values()) == {1}  # no two data of this set read alike
        shown.append((tuple(data), wordings))
    assert len({data for data, _ in shown}) == 1 and len({wordings for _, wordings in shown}) == 12
    columns = list(zip(*(wordings for _, wordings in shown), strict=True))
    assert all(set(column) <= set(range(N_TEMPLATES)) and len(set(column)) > 1 for column in columns)


def test_any_worker_and_any_resume_sees_the_same():
    source = mixture_of(tasks="auto", general=GENERAL, samples_per_task=4)
    calls = [(epoch, datum) for epoch in range(3) for datum in range(source.size(epoch))]
    expected = [source.instruction(*call) for call in calls]
    other = pickle.loads(pickle.dumps(mixture_of(tasks="auto", general=GENERAL, samples_per_task=4)))
    assert [other.instruction(*call) for call in reversed(calls)] == expected[::-1]


def test_a_cap_for_every_family_and_caps_by_family():
    assert mixture_of(tasks="auto", samples_per_task=4).counts(0) == {family: min(4, n) for family, n in COUNTS.items()}
    capped = mixture_of(tasks="auto", samples_per_task={"asy": 5, "per": 1})
    assert capped.counts(0) == {**COUNTS, "asy": 5, "per": 1}
    whole = Counter(
        (one.prompt[2:], one.response) for one in everything(mixture_of(tasks=["asy"]), 0)
    )  # without the number of the wording
    seen = Counter()
    for epoch in range(12):  # 12 data, 5 an epoch: each 5 times in 12 epochs
        seen.update(
            (one.prompt[2:], one.response) for one in everything(mixture_of(tasks=["asy"], samples_per_task=5), epoch)
        )
    assert seen == {datum: 5 * n for datum, n in whole.items()}


def test_general_instructions_come_once_per_epoch_as_they_are():
    source = mixture_of(tasks=["seq"], general=GENERAL, samples_per_task=1)
    assert source.counts(4) == {"seq": 1, "general": 2}
    assert everything(source, 4)[1:] == list(GENERAL)


def test_seq_is_given_as_instructions_or_as_streams():
    data = full_data()
    worded = SequentialInstructions(material(data, 3, 7), data.targets())
    streams = StreamInstructions(material(data, 3, 7))
    assert everything(mixture_of(tasks=["seq"]), 1) == everything(worded, 1)
    source = mixture_of(tasks=["seq", "per"], seq_format="stream")
    assert source.counts(1) == {"seq": 2, "per": 2}
    assert everything(source, 1)[:2] == everything(streams, 1)


def test_stream_epochs_hold_streams_alone_and_later_ones_the_mixture():
    source = mixture_of(tasks="auto", stream_epochs=2, general=GENERAL)
    assert [source.counts(epoch) for epoch in (0, 1)] == [{"seq": 2}] * 2
    assert source.counts(2) == {**COUNTS, "general": 2}
    assert all(not one.closed for one in everything(source, 1)) and all(one.closed for one in everything(source, 2))
    assert everything(source, 3) == everything(mixture_of(tasks="auto", general=GENERAL), 3)
    assert mixture_of(tasks="auto", stream_epochs=1, samples_per_task={"seq": 1}).counts(0) == {"seq": 1}


def test_auto_takes_what_there_is():
    assert mixture_of(alignment_data(LISTS), tokens=None).counts(0) == {"seq": 5}
    titles_only = mixture_of(alignment_data(LISTS, TITLES, ("",) * 6))
    assert titles_only.counts(0) == {"seq": 5, "mut": 4 + 4, "asy": 4 + 5}


# --- what cannot be built ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "lacks"),
    [("mut", "has no item texts"), ("asy", "has no item texts"), ("ite", "no intentions"), ("per", "no preferences")],
)
def test_a_family_asked_for_without_its_data_is_an_error(family, lacks):
    with pytest.raises(
        ValueError, match=rf"tuning_tasks = \['seq', '{family}'\]: {family} cannot .*{lacks}.*leave {family}"
    ):
        mixture_of(alignment_data(LISTS), tasks=["seq", family])


def test_streams_first_need_seq():
    unchecked = SimpleNamespace(**{**vars(tuning(tasks=["mut"])), "stream_epochs": 1})  # the settings refuse it too
    with pytest.raises(ValueError, match=r"tuning_stream_epochs = 1 .*\['mut'\] lacks it: add seq"):
        alignment_instructions(full_data(), unchecked, TEMPLATES, 3, 7, None, 10)


def test_tasks_without_templates_are_an_error():
    templates = Templates(TEMPLATES.frame, {task: TEMPLATES.tasks[task] for task in ("seq", "mut_title")})
    assert mixture_of(tasks=["seq"], templates=templates).size(0) == 5
    with pytest.raises(ValueError, match="no templates for mut_description, mut_text, mut_item, mut_item_title: add"):
        mixture_of(tasks=["seq", "mut"], templates=templates)


def test_titles_must_be_counted():
    with pytest.raises(ValueError, match="title_tokens must be counted"):
        mixture_of(tasks=["asy"], tokens=None)
    assert mixture_of(tasks=["mut"], tokens=None).counts(0) == {"mut": COUNTS["mut"]}
