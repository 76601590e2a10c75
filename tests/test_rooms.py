"""Rules for all modules and tests; import-linter's contract in ``pyproject.toml`` says which room imports which."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import recbole_lcrec

PACKAGE = Path(recbole_lcrec.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted(Path(__file__).parent.rglob("*.py"))
MAX_NAME_LENGTH = 60


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{path} has no docstring"


def test_names_of_test_functions_are_short() -> None:
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in TESTS}
    names = [
        (path.name, node.name)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_")
    ]
    assert len(names) > 500
    assert not [(file, name) for file, name in names if len(name) > MAX_NAME_LENGTH]
