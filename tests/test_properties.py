"""Property files: each loads, each key is one that somebody reads, and each says what it means."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recbole_lcrec import settings
from recbole_lcrec.command_line import parse_command_line
from recbole_lcrec.config import Config
from recbole_lcrec.instructions.templates import load_templates
from recbole_lcrec.llm.launch import deepspeed_config
from recbole_lcrec.registry import recbole_dir
from recbole_lcrec.resources import properties_dir
from recbole_lcrec.values import read_yaml

PROPERTIES = properties_dir()
YAMLS = sorted(path.relative_to(PROPERTIES).as_posix() for path in PROPERTIES.rglob("*.yaml"))
PARAMETERS = [name for name in YAMLS if not name.startswith("instructions/")]
PAPER = [name for name in YAMLS if name.startswith("paper/")]
DEEPSPEED = sorted(path.stem for path in (PROPERTIES / "deepspeed").iterdir())
KEY_LINE = re.compile(r"(?P<key>[\w.]+):(?P<value>[^#]*)(?:  # \((?P<type>\w+)\) (?P<meaning>\S.*))?")
TYPES = {"str": str, "int": int, "float": (float, int), "bool": bool, "list": list, "dict": dict}


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # RecBole sets it; so it is put back afterwards


def key_lines(name: str) -> Iterator[re.Match[str]]:
    """The lines of a file that begin with a key."""
    for line in (PROPERTIES / name).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith((" ", "#")):
            match = KEY_LINE.fullmatch(line)
            assert match, f"{name}: {line!r} is no line of the form 'key: value  # (type) meaning'"
            yield match


def of_type(value: Any, name: str) -> bool:
    return value is None or (isinstance(value, TYPES[name]) and (name == "bool" or not isinstance(value, bool)))


def test_the_files_that_the_tests_below_read_are_there() -> None:
    assert {"overall.yaml", "quick_start.yaml", "model/LCRec.yaml", "dataset/ml-100k.yaml"} < set(PARAMETERS)
    assert "paper/llama-7b.yaml" in PAPER and {"zero2", "zero3"} <= set(DEEPSPEED)


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_key_has_its_type_and_meaning(name: str) -> None:
    values = read_yaml(PROPERTIES / name)
    lines = list(key_lines(name))
    assert [line["key"] for line in lines] == list(values)  # a key that stands twice would be lost without a word
    for line in lines:
        assert line["type"] in TYPES, f"{name}: {line['key']} has no comment '# (type) meaning'"
        assert line["meaning"].endswith("."), line
        assert of_type(values[line["key"]], line["type"]), f"{name}: {line['key']} = {values[line['key']]!r}"


def test_the_types_are_told_apart() -> None:
    assert of_type(1, "int") and of_type(1, "float") and of_type(None, "dict") and of_type(True, "bool")
    assert not any((of_type(True, "int"), of_type(1.5, "int"), of_type("1e-3", "float"), of_type(1, "bool")))


def test_every_key_of_lcrec_is_read() -> None:
    keys = set(read_yaml(PROPERTIES / "model/LCRec.yaml"))
    package = Path(settings.__file__).parent
    source = "".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
    named = set(re.findall(r"config\[\"(\w+)\"\]", source))
    recbole = set(read_yaml(recbole_dir() / "properties/overall.yaml"))
    assert keys - set(settings.known_keys()) - recbole <= named
    assert set(settings.known_keys()) <= keys  # and every setting has its default there


def test_the_defaults_are_in_range() -> None:
    values = read_yaml(PROPERTIES / "model/LCRec.yaml")
    assert values["learning_rate"] is None
    settings.check_all({**values, "learning_rate": settings.default_learning_rate(values["base_model"])})


@pytest.mark.parametrize("name", [name for name in YAMLS if name.startswith("instructions/")])
def test_templates_load(name: str) -> None:
    templates = load_templates(PROPERTIES / name)
    assert len(set(templates.tasks["seq"])) == len(templates.tasks["seq"]) >= 10


@pytest.mark.parametrize("stem", DEEPSPEED)
def test_deepspeed_files_leave_to_the_trainer_what_the_settings_say(stem: str) -> None:
    content = deepspeed_config(stem, PROPERTIES / "deepspeed")
    assert content == json.loads((PROPERTIES / "deepspeed" / f"{stem}.json").read_text(encoding="utf-8"))
    assert content and f"zero{content['zero_optimization']['stage']}" == stem
    for key in ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"):
        assert content[key] == "auto"
    assert content["optimizer"]["params"]["lr"] == content["optimizer"]["params"]["weight_decay"] == "auto"


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_files_run_as_their_first_line_says(name: str) -> None:
    path = PROPERTIES / name
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith(("# torchrun --nproc_per_node ", "# python "))
    words = shlex.split(first.removeprefix("#"))
    command = parse_command_line(words[words.index("run_recbole_lcrec.py") + 1 :])
    assert command.models == ("LCRec",) and command.config_files == (f"properties/{name}",)
    config = Config("LCRec", command.dataset, [path], command_line=command.values())
    for key, value in read_yaml(path).items():
        assert config[key.removeprefix("LCRec.")] == value


def test_llama_7b_is_tuned_as_in_the_paper() -> None:
    config = Config("LCRec", "Games", [PROPERTIES / "paper/llama-7b.yaml"])
    assert 8 * config["train_batch_size"] * config["tuning_accumulation_steps"] == 128
    assert (config["epochs"], config["learning_rate"], config["weight_decay"]) == (4, 5e-5, 0.01)
    assert (config["decoding_beam_size"], config["MAX_ITEM_LIST_LENGTH"]) == (20, 20)
    assert config["tuning_seq_format"] == "instruction" and config["base_model"] == "huggyllama/llama-7b"
    assert deepspeed_config(config["tuning_deepspeed"], PROPERTIES / "deepspeed")["zero_optimization"]["stage"] == 3
