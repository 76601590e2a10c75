"""Find unusable rows of a user table, and stop if there are too many."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from recbole_lcrec.data.item_text import clean_text
from recbole_lcrec.data.reserved_ids import READ_AS_MISSING, RESERVED_IDS
from recbole_lcrec.preparation.tables.findings import BadRowLimit, Finding, examples_of, finding
from recbole_lcrec.preparation.tables.reading import RawTable

__all__ = ["require_numbers", "usable_rows", "without_reserved_ids"]

_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_PLAIN = {"float": rf"\s*{_NUMBER}\s*", "float_seq": rf"\s*{_NUMBER}(?:\s+{_NUMBER})*\s*"}


def without_reserved_ids(table: RawTable, names: Collection[str]) -> tuple[pd.DataFrame, tuple[Finding, ...]]:
    """Append an underscore to ids that RecBole reads as missing.

    Raises:
        ValueError: the new id exists already.
    """
    columns = table.columns.copy()
    found: list[Finding] = []
    for name in names:
        reserved = columns[name].isin(RESERVED_IDS).to_numpy(bool)
        new = columns[name][reserved] + "_"
        if taken := sorted(set(new) & set(columns[name])):
            raise ValueError(f"{table.path}: {name} {taken[0][:-1]!r} cannot be marked, as {taken[0]!r} exists already")
        found += finding(
            "marked_ids",
            reserved.sum(),
            len(table),
            "changed",
            examples_of(table.path.name, table.unit, table.lines[reserved], columns[name][reserved]),
        )
        columns.loc[reserved, name] = new
    return columns, tuple(found)


def usable_rows(
    table: RawTable, bad: Mapping[str, tuple[np.ndarray, pd.Series]], limit: BadRowLimit
) -> tuple[np.ndarray, tuple[Finding, ...]]:
    """Return the rows that have no problem.

    Args:
        table: the rows.
        bad: key of the finding, optionally followed by a field -> (bool [R], texts to show); a row counts for the
            first.
        limit: allowed number of bad rows.

    Returns:
        bool [R], and the findings, broken records first.

    Raises:
        ValueError: there are more bad rows than the limit; names the first ones.
    """
    usable = np.ones(len(table), dtype=bool)
    found: list[Finding] = []
    n_broken = sum(record.n_lines for record in table.broken)
    n_rows = len(table) + n_broken
    where = np.array([record.line for record in table.broken], dtype=np.int64)
    reasons = [record.reason for record in table.broken]
    found += finding("broken", n_broken, n_rows, "dropped", examples_of(table.path.name, table.unit, where, reasons))
    first: list[tuple[int, str]] = list(zip(where.tolist()[:10], reasons[:10], strict=True))
    for key, (mask, texts) in bad.items():
        first_bad = mask & usable
        usable &= ~mask
        name, _, field = key.partition(" ")
        shown = texts[first_bad].iloc[:10]
        new = finding(
            name,
            first_bad.sum(),
            n_rows,
            "dropped",
            examples_of(table.path.name, table.unit, table.lines[first_bad], _quoted(texts, first_bad)),
        )
        found += new
        what = new[0].what if new else ""
        first += [
            (int(line), f"{what}: {field or ''}{' ' if field else ''}{text!r:.80}")
            for line, text in zip(table.lines[first_bad], shown, strict=False)
        ]
    n_bad = n_broken + int((~usable).sum())
    if not limit.allows(n_bad, n_rows):
        listed = "; ".join(f"{table.unit} {line}: {reason}" for line, reason in sorted(first)[:10])
        remedies = " ".join(dict.fromkeys(one.remedy for one in found))
        raise ValueError(
            f"{table.path}: {n_bad:,} of {n_rows:,} rows ({n_bad / n_rows:.1%}) cannot be used, more than "
            f"--bad_row_limit={limit.text} allows. The first are {listed}. {remedies}"
        )
    return usable, tuple(found)


def _quoted(texts: pd.Series, rows: np.ndarray) -> list[str]:
    """Return the first texts of some rows as ``repr``, so that blanks and control characters are visible."""
    return [repr(text) for text in texts[rows].iloc[:5]]


def require_numbers(table: RawTable, types: Mapping[str, str]) -> None:
    """Check that float columns contain only numbers or blanks; float_seq columns, numbers separated by blanks.

    Raises:
        ValueError: a value is not a number; names the first lines and the remedy.
    """
    for name, kind in types.items():
        if kind not in _PLAIN or name == "timestamp" or name not in table.columns:
            continue
        texts = table.columns[name]
        if kind == "float_seq":  # also printed lists, "[1, 2]"
            texts = texts.map(clean_text)
        wrong = ~(texts.str.fullmatch(_PLAIN[kind]) | texts.str.strip().isin([*READ_AS_MISSING, ""])).to_numpy(bool)
        if wrong.any():
            shown = "; ".join(
                f"{table.unit} {line}: {text!r:.60}"
                for line, text in zip(table.lines[wrong][:5], table.columns[name][wrong][:5], strict=True)
            )
            raise ValueError(
                f"{table.path}: {wrong.sum():,} of {len(table):,} values of {name} are not numbers ({shown}); "
                f"correct them, or read them as text with --types {name}=token"
            )
