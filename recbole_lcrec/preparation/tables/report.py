"""What an import made: counts step by step, findings, and the numbers that describe the data set.

Knows arrays of lengths, counts and texts. Refuses to know files of the user, and how a page is drawn.
"""

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

from recbole_lcrec.preparation.amazon.report import Counts
from recbole_lcrec.preparation.tables.findings import Finding

__all__ = [
    "ImportReport",
    "ShopNumbers",
    "TextCoverage",
    "describe",
    "describe_texts",
    "split_sizes",
    "suggest_commands",
    "suggest_index",
]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_MIN_TESTED, _MIN_VALIDATED = 3, 4
_DEFAULT_CODES = 256
_TIME_BINS = 60
_SECOND = 10**9


@dataclass(frozen=True)
class TextCoverage:
    """One field of texts.

    Attributes:
        table: ``interactions`` or ``items``.
        name: of the field.
        rows: how many rows the table has.
        filled: how many have a text.
        distinct: different texts among them.
        words: quantiles of the number of words of the filled ones, at :data:`QUANTILES`; empty where none is.
    """

    table: str
    name: str
    rows: int
    filled: int
    distinct: int
    words: tuple[float, ...]


@dataclass(frozen=True)
class ShopNumbers:
    """What describes a data set.

    Attributes:
        users: with an interaction.
        items: of the catalogue.
        bought: items with an interaction.
        interactions: rows.
        density: share of the user-item pairs of the catalogue that there are.
        lengths: number of interactions -> users who have as many.
        length_quantiles: interactions of a user, at :data:`QUANTILES`.
        popularity: interactions of the items that have some, at most 400 ranks of them: (rank, interactions).
        top_share: share of the interactions that the most bought tenth of the catalogue takes.
        first_time: ISO, UTC.
        last_time: ISO, UTC.
        time_bins: (start, interactions) of periods of equal length.
        split: part -> (rows, users), under leave-one-out.
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
    """An import.

    Attributes:
        name: of the data set.
        folder: where it lies.
        sources: table -> file and how it was read.
        columns: table -> field with its type -> column of the user's.
        steps: counts, from the file to the result.
        findings: in the order of the checks.
        numbers: what describes the result.
        texts: coverage by field.
        commands: what can be run next, with a word on each.
        seconds: of the import.
    """

    name: str
    folder: str
    sources: Mapping[str, str]
    columns: Mapping[str, Mapping[str, str]]
    steps: tuple[Counts, ...]
    findings: tuple[Finding, ...]
    numbers: ShopNumbers
    texts: tuple[TextCoverage, ...]
    commands: tuple[tuple[str, str], ...]
    seconds: float = 0.0

    def table(self) -> str:
        """Steps and findings as two tables."""
        steps = tabulate(
            [(step.step, *step.triple()) for step in self.steps],
            headers=["", "users", "items", "interactions"],
            intfmt=",",
        )
        found = [(one.what, one.count, one.total, one.action) for one in self.findings]
        if not found:
            return steps
        return f"{steps}\n\n{tabulate(found, headers=['found', 'count', 'of', ''], intfmt=',')}"

    def log(self) -> None:
        """Writes the tables to the log, and what was dropped as a warning."""
        n = self.numbers
        getLogger().info(
            f"{self.name}: {n.users:,} users, {n.items:,} items, {n.interactions:,} interactions\n{self.table()}"
        )
        for one in self.findings:
            if one.action == "dropped":
                first = f", first {one.examples[0].where} ({one.examples[0].text})" if one.examples else ""
                getLogger().warning(f"{one.count:,} {one.what} left out{first}")

    def save(self, path: Path) -> None:
        """Writes the report as JSON.

        Raises:
            OSError: it cannot be written.
        """
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def describe(users: np.ndarray, items: np.ndarray, nanoseconds: np.ndarray, n_items: int) -> ShopNumbers:
    """The numbers of a data set.

    Args:
        users: int64 [R], code of each interaction's user, 0 to U - 1, none left out.
        items: int64 [R], code of each interaction's item, likewise.
        nanoseconds: int64 [R], since 1970.
        n_items: items of the catalogue.
    """
    lengths, sold = np.bincount(users), np.sort(np.bincount(items))[::-1]
    values, counts = np.unique(lengths, return_counts=True)
    pairs = len(pd.DataFrame({"user": users, "item": items}).drop_duplicates())
    ranks = np.unique(np.geomspace(1, len(sold), min(len(sold), 400)).round().astype(np.int64))
    tenth = max(1, n_items // 10)
    return ShopNumbers(
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
    if width > _SECOND:  # so that periods begin at whole seconds after the first
        width = -(-width // _SECOND) * _SECOND
    counts = np.bincount((nanoseconds - first) // width)
    return tuple((_iso(first + n * width), int(count)) for n, count in enumerate(counts.tolist()))


def split_sizes(lengths: np.ndarray) -> dict[str, tuple[int, int]]:
    """Rows and users of each part when each user's last item is tested and the one before it validated.

    A row is an item with the history before it, so a user's first item makes none. A user needs three interactions to
    be tested, four to be validated.

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
    """Coverage of a table's fields, those of ids, times and numbers left out.

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


def suggest_index(n_items: int) -> Mapping[str, int]:
    """Sizes of the index for a small catalogue; nothing where the paper's fit.

    With hardly more items than codes most items would have a first code of their own: about the square root of the
    items as codes, on three levels, gives prefixes that items share.
    """
    if n_items >= 4 * _DEFAULT_CODES:
        return {}
    return {"index_codebook_size": max(2, round(float(np.sqrt(n_items)))), "index_levels": 3}


def suggest_commands(
    name: str, data_path: str, n_items: int, text_fields: Sequence[str], history: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    """Command lines that fit the data set, with a word on each.

    Args:
        name: of the data set.
        data_path: folder that holds it.
        n_items: items of the catalogue.
        text_fields: fields of texts of the items.
        history: ids of some user's items, oldest first.
    """
    own = [f"--dataset={name}"] + ([] if data_path == "dataset" else [f"--data_path={data_path}"])
    others = [field for field in text_fields if field not in ("title", "description")]
    titles = ["title"] if "title" in text_fields else others[:1]
    about = ["description"] if "description" in text_fields else []
    if text_fields and titles != ["title"]:
        own.append(f"--text_title_fields=[{', '.join(titles)}]")
    if text_fields and not about:
        own.append("--text_description_fields=[]")
    sizes = [f"--{key}={value}" for key, value in suggest_index(n_items).items()]
    index = shlex.join(["python", "-m", "recbole_lcrec.indexing", *own, *sizes])
    run = ["python", "run_recbole_lcrec.py", "--model=LCRec,SASRec,Pop", *own, *sizes]
    run.append("--config_files=properties/quick_start.yaml")
    ask = ["python", "-m", "recbole_lcrec.recommend", f"--run=saved/LCRec-{name}-<time>", "--k=10"]
    plain = [item for item in history if "," not in item][-5:]
    ask.append(f"--history={','.join(plain)}")
    lines = [
        (index, "learns the item index alone and draws a page about it"),
        (shlex.join(run), "trains a small LCRec beside two baselines and prints one table"),
        (shlex.join(ask), "ranks the catalogue for one history; put the folder of your run in the place of <time>"),
    ]
    return tuple(lines if text_fields else lines[1:])
