"""The first line of an error."""

import pytest

from recbole_lcrec.values import first_line


@pytest.mark.parametrize(
    ("err", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (OSError("\n \n  one  \ntwo"), "one"),
        (RuntimeError(), "RuntimeError"),
        (KeyError(""), "''"),
        (ConnectionError(" \n "), "ConnectionError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_first_line(err: BaseException, line: str) -> None:
    assert first_line(err) == line
