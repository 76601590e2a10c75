"""The first line of an error, and duplicate keys of JSON and YAML."""

import json

import pytest

from recbole_lcrec.config.values import DuplicateKeyError, distinct_keys, first_line, read_yaml


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


@pytest.mark.parametrize(
    ("content", "key", "lines"),
    [
        ("epochs: 1\nseed: 2\n\nepochs: 3\n", "epochs", "2 and 5"),
        ("eval_args:\n  order: TO\n  order: RO\n", "order", "3 and 4"),
        ("eval_args: {mode: full,\n  'mode': uni100}\n", "mode", "2 and 3"),
        ("SASRec.epochs: 1\nSASRec.epochs: 1\n", "SASRec.epochs", "2 and 3"),
    ],
)
def test_a_key_given_twice_names_both_lines(tmp_path, content, key, lines):
    path = tmp_path / "mine.yaml"
    path.write_text("# mine\n" + content, encoding="utf-8")
    with pytest.raises(ValueError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"property file {str(path)!r} gives {key!r} twice, in lines {lines}")


def test_one_key_in_two_mappings_or_values_is_kept(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("base: &base {a: 1, b: 2}\nother: {<<: *base, a: 3}\nlist: [a, a]\n", encoding="utf-8")
    assert read_yaml(path) == {"base": {"a": 1, "b": 2}, "other": {"a": 3, "b": 2}, "list": ["a", "a"]}
