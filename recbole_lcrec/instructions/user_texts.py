"""Intentions and preferences of users at positions of their training sequences."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_lcrec.data.sequences import UserSequences

__all__ = ["Intention", "Preference", "UserTexts"]


@dataclass(frozen=True)
class Intention:
    """A text on what a user was looking for when they chose an item (paper III-C3, ITE).

    Attributes:
        user: row of the training sequences.
        position: of the chosen item in the user's training sequence, at least 1.
        text: the intention in words.
    """

    user: int
    position: int
    text: str


@dataclass(frozen=True)
class Preference:
    """A text on what a user likes (paper III-C3, PER).

    Attributes:
        user: row of the training sequences.
        until: number of the user's first training items that the text was made from, at least 1.
        text: the preference in words.
    """

    user: int
    until: int
    text: str


@dataclass(frozen=True)
class UserTexts:
    """All intentions and preferences of a data set.

    Attributes:
        intentions: several per position are allowed.
        preferences: several per user are allowed.
        source: where they come from, for the log and for artifacts.
    """

    intentions: tuple[Intention, ...]
    preferences: tuple[Preference, ...]
    source: str

    def require_training(self, sequences: UserSequences) -> None:
        """Check that every text belongs to a training interaction, so that nothing held out is learned.

        Args:
            sequences: the training split only.

        Raises:
            RuntimeError: an intention or a preference points outside; the message names the first.
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
                    f"interactions: the user {held}. Nothing held out may be learned; make the texts from the training "
                    "sequences only."
                )
