"""SEQ: every datum of an epoch against plain lists, as instructions and as streams."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lcrec.instructions.alignment_data import AlignmentData
from recbole_lcrec.instructions.context import draw
from recbole_lcrec.instructions.tasks import subtasks
from recbole_lcrec.instructions.tasks.seq import (
    SequentialInstructions,
    StreamInstructions,
    sequential_prompt,
    stream,
    stream_prompt,
)
from recbole_lcrec.instructions.templates import Instruction
from tests.instructions.plain_world import (
    N_TEMPLATES,
    TEMPLATES,
    context_of,
    everything,
    marked,
    parsed,
    read_back,
    sequences_of,
)

SEQ = subtasks()["seq"]
N_ITEMS = 9
USERS = st.lists(st.lists(st.integers(0, N_ITEMS - 1), min_size=1, max_size=14), max_size=6)


def worded(sequences, texts, max_history, seed):
    data = AlignmentData(sequences, tuple(texts), None, None)
    return SequentialInstructions(context_of(data, max_history, seed), data.targets())


def streamed(sequences, texts, max_history, seed):
    return StreamInstructions(context_of(AlignmentData(sequences, tuple(texts), None, None), max_history, seed))


# --- SEQ as instructions ----------------------------------------------------------------------------------------------


def pairs(made):
    """History and target of each instruction."""
    return [(shown["history"], asked["item"]) for _, _, shown, asked in map(read_back, made)]


@settings(deadline=None)
@given(USERS, st.integers(1, 6), st.integers(0, 3), st.integers(0, 5))
def test_every_item_but_the_first_is_a_target_once(lists, max_history, seed, epoch):
    texts = [f"<{item}>" for item in range(N_ITEMS)]
    source = worded(sequences_of(lists), texts, max_history, seed)
    expected = [
        (", ".join(texts[item] for item in items[max(0, place - max_history) : place]), texts[items[place]])
        for items in lists
        for place in range(1, len(items))
    ]
    made = everything(source, epoch)
    assert pairs(made) == expected
    numbers = [draw(seed, epoch, datum, N_TEMPLATES, SEQ) for datum in range(len(made))]
    assert [read_back(one)[0] for one in made] == numbers


def test_instructions_by_hand():
    source = worded(sequences_of([[3], [1, 2, 1, 0], [4, 5]]), "abcdef", 2, 0)
    assert pairs(everything(source, 0)) == [
        ("b", "c"),
        ("b, c", "b"),
        ("c, b", "a"),
        ("e", "f"),
    ]


def test_only_templates_change_with_epoch_and_seed():
    lists = [list(range(9)) * 4]
    sources = [worded(sequences_of(lists), "abcdefghi", 5, seed) for seed in (0, 1)]
    wordings = {}
    for seed, source in enumerate(sources):
        for epoch in range(3):
            made = everything(source, epoch)
            assert [one.prompt[2:] for one in made] == [one.prompt[2:] for one in everything(source, 0)]
            assert [one.response for one in made] == [one.response for one in everything(source, 0)]
            wordings[seed, epoch] = "".join(one.prompt[0] for one in made)
            assert set(wordings[seed, epoch]) == set("0123")
    assert len(set(wordings.values())) == 6


def test_tuning_and_ranking_use_the_same_prompt():
    source = worded(sequences_of([[3, 4, 3, 5]]), "abcdef", 5, 0)
    for one in everything(source, 0):
        number, _, shown, _ = read_back(one)
        history = shown["history"].split(", ")
        assert sequential_prompt(TEMPLATES, TEMPLATES.tasks["seq"][number], history) == one.prompt


# --- SEQ as streams ---------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(USERS, st.integers(1, 6), st.integers(0, 3), st.integers(0, 5))
def test_windows_cover_every_target_once(lists, max_history, seed, epoch):
    sequences, texts, places = marked(lists)
    targets = []
    source = streamed(sequences, texts, max_history, seed)
    for one in everything(source, epoch):
        shown, asked = parsed(one.prompt), parsed(one.response)
        assert len(shown) == 1 and 1 <= len(asked) <= max_history
        user, place = shown[0]
        assert asked == [(user, place + step) for step in range(1, len(asked) + 1)]
        targets += asked
    assert targets == [(user, place) for user, place in places if place > 0]  # each once, and in order
    windows = [-(-(len(items) - 1) // max_history) for items in lists]  # no more rows than are needed
    assert source.size(epoch) == sum(windows)


def test_streams_by_hand():
    source = streamed(sequences_of([[3], [0, 1, 2], [4, 5, 4, 5, 0]]), "abcdef", 2, 0)
    assert [(one.prompt, one.response) for one in everything(source, 0)] == [("a", "bc"), ("e", "fe"), ("e", "fa")]


def test_windows_that_are_not_full_move_between_epochs():
    lists = [list(range(9)), list(range(7)), list(range(4))]  # 8, 6 and 3 targets in windows of 3: room in the first
    sequences, texts, _ = marked(lists)
    source = streamed(sequences, texts, 3, 0)
    starts = {}
    for epoch in range(30):
        for one in everything(source, epoch):
            user, place = parsed(one.prompt)[0]
            starts.setdefault((user, epoch), []).append(place)
    seen = [{tuple(starts[user, epoch]) for epoch in range(30)} for user in range(3)]
    assert seen == [{(0, 3, 6), (0, 2, 5)}, {(0, 3)}, {(0,)}]


def test_windows_of_users_move_independently():
    sequences, texts, _ = marked([list(range(9))] * 12)
    source = streamed(sequences, texts, 3, 0)
    second = [parsed(source.instruction(0, 3 * user + 1).prompt)[0][1] for user in range(12)]
    assert set(second) == {2, 3}


# --- both -------------------------------------------------------------------------------------------------------------


def both(lists, seed=0):
    sequences, texts, _ = marked(lists)
    return (
        worded(sequences, texts, 3, seed),
        streamed(sequences, texts, 3, seed),
    )


@pytest.mark.parametrize("lists", [[], [[1]], [[1], [2], [3]]])
def test_users_with_one_item_have_no_data(lists):
    assert [source.size(0) for source in both(lists)] == [0, 0]


@pytest.mark.parametrize("which", [0, 1])
def test_instructions_depend_on_no_earlier_call(which):
    lists = [[1] * 8, [2], [3] * 5, [4] * 13]
    source = both(lists)[which]
    calls = [(epoch, datum) for epoch in range(4) for datum in range(source.size(epoch))]
    in_order = {call: source.instruction(*call) for call in calls}
    shuffled = [calls[place] for place in np.random.default_rng(1).permutation(len(calls))]
    assert {call: source.instruction(*call) for call in shuffled} == in_order
    fresh = {call: both(lists)[which].instruction(*call) for call in shuffled[:5]}
    assert all(in_order[call] == one for call, one in fresh.items())


def test_a_stream_has_no_end_token():
    assert stream(["<a_1>", "<a_2>", "<a_3>"]) == Instruction("<a_1>", "<a_2><a_3>", closed=False)
    assert stream_prompt(["<a_1>", "<a_2>"]) == "<a_1><a_2>"
