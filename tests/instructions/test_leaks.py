"""No instruction of an epoch contains anything held out, by user and position.

Items repeat, so an index alone does not identify an interaction. The instructions of each data set are therefore built
twice: once as it is, and once with a unique item per interaction, which identifies user and position. Both must be
equal, word by word, when each unique item is replaced by the original one.
"""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lcrec.data.sequences import training_sequences
from recbole_lcrec.instructions.alignment_data import AlignmentData
from recbole_lcrec.instructions.context import InstructionContext
from recbole_lcrec.instructions.mixture import alignment_instructions
from recbole_lcrec.instructions.user_texts import Intention, Preference
from tests.instructions.plain_world import TEMPLATES, everything, parsed, read_back, tuning

N_ITEMS = 4
HELD_OUT = 2  # a validation and a test interaction for each user
USERS = st.lists(st.lists(st.integers(0, N_ITEMS - 1), min_size=4, max_size=12), min_size=1, max_size=5)
FORMS = [{"seq_format": "instruction"}, {"seq_format": "stream"}]


def split(lists):
    """Return the training split, from augmented rows (history | target) as in RecBole's leave-one-out split."""
    rows = [
        (user + 1, items[place] + 1, place, items[0] + 1)
        for user, items in enumerate(lists)
        for place in range(1, len(items) - HELD_OUT)
    ]
    return training_sequences(*np.array(rows, dtype=np.int64).T)


def walk(lists, index_of, title_of, user_texts, form):
    """Return all instructions of an epoch of the user-dependent families, over a catalogue with held-out items."""
    count = 1 + max(row for items in lists for row in items)
    data = AlignmentData(
        split(lists),
        tuple(index_of(row) for row in range(count)),
        tuple("T" + title_of(row) for row in range(count)),
        tuple("D" + title_of(row) for row in range(count)),
        *user_texts,
    )
    context = InstructionContext(data, TEMPLATES, 3, 0, np.ones(count, dtype=np.int64), 3)
    return everything(alignment_instructions(context, tuning(tasks=["seq", "asy", "ite", "per"], **form)), 1)


def texts_of_training(lists):
    """Return an intention for each training target and a preference for each prefix, each with its position."""
    lengths = [len(items) - HELD_OUT for items in lists]
    return (
        tuple(
            Intention(user, place, f"wish <u_{user}><p_{place}>")
            for user, n in enumerate(lengths)
            for place in range(1, n)
        ),
        tuple(
            Preference(user, until, f"like <u_{user}><p_{until - 1}>")
            for user, n in enumerate(lengths)
            for until in range(1, n + 1)
        ),
    )


@settings(deadline=None, max_examples=40)
@given(USERS, st.sampled_from(FORMS))
def test_no_instruction_touches_a_held_out_interaction(lists, form):
    places = [(user, place) for user, items in enumerate(lists) for place in range(len(items))]
    rows = iter(range(len(places)))
    marked_lists = [[next(rows) for _ in items] for items in lists]

    def mark(row):
        return "<u_{}><p_{}>".format(*places[row])

    made = walk(marked_lists, mark, mark, texts_of_training(lists), form)
    assert made
    for one in made:
        seen = parsed(one.prompt + one.response)
        assert len({user for user, _ in seen}) == 1  # data of one user only
        assert all(place < len(lists[user]) - HELD_OUT for user, place in seen)
        if one.closed:  # in words: the past before the target, nothing after it
            _, subtask, shown, asked = read_back(one)
            past, target = parsed(str(shown.get("history", shown.get("titles", "")))), parsed(str(asked))[-1]
            assert past == sorted(past) and len(past) <= 3
            assert not past or past[-1][1] == target[1] - (subtask != "per")
        else:
            assert seen == sorted(seen)

    def unmarked(text):
        return re.sub(r"(?<!wish )(?<!like )<u_(\d+)><p_(\d+)>", lambda m: f"<{lists[int(m[1])][int(m[2])]}>", text)

    repeated = walk(lists, lambda row: f"<{row}>", lambda row: f"<{row}>", texts_of_training(lists), form)
    assert [(one.prompt, one.response) for one in repeated] == [
        (unmarked(one.prompt), unmarked(one.response)) for one in made
    ]


@pytest.mark.parametrize("kind", ["intention", "preference"])
@pytest.mark.parametrize("beyond", [0, 1])
def test_texts_of_held_out_interactions_are_refused(kind, beyond):
    lists = [[0, 1, 0, 1, 0], [2, 3, 2, 3]]
    place = len(lists[1]) - HELD_OUT + beyond
    texts = {
        "intention": ((Intention(1, place, "from a held-out review"),), ()),
        "preference": ((), (Preference(1, place + 1, "from a held-out review"),)),
    }
    with pytest.raises(RuntimeError, match=f"{kind} of user 1 at position {place}, .*has 2 training items"):
        walk(lists, str, str, texts[kind], {})


def test_mut_does_not_depend_on_users():
    """The tasks on items are the same for all user sequences."""
    catalogue = (("<0>", "<1>", "<2>", "<3>"), ("a", "b", "", "d"), ("e", "", "g", "h"))
    made = [
        everything(
            alignment_instructions(
                InstructionContext(AlignmentData(split(lists), *catalogue), TEMPLATES, 3, 0), tuning(tasks=["mut"])
            ),
            0,
        )
        for lists in ([[0, 1, 2, 3]], [[3, 3, 3, 3, 3], [1, 0, 2, 0]])
    ]
    assert made[0] == made[1] and made[0]
