"""Counts of users, items and interactions after each step of a preparation."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["StepCounts"]


@dataclass(frozen=True)
class StepCounts:
    """Users, items and interactions after one step."""

    step: str
    users: int
    items: int
    interactions: int

    def triple(self) -> tuple[int, int, int]:
        """Return users, items, interactions."""
        return self.users, self.items, self.interactions
