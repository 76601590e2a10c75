"""Property files: each loads, each key is read by a model, and each key has a comment with its type and meaning."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_lcrec.config import settings
from recbole_lcrec.config.command_line import parse_command_line
from recbole_lcrec.config.configurator import Config
from recbole_lcrec.config.registry import recbole_dir
from recbole_lcrec.config.resources import properties_dir
from recbole_lcrec.config.settings import keys_of
from recbole_lcrec.config.values import read_yaml
from recbole_lcrec.instructions.template_file import load_templates
from recbole_lcrec.llm.deepspeed_files import check_deepspeed, deepspeed_config
from recbole_lcrec.models.lcrec.settings import STAGES, default_values

PROPERTIES = properties_dir()
YAMLS = sorted(path.relative_to(PROPERTIES).as_posix() for path in PROPERTIES.rglob("*.yaml"))
PARAMETERS = [name for name in YAMLS if not name.startswith("instructions/")]
LCREC = ["model/LCRec.yaml", *(stage.default_file for stage in STAGES if stage.default_file)]
PAPER = [name for name in YAMLS if name.startswith("paper/")]
LORA = [name for name in PAPER if name.endswith("-lora.yaml")]
DEEPSPEED = sorted(path.stem for path in (PROPERTIES / "deepspeed").iterdir())
KEY_LINE = re.compile(r"(?P<key>[\w.-]+):(?P<value>[^#]*)(?:  # \((?P<type>[\w|]+)\) (?P<meaning>\S.*))?")
TYPES = {"str": str, "int": int, "float": (float, int), "bool": bool, "list": list, "dict": dict}


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # RecBole sets it; so it is put back afterwards


def key_lines(name: str) -> Iterator[re.Match[str]]:
    """Yield the lines of a file that begin with a key."""
    for line in (PROPERTIES / name).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith((" ", "#")):
            match = KEY_LINE.fullmatch(line)
            assert match, f"{name}: {line!r} does not have the form 'key: value  # (type) meaning'"
            yield match


def of_type(value: Any, names: str) -> bool:
    """Return whether a value has one of the types in ``str|list``; None has any type."""
    return value is None or any(
        isinstance(value, TYPES[name]) and (name == "bool" or not isinstance(value, bool)) for name in names.split("|")
    )


def test_the_tested_property_files_exist() -> None:
    assert {"overall.yaml", "quick_start.yaml", "model/LCRec.yaml", "dataset/ml-100k.yaml"} < set(PARAMETERS)
    assert "paper/llama-7b.yaml" in PAPER and len(LORA) >= 5
    assert set(DEEPSPEED) == {"zero2", "zero2-offload", "zero3", "zero3-offload"}


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_key_has_its_type_and_meaning(name: str) -> None:
    values = read_yaml(PROPERTIES / name)
    lines = list(key_lines(name))
    assert [line["key"] for line in lines] == list(values)  # YAML silently drops all but the last of several equal keys
    for line in lines:
        assert line["type"] and set(line["type"].split("|")) <= set(TYPES), (
            f"{name}: {line['key']} has no comment '# (type) meaning'"
        )
        assert line["meaning"].endswith("."), line
        assert of_type(values[line["key"]], line["type"]), f"{name}: {line['key']} = {values[line['key']]!r}"


def test_types_are_distinguished() -> None:
    assert of_type(1, "int") and of_type(1, "float") and of_type(None, "dict") and of_type(True, "bool")
    assert of_type("auto", "str|list") and of_type([1], "str|list") and not of_type(1, "str|list")
    assert not any((of_type(True, "int"), of_type(1.5, "int"), of_type("1e-3", "float"), of_type(1, "bool")))


def test_every_key_of_lcrec_is_read() -> None:
    keys = {key for name in LCREC for key in read_yaml(PROPERTIES / name)}
    package = Path(settings.__file__).parents[1]
    source = "".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
    named = set(re.findall(r"config\[\"(\w+)\"\]", source))
    recbole = set(read_yaml(recbole_dir() / "properties/overall.yaml"))
    assert keys - set(keys_of(STAGES)) - recbole <= named
    assert set(keys_of(STAGES)) <= keys  # and every setting has its default there


def test_the_defaults_are_in_range() -> None:
    values = {key: value for name in LCREC for key, value in read_yaml(PROPERTIES / name).items()}
    assert values["learning_rate"] is None
    assert values["epochs"] is None
    values.update(default_values(values))
    for stage in STAGES:
        stage.from_config(values)


@pytest.mark.parametrize("name", [name for name in YAMLS if name.startswith("instructions/")])
def test_templates_load(name: str) -> None:
    templates = load_templates(PROPERTIES / name)
    assert len(set(templates.tasks["seq"])) == len(templates.tasks["seq"]) >= 10


@pytest.mark.parametrize("stem", DEEPSPEED)
def test_deepspeed_files_leave_settings_to_the_trainer(stem: str) -> None:
    content = deepspeed_config(stem, PROPERTIES / "deepspeed")
    assert content == json.loads((PROPERTIES / "deepspeed" / f"{stem}.json").read_text(encoding="utf-8"))
    zero = content["zero_optimization"]
    assert stem.split("-")[0] == f"zero{zero['stage']}"
    assert ("offload_optimizer" in zero) == stem.endswith("-offload")
    assert ("offload_param" in zero) == (stem == "zero3-offload")  # weights are divided by stage 3 alone
    for key in ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"):
        assert content[key] == "auto"
    assert content["bf16"]["enabled"] == content["fp16"]["enabled"] == "auto"
    assert content["optimizer"]["params"]["lr"] == content["optimizer"]["params"]["weight_decay"] == "auto"


@pytest.mark.parametrize("stem", DEEPSPEED)
def test_deepspeed_files_contradict_no_settings(stem: str) -> None:
    values = {**read_yaml(PROPERTIES / "model/LCRec.yaml"), "learning_rate": 0.0003, "train_batch_size": 7, "epochs": 1}
    content = deepspeed_config(stem, PROPERTIES / "deepspeed")
    for precision in ("fp32", "bf16"):
        tuning = settings.TuningSettings.from_config({**values, "tuning_precision": precision})
        check_deepspeed(content, tuning, 0.25, stem, torch.device("cpu"))


def launch(name: str) -> tuple[int, Config]:
    """Return the number of processes that a file's first line starts, and their configuration."""
    path = PROPERTIES / name
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith(("# torchrun --nproc_per_node ", "# python "))
    words = shlex.split(first.removeprefix("#"))
    program = words.index("run_recbole_lcrec.py")
    command = parse_command_line(words[program + 1 :])
    assert command.models == ("LCRec",) and command.config_files == (f"properties/{name}",)
    processes = int(words[program - 1]) if words[0] == "torchrun" else 1
    return processes, Config("LCRec", command.dataset, [path], command_line=command.values())


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_files_run_as_their_first_line_says(name: str) -> None:
    processes, config = launch(name)
    for key, value in read_yaml(PROPERTIES / name).items():
        assert config[key.removeprefix("LCRec.")] == value
    for stage in STAGES:
        stage.from_config(config)
    assert processes * config["train_batch_size"] * config["tuning_accumulation_steps"] == 128
    if config["tuning_deepspeed"] is not None:
        content = deepspeed_config(config["tuning_deepspeed"], PROPERTIES / "deepspeed")
        tuning = settings.TuningSettings.from_config(config)
        check_deepspeed(content, tuning, 1.0, config["tuning_deepspeed"], torch.device("cpu"))


@pytest.mark.parametrize("name", LORA)
def test_lora_runs_need_one_process_and_name_their_memory(name: str) -> None:
    processes, config = launch(name)
    head = " ".join(
        line.removeprefix("# ") for line in (PROPERTIES / name).read_text(encoding="utf-8").splitlines()[:4]
    )
    assert processes == 1 and config["tuning_deepspeed"] is None
    assert config["lora_r"] and config["tuning_precision"] == "bf16"
    card, total = (int(re.search(words, head)[1]) for words in (r"card of (\d+) GB", r"(\d+) in all"))
    assert "estimated, not measured" in head and total < card
    weights = float(re.search(r"([\d.]+) frozen weights \(bf16\)", head)[1])
    line = next(line for line in key_lines(name) if line["key"] == "LCRec.base_model")
    billions = float(re.search(r"([\d.]+) billion parameters", line["meaning"])[1])
    assert weights == pytest.approx(2 * billions, abs=0.06)  # two bytes each


def test_llama_7b_is_tuned_as_in_the_paper() -> None:
    processes, config = launch("paper/llama-7b.yaml")
    assert processes == 8 and config["lora_r"] is None
    assert (config["epochs"], config["learning_rate"], config["weight_decay"]) == (4, 5e-5, 0.01)
    assert (config["index_levels"], config["index_codebook_size"]) == (4, 256)
    assert (config["decoding_beam_size"], config["MAX_ITEM_LIST_LENGTH"]) == (20, 20)
    assert config["tuning_tasks"] == ["seq", "mut", "asy", "ite", "per"] and config["intention_source"] == "file"
    assert config["tuning_samples_per_task"] == {"asy": 100_000} and config["tuning_scheduler"] == "cosine"
    assert config["tuning_seq_format"] == "instruction" and config["base_model"] == "huggyllama/llama-7b"
    assert deepspeed_config(config["tuning_deepspeed"], PROPERTIES / "deepspeed")["zero_optimization"]["stage"] == 3
