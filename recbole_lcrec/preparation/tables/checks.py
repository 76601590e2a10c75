"""Checks of an interaction table: usable, duplicate and dropped rows.

All functions are pure; whatever is dropped is counted and reported with the first lines.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from recbole_lcrec.data.reserved_ids import RESERVED_IDS
from recbole_lcrec.data.times import KINDS, Times, looks_like_dates, parse_times
from recbole_lcrec.preparation.five_core import first_of_each, k_core
from recbole_lcrec.preparation.step_counts import StepCounts
from recbole_lcrec.preparation.tables.findings import BadRowLimit, Example, Finding, examples_of, finding
from recbole_lcrec.preparation.tables.reading import RawTable
from recbole_lcrec.preparation.tables.rows import usable_rows, without_reserved_ids

__all__ = ["Interactions", "choose_rows", "read_interactions"]

_YEAR_1990 = 631_152_000 * 10**9
_DAY = 86_400 * 10**9


@dataclass(frozen=True, eq=False)
class Interactions:
    """R usable interactions, in the order of the file.

    Attributes:
        columns: field -> texts; ``user_id`` and ``item_id`` as written in the file.
        lines: int64 [R], line of each row.
        digests: int64 [R], hash of each whole row.
        nanoseconds: int64 [R], time since 1970.
        source: name of the file.
        unit: ``line`` or ``row``.
    """

    columns: pd.DataFrame
    lines: np.ndarray
    digests: np.ndarray
    nanoseconds: np.ndarray
    source: str
    unit: str = "line"

    def __len__(self) -> int:
        return len(self.lines)

    def codes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return users and items as integer codes in order of first appearance, int64 [R] each."""
        users, items = (pd.factorize(self.columns[name])[0].astype(np.int64) for name in ("user_id", "item_id"))
        return users, items

    def at(self, rows: np.ndarray) -> Interactions:
        """Select rows by a mask or by row numbers."""
        columns = self.columns[rows] if rows.dtype == bool else self.columns.iloc[rows]
        return Interactions(
            columns.reset_index(drop=True),
            self.lines[rows],
            self.digests[rows],
            self.nanoseconds[rows],
            self.source,
            self.unit,
        )

    def counts(self, step: str) -> StepCounts:
        """Count users, items and interactions after a step."""
        # sets, because pandas 2 cuts texts at the first NUL when it counts distinct values
        return StepCounts(step, len(set(self.columns["user_id"])), len(set(self.columns["item_id"])), len(self))

    def examples(self, rows: np.ndarray) -> tuple[Example, ...]:
        """Return the first of the masked rows as examples, each as user, item."""
        places = np.flatnonzero(rows)[:5]
        pairs = self.columns.iloc[places]
        texts = [f"{user!r}, {item!r}" for user, item in zip(pairs["user_id"], pairs["item_id"], strict=True)]
        return examples_of(self.source, self.unit, self.lines[places], texts)


def read_interactions(
    table: RawTable, time_format: str | None, reserved_ids: str, limit: BadRowLimit, now: int | None = None
) -> tuple[Interactions, tuple[StepCounts, ...], tuple[Finding, ...]]:
    """Select the rows with a usable user, item and time.

    Args:
        table: with ``user_id``, ``item_id`` and ``timestamp``.
        time_format: see :func:`parse_times`.
        reserved_ids: ``stop`` counts ids that RecBole reads as missing as bad rows, ``mark`` appends an underscore.
        limit: allowed number of bad rows.
        now: nanoseconds since 1970, to report times in the future; None to skip this check.

    Raises:
        ValueError: more bad rows than the limit, times in several units, or dates written as digits.
    """
    marked: tuple[Finding, ...] = ()
    if reserved_ids == "mark":
        columns, marked = without_reserved_ids(table, ("user_id", "item_id"))
        table = replace(table, columns=columns)
    times = _read_times(table, time_format)
    bad: dict[str, tuple[np.ndarray, pd.Series]] = {}
    for key, name in (("blank_user", "user_id"), ("blank_item", "item_id")):
        bad[key] = table.columns[name].str.strip().eq("").to_numpy(bool), table.columns[name]
    for name in ("user_id", "item_id"):
        bad[f"nul_id {name}"] = table.columns[name].str.contains("\0", regex=False).to_numpy(bool), table.columns[name]
        bad[f"missing_id {name}"] = table.columns[name].isin(RESERVED_IDS).to_numpy(bool), table.columns[name]
    bad["bad_time"] = times.kinds == 0, table.columns["timestamp"]
    usable, dropped = usable_rows(table, bad, limit)
    kept = Interactions(table.columns, table.lines, table.digests, times.nanoseconds, table.path.name, table.unit)
    n_broken = sum(record.n_lines for record in table.broken)
    whole = kept.counts("rows of the file")
    steps = [StepCounts(whole.step, whole.users, whole.items, whole.interactions + n_broken)]
    kept = kept.at(usable)
    if n_broken + (~usable).sum():
        steps.append(kept.counts("usable rows"))
    on_times = _time_findings(kept, Times(times.nanoseconds[usable], times.kinds[usable]), now)
    return kept, tuple(steps), (*dropped, *marked, *on_times, *_id_findings(kept))


def _read_times(table: RawTable, time_format: str | None) -> Times:
    texts = table.columns["timestamp"].to_numpy(object)
    if time_format is None and looks_like_dates(texts):
        raise ValueError(
            f"{table.path}: the times look like dates written as digits, such as {texts[0]!r} on {table.unit} "
            f"{table.lines[0]}; set --time_format=%Y%m%d (or %Y%m%d%H%M%S), or --time_format=s if they are seconds"
        )
    times = parse_times(texts, time_format)
    merged = _units(times)
    if time_format is None and len(merged) > 1:
        shares = []
        for kind, rows in merged.items():
            n = np.flatnonzero(rows)[0]
            shares.append(
                f"{rows.sum():,} ({rows.mean():.1%}) {kind}, first {texts[n]!r} on {table.unit} {table.lines[n]}"
            )
        raise ValueError(
            f"{table.path}: times in several units: {'; '.join(shares)}. Select one by --time_format=s, ms, us, ns or "
            "iso (other times then count as bad), or read each by its own unit with --time_format=mixed"
        )
    return times


def _units(times: Times) -> dict[str, np.ndarray]:
    """Group the times by unit, as unit -> bool [R]; dates with and without a time zone are one unit."""
    masks = {kind: times.kinds == place for place, kind in enumerate(KINDS) if place and (times.kinds == place).any()}
    dates = [mask for kind, mask in masks.items() if kind.startswith("dates")]
    others = {kind: mask for kind, mask in masks.items() if not kind.startswith("dates")}
    return {**others, **({"dates": np.logical_or.reduce(dates)} if dates else {})}


def _time_findings(kept: Interactions, times: Times, now: int | None) -> tuple[Finding, ...]:
    n, counts = len(kept), times.counts()
    texts = kept.columns["timestamp"]

    def found_in(key: str, rows: np.ndarray, note: str = "") -> tuple[Finding, ...]:
        shown = examples_of(kept.source, kept.unit, kept.lines[rows], texts[rows]) if rows.any() else ()
        return finding(key, rows.sum(), n, "kept", shown, note)

    found: tuple[Finding, ...] = ()
    if len(units := _units(times)) > 1:
        shares = ", ".join(f"{rows.sum():,} {kind}" for kind, rows in units.items())
        minority = times.kinds != np.bincount(times.kinds).argmax()
        found += found_in("mixed_times", minority, f"The whole column: {shares}.")
    zoneless = times.kinds == KINDS.index("dates without one")
    found += found_in("zone_mixture" if "dates with a zone" in counts else "zoneless", zoneless)
    found += found_in("early_times", times.nanoseconds < _YEAR_1990)
    if now is not None:
        found += found_in("future_times", times.nanoseconds > now)
    days = (times.nanoseconds % _DAY == 0) & (times.nanoseconds >= _YEAR_1990)
    return found + (found_in("whole_days", days) if n and days.all() else ())


def _id_findings(kept: Interactions) -> tuple[Finding, ...]:
    found: tuple[Finding, ...] = ()
    for key, pattern in (("edge_blanks", r"^\s|\s$"), ("quoted_ids", r'[\t\n\r"]'), ("comma_ids", ",")):
        rows = np.zeros(len(kept), dtype=bool)
        for name in ("user_id", "item_id"):
            values, uniques = pd.factorize(kept.columns[name])
            matches = pd.Series(uniques, dtype=object).str.contains(pattern).to_numpy(bool)
            rows |= matches[values] if len(matches) else False
        found += finding(key, rows.sum(), len(kept), "kept", kept.examples(rows))
    return found


def choose_rows(
    kept: Interactions,
    known_items: Collection[str] | None,
    first_only: bool = False,
    drop_unknown: bool = False,
    k_user: int = 0,
    k_item: int = 0,
) -> tuple[Interactions, tuple[StepCounts, ...], tuple[Finding, ...]]:
    """Drop rows as requested, and count duplicates and repeats.

    Args:
        kept: usable interactions.
        known_items: ids of the item table; None if there is none.
        first_only: whether to drop a user's later interactions with the same item.
        drop_unknown: whether to drop interactions with items outside ``known_items``.
        k_user: minimum interactions per user; 0 for any.
        k_item: minimum interactions per item; 0 for any.

    Raises:
        ValueError: the item table has none of the items, or no interaction remains.
    """
    found: tuple[Finding, ...] = ()
    steps: list[StepCounts] = []

    def leave_out(key: str, rows: np.ndarray, step: str) -> None:
        nonlocal kept, found
        found += finding(key, rows.sum(), len(kept), "dropped", kept.examples(rows))
        if rows.any():
            kept = kept.at(~rows)
            steps.append(kept.counts(step))

    users, items = kept.codes()
    # 64-bit digests of whole rows; since ids and times are compared too, a collision is practically impossible
    identity = pd.DataFrame({"digest": kept.digests, "user": users, "item": items, "time": kept.nanoseconds})
    leave_out("duplicates", identity.duplicated().to_numpy(), "without duplicate rows")
    users, items = kept.codes()
    pairs = pd.DataFrame({"user": users, "item": items, "time": kept.nanoseconds})
    moments = pairs.duplicated().to_numpy()
    if first_only:
        leave_out("later_ones", ~first_of_each((users, items), (kept.nanoseconds,)), "first interactions only")
    else:
        again = pairs[["user", "item"]].duplicated().to_numpy() & ~moments
        found += finding("same_moment", moments.sum(), len(kept), "kept", kept.examples(moments))
        found += finding("repeats", again.sum(), len(kept), "kept", kept.examples(again))
    if known_items is not None:
        unknown = ~kept.columns["item_id"].isin(list(known_items)).to_numpy(bool)
        if unknown.all():
            first, other = kept.columns["item_id"].iloc[0], min(known_items, default="")
            raise ValueError(
                f"{kept.source}: the item table has none of its items: they look like {first!r}, those of the item "
                f"table like {other!r}; select the right columns with --columns interactions.item_id=... "
                "items.item_id=..., or remove --items"
            )
        note = f"There are {kept.columns['item_id'][unknown].nunique():,} such items."
        if drop_unknown:
            leave_out("unknown_dropped", unknown, "items of the table only")
        else:
            found += finding("unknown_items", unknown.sum(), len(kept), "kept", kept.examples(unknown), note)
    if max(k_user, k_item) > 1:
        stays = k_core(*kept.codes(), max(k_user, 1), max(k_item, 1))
        leave_out("core", ~stays, f"users with {max(k_user, 1)} and items with {max(k_item, 1)} or more")
    if not len(kept):
        left = "; ".join(f"{one.count:,} {one.what}" for one in found if one.action == "dropped")
        raise ValueError(f"{kept.source}: no interaction is left ({left or 'there was none'}); relax the filters")
    lengths = np.bincount(kept.codes()[0])
    ones, twos = int((lengths == 1).sum()), int((lengths == 2).sum())
    note = f"One interaction: {ones:,} users; two: {twos:,}."
    found += finding("short_users", ones + twos, len(lengths), "kept", (), note)
    return kept, tuple(steps), found
