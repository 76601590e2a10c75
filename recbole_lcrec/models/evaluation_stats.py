"""What an evaluation saw: users, histories that were cut, and how many results are proved.

Knows counts. Refuses to know how users are ranked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from recbole_lcrec.decoding import Ranking

__all__ = ["EvaluationStats"]


class EvaluationStats:
    """Counts over the users of one evaluation."""

    def __init__(self, beam_size: int) -> None:
        """Begins to count.

        Args:
            beam_size: beams that every search begins with.
        """
        self.beam_size = beam_size
        self.users = 0
        self.shortened = 0
        self.certified: Counter[int] = Counter()
        self.beam_sizes: Counter[int] = Counter()

    def add_histories(self, users: int, shortened: int) -> None:
        """Counts users, and those of them whose histories lost their oldest items."""
        self.users += users
        self.shortened += shortened

    def add_ranking(self, ranking: Ranking, topk: Sequence[int]) -> None:
        """Counts certificates at each of these numbers of items, and the beams that they took."""
        for k in topk:
            self.certified[k] += int(ranking.certified(k).sum())
        self.beam_sizes.update(ranking.beam_sizes.tolist())

    def shares(self) -> dict[int, float]:
        """For each number of items, the share of users whose items are certified; empty where items were given."""
        return {k: count / max(self.users, 1) for k, count in sorted(self.certified.items())}

    def lines(self) -> list[str]:
        """What the log should say."""
        lines = []
        if self.certified:
            shares = ", ".join(f"{share:.1%} at {k}" for k, share in self.shares().items())
            lines.append(f"Proved to be the best of all items that may come up: {shares}, of {self.users:,} users")
        widened = sum(count for size, count in self.beam_sizes.items() if size > self.beam_size)
        if widened:
            lines.append(
                f"For that {widened / max(self.users, 1):.1%} of the users took more than {self.beam_size} beams, "
                f"{max(self.beam_sizes):,} at most (decoding_exact)"
            )
        if self.shortened:
            lines.append(
                f"{self.shortened:,} of {self.users:,} histories lost their oldest items, for which there is no room "
                "(tuning_max_length, the model's context)"
            )
        return lines
