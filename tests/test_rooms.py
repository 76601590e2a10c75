"""Every module opens with what it is; which room imports which is import-linter's contract in ``pyproject.toml``."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import recbole_lcrec

PACKAGE = Path(recbole_lcrec.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{path} has no docstring"
