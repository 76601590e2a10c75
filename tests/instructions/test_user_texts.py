"""Intentions and preferences must belong to training interactions."""

import pytest

from recbole_lcrec.instructions.user_texts import Intention, Preference, UserTexts
from tests.instructions.plain_world import sequences_of

TRAINING = sequences_of([[7, 8, 9], [3], [4, 5]])


def test_texts_of_training_interactions_pass():
    intentions = (Intention(0, 1, "x"), Intention(0, 2, "x"), Intention(2, 1, "x"))
    preferences = tuple(
        Preference(user, until, "x") for user, n in ((0, 3), (1, 1), (2, 2)) for until in range(1, n + 1)
    )
    UserTexts(intentions, preferences, "file").require_training(TRAINING)
    UserTexts((), (), "none").require_training(sequences_of([]))


@pytest.mark.parametrize(
    ("user", "position", "held"),
    [
        *((0, 3, "has 3 training items"), (0, 4, "has 3"), (1, 1, "has 1"), (0, 0, "has 3"), (0, -1, "has 3")),
        *((user, 1, "is not in the training sequences") for user in (3, -1)),
    ],
)
def test_intentions_outside_training_are_an_error(user, position, held):
    texts = UserTexts((Intention(0, 1, "x"), Intention(user, position, "secret")), (), "reviews")
    with pytest.raises(
        RuntimeError, match=f"intention of user {user} at position {position}, from reviews.*{held}"
    ) as caught:
        texts.require_training(TRAINING)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("user", "until"), [(0, 4), (1, 2), (0, 0), (3, 1), (-1, 1)])
def test_preferences_outside_training_are_an_error(user, until):
    texts = UserTexts((), (Preference(2, 2, "x"), Preference(user, until, "x")), "reviews")
    with pytest.raises(RuntimeError, match=f"preference of user {user} at position {until - 1}"):
        texts.require_training(TRAINING)
