"""Report of an import: counts after each step, findings, and statistics of the data set."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from logging import getLogger
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from recbole_lcrec.preparation.step_counts import StepCounts
from recbole_lcrec.preparation.tables.findings import Finding

__all__ = [
    "DatasetStatistics",
    "ImportReport",
    "TextCoverage",
    "describe",
    "describe_texts",
    "split_sizes",
    "suggest_commands",
]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_MIN_TESTED, _MIN_VALIDATED = 3, 4
_TIME_BINS = 60
_SECOND = 10**9


@dataclass(frozen=True)
class TextCoverage:
    """Coverage of one text field.

    Attributes:
        table: ``interactions`` or ``items``.
        name: name of the field.
        rows: number of rows of the table.
        filled: number of rows with a text.
        distinct: number of distinct texts.
        words: quantiles of the number of words of filled texts, at :data:`QUANTILES`; empty if there are none.
    """

    table: str
    name: str
    rows: int
    filled: int
    distinct: int
    words: tuple[float, ...]


@dataclass(frozen=True)
class DatasetStatistics:
    """Statistics of a data set.

    Attributes:
        users: number of users with an interaction.
        items: number of items of the catalogue.
        bought: number of items with an interaction.
        interactions: number of interactions.
        density: share of all user-item pairs of the catalogue that occur.
        lengths: number of interactions -> number of users who have that many.
        length_quantiles: interactions per user, at :data:`QUANTILES`.
        popularity: (rank, interactions) of items, most popular first, at up to 400 ranks.
        top_share: share of the interactions with the most popular tenth of the catalogue.
        first_time: ISO, UTC.
        last_time: ISO, UTC.
        time_bins: (start, interactions) of periods of equal length.
        split: part -> (rows, users), with leave-one-out.
    """

    users: int
    items: int
    bought: int
    interactions: int
    density: float
    lengths: Mapping[int, int]
    length_quantiles: tuple[float, ...]
    popularity: tuple[tuple[int, int], ...]
    top_share: float
    first_time: str
    last_time: str
    time_bins: tuple[tuple[str, int], ...]
    split: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class ImportReport:
    """Report of an import.

    Attributes:
        name: name of the data set.
        folder: folder of the data set.
        sources: table -> file and its format.
        columns: table -> field with its type -> column of the table.
        steps: counts after each step, from the file to the result.
        findings: in the order of the checks.
        numbers: statistics of the result.
        texts: coverage by field.
        commands: suggested commands, each with a short explanation.
        seconds: duration of the import.
    """

    name: str
    folder: str
    sources: Mapping[str, str]
    columns: Mapping[str, Mapping[str, str]]
    steps: tuple[StepCounts, ...]
    findings: tuple[Finding, ...]
    numbers: DatasetStatistics
    texts: tuple[TextCoverage, ...]
    commands: tuple[tuple[str, str], ...]
    seconds: float = 0.0

    def table(self) -> str:
        """Return steps and findings as two text tables."""
        steps = tabulate(
            [(step.step, *step.triple()) for step in self.steps],
            headers=["", "users", "items", "interactions"],
            intfmt=",",
        )
        found = [(one.what, one.count, one.total, one.action) for one in self.findings]
        if not found:
            return steps
        return f"{steps}\n\n{tabulate(found, headers=['finding', 'count', 'of', ''], intfmt=',')}"

    def log(self) -> None:
        """Log the tables, and a warning for each kind of dropped rows."""
        n = self.numbers
        getLogger().info(
            f"{self.name}: {n.users:,} users, {n.items:,} items, {n.interactions:,} interactions\n{self.table()}"
        )
        for one in self.findings:
            if one.action == "dropped":
                first = f", first {one.examples[0].where} ({one.examples[0].text})" if one.examples else ""
                getLogger().warning(f"dropped {one.count:,} {one.what}{first}")

    def save(self, path: Path) -> None:
        """Write the report as JSON.

        Raises:
            OSError: the file cannot be written.
        """
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def describe(users: np.ndarray, items: np.ndarray, nanoseconds: np.ndarray, n_items: int) -> DatasetStatistics:
    """Compute the statistics of a data set.

    Args:
        users: int64 [R], code of each interaction's user, 0 to U - 1, each used.
        items: int64 [R], code of each interaction's item, from 0, each used.
        nanoseconds: int64 [R], since 1970.
        n_items: number of items of the catalogue.
    """
    lengths, sold = np.bincount(users), np.sort(np.bincount(items))[::-1]
    values, counts = np.unique(lengths, return_counts=True)
    pairs = len(pd.DataFrame({"user": users, "item": items}).drop_duplicates())
    ranks = np.unique(np.geomspace(1, len(sold), min(len(sold), 400)).round().astype(np.int64))
    tenth = max(1, n_items // 10)
    return DatasetStatistics(
        users=len(lengths),
        items=n_items,
        bought=len(sold),
        interactions=len(users),
        density=pairs / (len(lengths) * n_items),
        lengths=dict(zip(values.tolist(), counts.tolist(), strict=True)),
        length_quantiles=tuple(np.quantile(lengths, QUANTILES).tolist()),
        popularity=tuple((int(rank), int(sold[rank - 1])) for rank in ranks),
        top_share=float(sold[:tenth].sum() / len(users)),
        first_time=_iso(int(nanoseconds.min())),
        last_time=_iso(int(nanoseconds.max())),
        time_bins=_time_bins(nanoseconds),
        split=split_sizes(lengths),
    )


def _iso(nanoseconds: int) -> str:
    return pd.Timestamp(nanoseconds, tz="UTC").isoformat().replace("+00:00", "Z")


def _time_bins(nanoseconds: np.ndarray) -> tuple[tuple[str, int], ...]:
    first, last = int(nanoseconds.min()), int(nanoseconds.max())
    if first == last:
        return ((_iso(first), len(nanoseconds)),)
    width = -(-(last - first + 1) // _TIME_BINS)
    if width > _SECOND:  # so that periods start at whole seconds after the first
        width = -(-width // _SECOND) * _SECOND
    counts = np.bincount((nanoseconds - first) // width)
    return tuple((_iso(first + n * width), int(count)) for n, count in enumerate(counts.tolist()))


def split_sizes(lengths: np.ndarray) -> dict[str, tuple[int, int]]:
    """Return rows and users of each part of a leave-one-out split.

    Each user's last item is tested, the one before validates. A row is an item with the history before it, so a user's
    first item makes no row. Users need three interactions to be tested, four to be validated.

    Args:
        lengths: int64 [U], interactions of each user.
    """
    tested, validated = int((lengths >= _MIN_TESTED).sum()), int((lengths >= _MIN_VALIDATED).sum())
    rows = int((lengths - 1).clip(0).sum()) - tested - validated
    return {
        "training": (rows, int((lengths >= 2).sum())),
        "validation": (validated, validated),
        "test": (tested, tested),
    }


def describe_texts(table: str, columns: pd.DataFrame, types: Mapping[str, str]) -> tuple[TextCoverage, ...]:
    """Return the coverage of a table's text fields; ids, times and numbers are skipped.

    Args:
        table: ``interactions`` or ``items``.
        columns: field -> cleaned texts.
        types: field -> RecBole's type.
    """
    found = []
    for name in columns.columns:
        if name in ("user_id", "item_id", "timestamp") or types[name].startswith("float"):
            continue
        filled = columns[name][columns[name] != ""]
        words = (filled.str.count(" ") + 1).to_numpy(np.float64)
        quantiles = tuple(np.quantile(words, QUANTILES).tolist()) if len(words) else ()
        found.append(TextCoverage(table, str(name), len(columns), len(filled), int(filled.nunique()), quantiles))
    return tuple(found)


def suggest_commands(
    name: str, data_path: str, text_fields: Sequence[str], history: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    """Suggest commands that fit the data set, each with a short explanation.

    Args:
        name: name of the data set.
        data_path: folder that contains it.
        text_fields: text fields of the items.
        history: item ids of some user, oldest first.
    """
    own = [f"--dataset={name}"] + ([] if data_path == "dataset" else [f"--data_path={data_path}"])
    others = [field for field in text_fields if field not in ("title", "description")]
    titles = ["title"] if "title" in text_fields else others[:1]
    descriptions = ["description"] if "description" in text_fields else []
    if text_fields and titles != ["title"]:
        own.append(f"--text_title_fields=[{', '.join(titles)}]")
    if text_fields and not descriptions:
        own.append("--text_description_fields=[]")
    index = shlex.join(["python", "-m", "recbole_lcrec.indexing", *own])
    run = ["python", "run_recbole_lcrec.py", "--model=LCRec,SASRec,Pop", *own]
    run.append("--config_files=properties/quick_start.yaml")
    ask = ["python", "-m", "recbole_lcrec.recommend", f"--run=saved/LCRec-{name}-<time>", "--k=10"]
    plain = [item for item in history if "," not in item][-5:]
    ask.append(f"--history={','.join(plain)}")
    lines = [
        (index, "learns only the item index and writes an HTML report about it"),
        (shlex.join(run), "trains a small LCRec and two baselines and prints one table of results"),
        (shlex.join(ask), "ranks the catalogue for one history; replace <time> to match the folder of your run"),
    ]
    return tuple(lines if text_fields else lines[1:])
