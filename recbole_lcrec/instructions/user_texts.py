"""What users say and like: texts that belong to a user and to a place in the user's training sequence.

Knows users and positions. Refuses to know where the texts come from: a file, a language model or the reviews.
"""

from __future__ import annotations

from dataclasses import dataclass

from recbole_lcrec.data.sequences import UserSequences

__all__ = ["Intention", "Preference", "UserTexts"]


@dataclass(frozen=True)
class Intention:
    """What a user wanted when the user chose an item (paper III-C3, ITE).

    Attributes:
        user: row of the training sequences.
        position: place of the chosen item in the user's training sequence, at least 1.
        text: the intention in words.
    """

    user: int
    position: int
    text: str


@dataclass(frozen=True)
class Preference:
    """What a user likes, in words (paper III-C3, PER).

    Attributes:
        user: row of the training sequences.
        until: how many of the user's first training items the text was made from, at least 1.
        text: the preference in words.
    """

    user: int
    until: int
    text: str


@dataclass(frozen=True)
class UserTexts:
    """All intentions and preferences of a data set.

    Attributes:
        intentions: a position may have several.
        preferences: a user may have several.
        source: where they come from, for the log and for artifacts.
    """

    intentions: tuple[Intention, ...]
    preferences: tuple[Preference, ...]
    source: str

    def require_training(self, sequences: UserSequences) -> None:
        """Makes sure that every text stands inside the training sequences, so that nothing held out is learned.

        Args:
            sequences: the training part alone.

        Raises:
            RuntimeError: an intention or a preference points outside; the message names the first such place.
        """
        lengths = sequences.lengths()
        for kind, user, last in (
            *(("intention", one.user, one.position) for one in self.intentions),
            *(("preference", one.user, one.until - 1) for one in self.preferences),
        ):
            known = 0 <= user < len(lengths)
            first = 1 if kind == "intention" else 0
            if not known or not first <= last < int(lengths[user]):
                held = f"has {int(lengths[user])} training items" if known else "is not in the training sequences"
                raise RuntimeError(
                    f"the {kind} of user {user} at position {last}, from {self.source}, is not among the training "
                    f"interactions: the user {held}. Nothing held out may be learned from; build the texts from the "
                    "training sequences alone."
                )
