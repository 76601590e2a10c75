"""Conversion between text and values: command-line values, YAML files, JSON keys, name suggestions, short errors.

Values are read by RecBole's rules (a Python literal, True and False in any case, 1e-3 as a number), but without
evaluating code. Neither PyTorch nor RecBole is loaded.
"""

from __future__ import annotations

import ast
import difflib
import os
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

__all__ = [
    "DuplicateKeyError",
    "did_you_mean",
    "distinct_keys",
    "first_line",
    "load_yaml",
    "parse_value",
    "plain_value",
    "read_yaml",
    "write_yaml",
]

_FLOAT = re.compile(
    r"""^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
    |[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)
_LITERALS = (str, int, float, list, tuple, dict, bool)


class _RepeatedKey(yaml.YAMLError):
    """A mapping in a YAML text gives a key twice; PyYAML itself would keep the last value without a word."""

    def __init__(self, key: str, lines: tuple[int, int]) -> None:
        super().__init__(
            f"gives {key!r} twice, in lines {lines[0]} and {lines[1]}, so one of the two values would be lost; keep one"
        )


class _Loader(yaml.SafeLoader):
    """YAML that reads 1e-3 as a number, as RecBole's loader does, and refuses a key given twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        first: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if key.value in first:
                    raise _RepeatedKey(key.value, (first[key.value], line))
                first[key.value] = line
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """YAML that quotes a text which :class:`_Loader` would read as a number."""


for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def parse_value(text: str) -> Any:
    """Read one value as RecBole's command line does, by :func:`ast.literal_eval` where RecBole evaluates code.

    ``8``, ``1e-3``, ``[1, 5]``, ``{'LS': 'valid_and_test'}``, ``None`` and ``0,1`` (a tuple) are read as Python
    literals; ``true`` and ``FALSE`` are booleans; lists and mappings may also be written in YAML (``[title, brand]``),
    and ``~`` or ``null`` is None. Everything else is text.
    """
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return _parse_word(text)
    return value if value is None or isinstance(value, _LITERALS) else text


def _parse_word(text: str) -> Any:
    word = text.strip()
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    if word in ("~", "null"):
        return None
    if word[:1] in ("[", "{"):
        try:
            value = yaml.load(word, Loader=_Loader)
        except yaml.YAMLError:
            return text
        return value if isinstance(value, (list, dict)) else text
    return text


def load_yaml(text: str, where: str) -> Any:
    """Read a YAML text, whose mappings may not give a key twice.

    Args:
        text: the text.
        where: what the text is, for error messages, such as ``property file 'my.yaml'``.

    Raises:
        ValueError: the text is not YAML, or gives a key twice; names the key and both lines.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except _RepeatedKey as err:
        raise ValueError(f"{where} {err}") from err
    except yaml.YAMLError as err:
        raise ValueError(f"{where} is not valid YAML: {' '.join(str(err).split())}") from err


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a property file, a mapping of keys to values; an empty file is an empty mapping.

    Raises:
        ValueError: the file is missing or unreadable, is not YAML, gives a key twice, or is not a mapping with text
            keys.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise ValueError(f"property file {str(path)!r} cannot be read: {_reason(err)}") from err
    values = load_yaml(text, f"property file {str(path)!r}")
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ValueError(f"property file {str(path)!r} must hold lines of the form 'key: value'")
    return values


def write_yaml(values: Mapping[str, Any], path: str | Path) -> None:
    """Write a property file atomically; :func:`read_yaml` reads equal values back."""
    final = Path(path)
    temporary = final.with_name(final.name + ".writing")
    text = yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, final)


def plain_value(key: str, value: Any) -> Any:
    """Return the value of a parameter as YAML can represent it.

    Raises:
        RuntimeError: YAML cannot represent the value.
    """
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain_value(key, element) for element in value]
    if isinstance(value, Mapping):
        return {name: plain_value(key, element) for name, element in value.items()}
    if isinstance(value, (Path, Enum)):
        return str(value) if isinstance(value, Path) else value.name
    raise RuntimeError(f"{key} = {value!r} of type {type(value).__name__} cannot be saved as YAML")


class DuplicateKeyError(ValueError):
    """A JSON object contains a key twice; ``key`` is the first such key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"key {key!r} appears twice")
        self.key = key


def distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object with distinct keys, as ``object_pairs_hook`` of :func:`json.loads`.

    Without this hook, :func:`json.loads` silently keeps the last of several equal keys.

    Raises:
        DuplicateKeyError: a key appears twice.
    """
    entries: dict[str, Any] = {}
    for key, value in pairs:
        if key in entries:
            raise DuplicateKeyError(key)
        entries[key] = value
    return entries


def did_you_mean(name: str, names: Iterable[str], limit: int = 1) -> str:
    """Return the end of an error message, ``"; did you mean 'epochs'?"``, or an empty text if no name is near.

    Args:
        name: the unknown name.
        names: all known names, compared regardless of case.
        limit: how many suggestions to make at most.
    """
    by_lower: dict[str, str] = {}
    for known in sorted(names):
        by_lower.setdefault(known.lower(), known)
    near = difflib.get_close_matches(name.lower(), by_lower, n=limit, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(by_lower[key]) for key in near)}?" if near else ""


def first_line(err: BaseException) -> str:
    """Return the first non-blank line of an error's message, or the error's type if there is none.

    Large libraries raise messages of many lines, too long to be quoted as the cause in another message.
    """
    return next((line.strip() for line in str(err).splitlines() if line.strip()), type(err).__name__)


def _reason(err: Exception) -> str:
    return (err.strerror or str(err)) if isinstance(err, OSError) else str(err)
