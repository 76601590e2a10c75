"""The first line of an error, and duplicate keys."""

import json

import pytest

from recbole_lcrec.config.values import DuplicateKeyError, distinct_keys, first_line


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


@pytest.mark.parametrize("text", ["{}", '{"a": 1, "b": {"a": 2}}', '[{"a": 1}, {"a": 2}]'])
def test_keys_that_are_distinct_within_each_object(text: str) -> None:
    assert json.loads(text, object_pairs_hook=distinct_keys) == json.loads(text)


@pytest.mark.parametrize("text", ['{"b": 1, "a": 1, "a": 1, "b": 2}', '{"c": {"a": 1, "a": 2}}'])
def test_a_duplicate_key_is_named(text: str) -> None:
    with pytest.raises(DuplicateKeyError, match="key 'a' appears twice") as caught:
        json.loads(text, object_pairs_hook=distinct_keys)
    assert caught.value.key == "a"
