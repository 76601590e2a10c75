"""The documents are correct: their commands parse, their Python code imports, and what they name exists."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import recbole_lcrec
from recbole_lcrec.config.build_configs import build_configs
from recbole_lcrec.config.command_line import parse_command_line, parse_index_command
from recbole_lcrec.config.value_checks import split_seeds
from recbole_lcrec.config.values import read_yaml
from recbole_lcrec.data.item_text import read_item_texts

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "dataset/README.md"),
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").iterdir()),
]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "recbole_lcrec"
NAMED_PATH = re.compile(r"(?<![\w/.-])(?:recbole_lcrec|properties|constraints|benchmarks|tests|\.ci)/[\w./-]*\w")


def lcrec_defaults() -> set[str]:
    """Return every key with a default in a file of LCRec or of a stage that it reads."""
    files = [ROOT / "properties/model/LCRec.yaml", *(ROOT / "properties/stages").glob("*.yaml")]
    return {key for path in files for key in read_yaml(path)}


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def bash_lines() -> list[str]:
    return [
        line for name in DOCUMENTS for block in blocks(text_of(name), "bash") for line in block.splitlines() if line
    ]


def flags_of_runs() -> list[list[str]]:
    """Return the flags of every command line in the documents that runs models."""
    in_text = re.findall(r"`((?:python|torchrun)[^`]*run_recbole_lcrec\.py [^`]*)`", "".join(map(text_of, DOCUMENTS)))
    lines = [shlex.split(line, comments=True) for line in [*bash_lines(), *in_text] if "run_recbole_lcrec.py" in line]
    return [words[words.index("run_recbole_lcrec.py") + 1 :] for words in lines]


def flags_of_index_commands() -> list[list[str]]:
    """Return the flags of every command line in the documents that learns an index."""
    lines = re.findall(r"^.*-m recbole_lcrec\.indexing .*$", "\n".join(map(text_of, DOCUMENTS)), re.MULTILINE)
    return [shlex.split(line.partition("recbole_lcrec.indexing")[2]) for line in lines if "`" not in line]


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # RecBole sets it; so it is put back afterwards


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text_of(name)):
        if not target.startswith(("https://", "http://")):
            assert ((ROOT / name).parent / target).exists(), f"{name} links to {target}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_named_paths_exist(name: str) -> None:
    for path in NAMED_PATH.findall(re.sub(r"\S*<\w+>\S*", "", text_of(name))):
        assert (ROOT / path).exists(), f"{name} names {path}"


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", text_of("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([\w-]+)", "\n".join(map(text_of, DOCUMENTS)), re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_install_lines_name_files_and_extras_that_exist() -> None:
    lines = [line for line in bash_lines() if line.startswith("pip install")]
    files = [ROOT / path for line in lines for path in re.findall(r" -[cr] (\S+)", line)]
    assert len(files) >= 3 and all(path.is_file() for path in files)
    extras = {extra for line in lines for extra in re.findall(r"\.\[(\w+)\]", line)}
    assert extras and all(f'"{extra}": [' in text_of("setup.py") for extra in extras)


@pytest.mark.parametrize("flags", flags_of_runs(), ids=" ".join)
def test_commands_are_understood(flags: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    if flags == ["--help"]:
        with pytest.raises(SystemExit) as ended:
            parse_command_line(flags)
        assert ended.value.code == 0
        return
    command = parse_command_line(["--dataset=shop" if flag == "--dataset=<name>" else flag for flag in flags])
    configs = build_configs(command.models, command.dataset, command.config_files, None, command.values())
    assert tuple(dict.fromkeys(config.label for config in configs)) == command.models
    assert len(configs) == len(command.models) * len(split_seeds(configs[0]["seeds"]) or [None])
    assert {config.dataset for config in configs} == {command.dataset}


def test_the_commands_were_found() -> None:
    models = [flag for flags in flags_of_runs() for flag in flags if flag.startswith("--model=")]
    assert len(models) >= 5 and "--nproc_per_node 8 run_recbole_lcrec.py" in README


def test_own_data_in_five_lines(tmp_path: Path) -> None:
    (block,) = (block for block in blocks(README, "bash") if "dataset/shop" in block)
    *make_files, run, _, index = block.splitlines()
    assert len(make_files) == 3
    script = "\n".join(make_files).replace("python -c", f"{shlex.quote(sys.executable)} -c")
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, check=True)
    folder = tmp_path / "dataset" / "shop"
    rows = [line.split("\t") for line in (folder / "shop.inter").read_text(encoding="utf-8").splitlines()]
    assert rows[0] == ["user_id:token", "item_id:token", "timestamp:float"]
    assert rows[1] == ["u0", "i0", "0"] and len(rows) == 1 + 80 * 8
    keys = parse_command_line(shlex.split(run)[2:]).shared
    alone = parse_index_command(shlex.split(index)[3:]).command.shared
    assert {name: alone[name] for name in ("text_title_fields", "text_description_fields")}.items() <= keys.items()
    items = [f"i{number}" for number in range(40)]
    assert {row[1] for row in rows[1:]} == set(items)
    fields = keys["text_title_fields"], keys["text_description_fields"]
    texts = read_item_texts(folder / "shop.item", items, "item_id", *fields, "\t")
    assert (texts.titles[7], texts.descriptions[7]) == ("Shirt no. 7", "cotton, size 2") and all(texts.titles)


OWN_EXAMPLES = [block for block in blocks(README, "python") if "recbole_lcrec" in block]


@pytest.mark.parametrize("block", OWN_EXAMPLES)
def test_python_examples_import_and_call_what_exists(block: str) -> None:
    tree = ast.parse(block)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    for node in imports:
        module = importlib.import_module(str(node.module))
        assert all(hasattr(module, alias.name) for alias in node.names)
    names = {alias.name for node in imports if node.module == "recbole_lcrec" for alias in node.names}
    assert {str(node.module).partition(".")[0] for node in imports} <= {"recbole", "recbole_lcrec"}
    assert names <= set(recbole_lcrec.__all__)
    called = set()
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        owner, _, method = ast.unparse(call.func).partition(".")
        if owner in names:
            function = getattr(recbole_lcrec, owner)
            function = getattr(function, method) if method else function
            keywords = {str(keyword.arg): None for keyword in call.keywords}
            inspect.signature(function).bind(*call.args, **keywords)
            called.add(owner)
    assert called == names


def test_other_python_examples_import_what_exists() -> None:
    others = [block for block in blocks(README, "python") if "recbole_lcrec" not in block]
    for node in (node for block in others for node in ast.walk(ast.parse(block))):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names)
    assert others


def test_keys_in_running_text_exist() -> None:
    documents = "".join(map(text_of, DOCUMENTS))
    named = set(re.findall(r"`((?:index|tuning|lora|intention|scratch|decoding)_\w+)(?=[`:=])", documents))
    named -= set(recbole_lcrec.__all__)
    assert len(named) > 30 and named <= set(lcrec_defaults())


def test_the_paper_files_are_all_in_the_table() -> None:
    named = set(re.findall(r"^\| `([\w.-]+\.yaml)` \|.*GPU.*\|$", README, re.MULTILINE))
    assert named == {path.name for path in (ROOT / "properties/paper").iterdir()}


def test_keys_in_the_table_exist() -> None:
    tables = re.findall(r"^\| Key \| Meaning \|\n\|---\|---\|\n((?:\|.*\n)+)", README, re.MULTILINE)
    table = "".join(tables)
    keys = {key for row in table.splitlines() for key in re.findall(r"`(\w+)`", row.split("|")[1])}
    known = set(recbole_lcrec.Config("LCRec", "ml-100k").final_config_dict)
    assert len(keys) > 10 and keys <= known
    assert {key for key in keys if key.startswith(("index_", "tuning_", "decoding_", "text_"))} <= set(lcrec_defaults())


def test_the_map_shows_every_folder_and_module() -> None:
    (tree,) = (block for block in blocks(text_of("docs/map.md"), "text") if block.startswith("recbole_lcrec/"))
    shown: set[Path] = set()
    above: list[str] = []
    folder = ROOT
    for line in tree.splitlines():
        if line.startswith(" " * 16):  # continues the description of a folder
            shown |= {folder / module for module in re.findall(r"\w+\.py", line)}
            continue
        name, meaning = line.split(maxsplit=1) if len(line.split()) > 1 else (line.strip(), "")
        above[(len(line) - len(line.lstrip())) // 2 :] = [name]
        path = ROOT.joinpath(*above)
        assert path.exists() and path.is_dir() == name.endswith("/"), f"the map names {path.relative_to(ROOT)}"
        assert meaning or any(path.glob("*.py")), f"the map says nothing of {name}"
        folder = path
        shown |= {path, *(path / module for module in re.findall(r"\w+\.py", meaning) if path.is_dir())}
    assert all(path.exists() for path in shown), "the map names a module that is not there"
    modules = {path for path in PACKAGE.rglob("*.py") if path.parent == PACKAGE or path.name != "__init__.py"}
    folders = {path.parent for path in modules} | {path for path in (ROOT / "properties").iterdir() if path.is_dir()}
    assert modules | folders <= shown, "docs/map.md lacks a module or a folder"


def test_the_map_shows_the_rooms_in_their_order() -> None:
    (tree,) = (block for block in blocks(text_of("docs/map.md"), "text") if block.startswith("recbole_lcrec/"))
    tree = tree.partition("\nproperties/")[0]
    shown = [match[1] for line in tree.splitlines() if (match := re.match(r"  ([a-z]\w*)(?:/|\.py)(?:\s|$)", line))]
    contract, _ = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    assert shown == contract["layers"]


@pytest.mark.parametrize("flags", flags_of_index_commands(), ids=" ".join)
def test_index_commands_parse_and_name_known_keys(flags: list[str]) -> None:
    index = parse_index_command(flags)
    if not index.extend:
        build_configs("LCRec", index.command.dataset, None, None, index.command.values())


def test_some_index_commands_are_there() -> None:
    assert len(flags_of_index_commands()) >= 3
