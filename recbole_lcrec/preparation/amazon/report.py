"""Report of a preparation: counts after each step, compared with the paper's counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from logging import getLogger
from pathlib import Path

from tabulate import tabulate

from recbole_lcrec.preparation.step_counts import StepCounts

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """The preparation of one data set.

    Attributes:
        name: name of the data set.
        category: Amazon's category.
        edition: ``2018`` or ``2023``.
        steps: counts after each step, from the raw files to the result.
        expected: users, items and interactions of the paper's Table II, without the padding id; None if it has none.
        with_untitled: the result if items with metadata but no title were kept; given if the counts differ.
        notes: other counts, such as broken lines and reviews found.
    """

    name: str
    category: str
    edition: str
    steps: tuple[StepCounts, ...]
    expected: tuple[int, int, int] | None = None
    with_untitled: tuple[int, int, int] | None = None
    notes: Mapping[str, int] = field(default_factory=dict)

    def table(self) -> str:
        """Return the steps as a text table, followed by the paper's counts."""
        rows: list[tuple[str, int, int, int]] = [(step.step, *step.triple()) for step in self.steps]
        if self.expected:
            rows.append(("Table II of the paper, without padding id", *self.expected))
        return tabulate(rows, headers=["", "users", "items", "interactions"], intfmt=",")

    def difference(self) -> str | None:
        """Return one sentence on how the result differs from the paper's; None if equal or without counts."""
        ours = self.steps[-1].triple()
        if self.expected is None or ours == self.expected:
            return None
        deltas = ", ".join(
            f"{ours[i] - self.expected[i]:+,} {what}" for i, what in enumerate(("users", "items", "interactions"))
        )
        text = f"{self.name} differs from Table II of the paper: {deltas}"
        if self.with_untitled is not None:
            same = "equal to Table II" if self.with_untitled == self.expected else "not equal to Table II either"
            counts = " / ".join(f"{count:,}" for count in self.with_untitled)
            text += f". With the items that have metadata but no title (--keep_untitled) it is {counts}, {same}"
        return text

    def log(self) -> None:
        """Log the table and the notes, and a warning if the counts differ from the paper's."""
        notes = "; ".join(f"{what}: {count:,}" for what, count in self.notes.items())
        getLogger().info(f"{self.name} ({self.category}, {self.edition})\n{self.table()}\n{notes}")
        if (difference := self.difference()) is not None:
            getLogger().warning(difference)

    def save(self, path: Path) -> None:
        """Write the report as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Report:
        """Read a report written by :meth:`save`.

        Raises:
            ValueError: the file is not such a report.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            for name in ("expected", "with_untitled"):
                values[name] = None if values[name] is None else tuple(values[name])
            return cls(**{**values, "steps": tuple(StepCounts(**step) for step in values["steps"])})
        except (OSError, ValueError, TypeError, KeyError) as err:
            raise ValueError(f"{path} is not a readable preparation report ({err}); remove it") from err
