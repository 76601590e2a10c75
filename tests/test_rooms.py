"""The layout is the architecture: a room imports only rooms above it, and says what it knows."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import recbole_lcrec

PACKAGE = Path(recbole_lcrec.__file__).parent
ROOMS = (
    ("errors", "memory", "values", "value_checks", "resources", "processes", "compat", "settings"),
    ("fingerprints", "artifacts", "pages"),
    ("causal_models",),
    ("registry", "command_line"),
    ("checks", "item_features"),
    ("config",),
    ("data",),
    ("indexing",),
    ("instructions",),
    ("dataset", "tuning_data"),
    ("llm",),
    ("resume",),
    ("decoding",),
    ("model",),
    ("template_report",),
    ("evaluation",),
    ("trainer",),
    ("plan", "results", "restore", "pretraining"),
    ("quick_start",),
    ("new_items", "index_command", "data_command", "recommender"),
    ("recommend",),
)
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}
LATE = {
    ("data.loading", "dataset"),  # create_dataset looks its data set class up when it is called
    ("indexing.__main__", "index_command"),  # the door of a command
    ("data.__main__", "data_command"),  # another one
}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent != PACKAGE)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imported_rooms(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "recbole_lcrec":
            modules |= {f"recbole_lcrec.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
    return {module.split(".")[1] for module in modules if module.startswith("recbole_lcrec.")}


def test_every_module_has_a_room() -> None:
    assert {name_of(path).split(".")[0] for path in MODULES} == set(FLOOR)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    name = name_of(path)
    room = name.split(".")[0]
    for other in imported_rooms(path) - {room}:
        assert FLOOR[other] <= FLOOR[room] or (name, other) in LATE, f"{name} imports {other}, which stands below it"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{path} has no docstring"
    if path.name != "__init__.py":
        assert "efuse" in (ast.get_docstring(tree) or ""), f"{path} does not say what it refuses to know"
