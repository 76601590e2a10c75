"""Statistics of one evaluation.

Users, shortened histories, certified results and beam sizes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from recbole_lcrec.decoding import Ranking

__all__ = ["EvaluationStats"]


class EvaluationStats:
    """Counts over the users of one evaluation."""

    def __init__(self, beam_size: int) -> None:
        """Start with counts of zero.

        Args:
            beam_size: number of beams with which every search starts.
        """
        self.beam_size = beam_size
        self.users = 0
        self.shortened = 0
        self.certified: Counter[int] = Counter()
        self.beam_sizes: Counter[int] = Counter()

    def add_histories(self, users: int, shortened: int) -> None:
        """Add users, and how many of their histories lost the oldest items."""
        self.users += users
        self.shortened += shortened

    def add_ranking(self, ranking: Ranking, topk: Sequence[int]) -> None:
        """Add the certificates at each cut-off of ``topk``, and the beam sizes of the searches."""
        for k in topk:
            self.certified[k] += int(ranking.certified(k).sum())
        self.beam_sizes.update(ranking.beam_sizes.tolist())

    def shares(self) -> dict[int, float]:
        """Return cut-off -> share of users whose items are certified; empty if given candidates were scored."""
        return {k: count / max(self.users, 1) for k, count in sorted(self.certified.items())}

    def lines(self) -> list[str]:
        """Return the lines for the log."""
        lines = []
        if self.certified:
            shares = ", ".join(f"{share:.1%} at {k}" for k, share in self.shares().items())
            lines.append(f"Proved to be the best of all allowed items: {shares}, of {self.users:,} users")
        widened = sum(count for size, count in self.beam_sizes.items() if size > self.beam_size)
        if widened:
            lines.append(
                f"This took more than {self.beam_size} beams for {widened / max(self.users, 1):.1%} of the users, at "
                f"most {max(self.beam_sizes):,} (decoding_exact)"
            )
        if self.shortened:
            lines.append(
                f"{self.shortened:,} of {self.users:,} histories lost their oldest items, which do not fit "
                "(the length limit of prompts)"
            )
        return lines
