"""Times in common formats, compared with Python's own dates and with integers."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recbole_lcrec.data.times import KINDS, decimal_seconds, looks_like_dates, parse_times
from recbole_lcrec.preparation.tables.importing import ImportOptions, import_tables


def nanoseconds(moment: datetime) -> int:
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 10**9 + moment.microsecond * 1000


@pytest.mark.parametrize(
    ("text", "expected", "kind"),
    [
        ("1700000000", 1_700_000_000 * 10**9, "seconds"),
        (" 1700000000.25 ", 1_700_000_000_250_000_000, "seconds"),
        ("-1.5", -1_500_000_000, "seconds"),
        ("1700000000123", 1_700_000_000_123_000_000, "milliseconds"),
        ("1700000000123.5", 1_700_000_000_123_500_000, "milliseconds"),
        ("1700000000123456", 1_700_000_000_123_456_000, "microseconds"),
        ("1700000000123456789", 1_700_000_000_123_456_789, "nanoseconds"),
        ("9900000000123456789", 0, "unreadable"),
        ("170000000012345678", 170_000_000_012_345_678, "nanoseconds"),
        ("2024-01-31", nanoseconds(datetime(2024, 1, 31, tzinfo=UTC)), "dates without one"),
        ("2024-01-31 10:11:12", nanoseconds(datetime(2024, 1, 31, 10, 11, 12, tzinfo=UTC)), "dates without one"),
        ("2024-01-31T10:11:12Z", nanoseconds(datetime(2024, 1, 31, 10, 11, 12, tzinfo=UTC)), "dates with a zone"),
        ("2024-01-31T10:11:12+02:00", nanoseconds(datetime(2024, 1, 31, 8, 11, 12, tzinfo=UTC)), "dates with a zone"),
        ("2024-01-31 10:11:12 UTC", nanoseconds(datetime(2024, 1, 31, 10, 11, 12, tzinfo=UTC)), "dates with a zone"),
        (
            "2024-01-31T10:11:12.000001-0130",
            nanoseconds(datetime(2024, 1, 31, 11, 41, 12, 1, UTC)),
            "dates with a zone",
        ),
        ("31/01/2024", 0, "unreadable"),
        ("yesterday", 0, "unreadable"),
        ("now", 0, "unreadable"),
        ("", 0, "unreadable"),
        ("nan", 0, "unreadable"),
        ("1.7e9", 1_700_000_000 * 10**9, "seconds"),
        ("+17.E+0008", 1_700_000_000 * 10**9, "seconds"),
        ("-15e-1", -1_500_000_000, "seconds"),
        ("1.700000000123456789e9", 1_700_000_000_123_456_789, "seconds"),
        ("1.700000000123e12", 1_700_000_000_123_000_000, "milliseconds"),
        ("1.700000000123456e+15", 1_700_000_000_123_456_000, "microseconds"),
        ("1.400000000004e+18", 1_400_000_000_004_000_000, "nanoseconds"),
        ("1.700000000123456789e18", 1_700_000_000_123_456_789, "nanoseconds"),
        ("1e-400", 0, "seconds"),
        ("1e19", 0, "unreadable"),
        ("1e400", 0, "unreadable"),
        ("1e999999999", 0, "unreadable"),
        ("e9", 0, "unreadable"),
        ("1.7e", 0, "unreadable"),
        ("1.7e9s", 0, "unreadable"),
        ("2024-02-30", 0, "unreadable"),
        ("9999-01-01", 0, "unreadable"),
        ("99999999999", 0, "unreadable"),
    ],
)
def test_formats_of_a_single_time(text: str, expected: int, kind: str) -> None:
    times = parse_times(np.array(["2020-01-01T00:00:00Z", text, "5"], dtype=object), "mixed")
    assert (int(times.nanoseconds[1]), KINDS[times.kinds[1]]) == (expected, kind)


def test_explicit_time_formats() -> None:
    def read_as(text: str, form: str) -> tuple[int, str]:
        times = parse_times(np.array([text], dtype=object), form)
        return int(times.nanoseconds[0]), KINDS[times.kinds[0]]

    assert read_as("1700000000", "ms") == (1_700_000_000 * 10**6, "milliseconds")
    assert read_as("1.7000000001e9", "ms") == (1_700_000_000 * 10**6 + 100_000, "milliseconds")
    assert read_as("1.7e9", "iso") == (0, "unreadable")
    assert read_as("2024-01-31", "s") == (0, "unreadable")
    assert read_as("1700000000", "iso") == (0, "unreadable")
    day = nanoseconds(datetime(2024, 1, 31, 23, 5, tzinfo=UTC))
    assert read_as("31.01.2024 23:05", "%d.%m.%Y %H:%M") == (day, "dates without one")
    assert read_as("31.13.2024 23:05", "%d.%m.%Y %H:%M") == (0, "unreadable")
    with pytest.raises(ValueError, match="--time_format='hours'"):
        read_as("1", "hours")


def test_dates_written_as_digits_are_detected() -> None:
    assert looks_like_dates(np.array(["20240131", "20231201", "x"], dtype=object))
    assert looks_like_dates(np.array(["20240131101500"], dtype=object))
    assert looks_like_dates(np.array(["2.0240131e7", "2.0231201E+07"], dtype=object))
    assert not looks_like_dates(np.array(["20240131", "1.7e9"], dtype=object))
    assert not looks_like_dates(np.array(["20240131", "1700000000"], dtype=object))
    assert not looks_like_dates(np.array(["x"], dtype=object))


def test_seconds_are_written_exactly() -> None:
    given = [0, 10**9, 1_700_000_000_000_000_001, 1_700_000_000_250_000_000, -1_500_000_000, -3 * 10**9]
    assert decimal_seconds(np.array(given)).tolist() == [
        "0",
        "1",
        "1700000000.000000001",
        "1700000000.25",
        "-1.5",
        "-3",
    ]


def test_numbers_written_as_doubles(tmp_path: Path) -> None:
    """Nanoseconds that doubles in parquet represent exactly, 4 ms between interactions."""
    events = [(f"u{n // 5}", f"i{n % 5}", 1.4e18 + 4e6 * n) for n in range(15)]
    pd.DataFrame(events, columns=["user_id", "item_id", "timestamp"]).to_parquet(tmp_path / "shop.parquet")
    import_tables(ImportOptions("shop", tmp_path / "shop.parquet", data_path=tmp_path))
    lines = (tmp_path / "shop" / "shop.inter").read_text(encoding="utf-8").splitlines()[1:]
    seconds = [Decimal(line.split("\t")[2]) for line in lines]
    assert seconds == [1_400_000_000 + Decimal(4 * n) / 1000 for n in range(15)]
