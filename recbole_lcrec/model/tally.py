"""What an evaluation saw: users, histories that were cut, and how many results are proved.

Knows counts. Refuses to know how users are ranked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from recbole_lcrec.decoding import Beams

__all__ = ["Tally"]


class Tally:
    """Counts over the users of one evaluation."""

    def __init__(self) -> None:
        self.users = 0
        self.shortened = 0
        self.certified: Counter[int] = Counter()

    def add(self, beams: Beams, shortened: int, topk: Sequence[int]) -> None:
        """Counts more users.

        Args:
            beams: of these users.
            shortened: how many of them have a history that lost its oldest items.
            topk: numbers of items that are looked at.
        """
        self.users += len(beams.items)
        self.shortened += shortened
        for k in topk:
            self.certified[k] += int(beams.certified(k).sum())

    def shares(self) -> dict[int, float]:
        """For each number of items, the share of users whose items are certified."""
        return {k: count / max(self.users, 1) for k, count in sorted(self.certified.items())}

    def lines(self) -> list[str]:
        """What the log should say."""
        if not self.users:
            return []
        shares = ", ".join(f"{share:.1%} at {k}" for k, share in self.shares().items())
        lines = [f"Certified to be the best of the whole catalogue: {shares} of {self.users:,} rankings"]
        if self.shortened:
            lines.append(
                f"{self.shortened:,} of {self.users:,} histories lost their oldest items, which the model's context "
                "has no room for"
            )
        return lines
