"""What makes a row of a user's table unusable, and how many of those are borne.

Knows columns of texts, their lines, and what RecBole's files cannot hold. Refuses to know what is made of the rows.
"""

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
    """Ids that RecBole reads as missing, with an underscore behind.

    Raises:
        ValueError: another id is spelt like a marked one.
    """
    columns = table.columns.copy()
    found: list[Finding] = []
    for name in names:
        odd = columns[name].isin(RESERVED_IDS).to_numpy(bool)
        new = columns[name][odd] + "_"
        if taken := sorted(set(new) & set(columns[name])):
            raise ValueError(f"{table.path}: {name} {taken[0][:-1]!r} cannot be marked, for {taken[0]!r} is there too")
        found += finding(
            "marked_ids",
            odd.sum(),
            len(table),
            "changed",
            examples_of(table.path.name, table.unit, table.lines[odd], columns[name][odd]),
        )
        columns.loc[odd, name] = new
    return columns, tuple(found)


def usable_rows(
    table: RawTable, bad: Mapping[str, tuple[np.ndarray, pd.Series]], limit: BadRowLimit
) -> tuple[np.ndarray, tuple[Finding, ...]]:
    """Rows with nothing bad about them.

    Args:
        table: the rows.
        bad: finding's name, perhaps with a field behind -> (bool [R], the texts to show); a row counts for the first.
        limit: of bad rows.

    Returns:
        bool [R], and the findings, broken records first.

    Raises:
        ValueError: there are more than the limit; names the first ones.
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
        own = mask & usable
        usable &= ~mask
        name, _, field = key.partition(" ")
        shown = texts[own].iloc[:10]
        new = finding(
            name,
            own.sum(),
            n_rows,
            "dropped",
            examples_of(table.path.name, table.unit, table.lines[own], _spelt(texts, own)),
        )
        found += new
        what = new[0].what if new else ""
        first += [
            (int(line), f"{what}: {field or ''}{' ' if field else ''}{text!r:.80}")
            for line, text in zip(table.lines[own], shown, strict=False)
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


def _spelt(texts: pd.Series, rows: np.ndarray) -> list[str]:
    """The texts of some rows, spelt so that blanks and control characters show."""
    return [repr(text) for text in texts[rows].iloc[:5]]


def require_numbers(table: RawTable, types: Mapping[str, str]) -> None:
    """Makes sure that columns of numbers, or of several numbers with blanks between them, hold such or nothing.

    Raises:
        ValueError: one does not; names the first lines and the remedy.
    """
    for name, kind in types.items():
        if kind not in _PLAIN or name == "timestamp" or name not in table.columns:
            continue
        texts = table.columns[name]
        if kind == "float_seq":  # also as lists are printed, "[1, 2]"
            texts = texts.map(clean_text)
        wrong = ~(texts.str.fullmatch(_PLAIN[kind]) | texts.str.strip().isin([*READ_AS_MISSING, ""])).to_numpy(bool)
        if wrong.any():
            shown = "; ".join(
                f"{table.unit} {line}: {text!r:.60}"
                for line, text in zip(table.lines[wrong][:5], table.columns[name][wrong][:5], strict=True)
            )
            raise ValueError(
                f"{table.path}: {wrong.sum():,} of {len(table):,} values of {name} are no numbers ({shown}); mend "
                f"them, or have them read as words by --types {name}=token"
            )
