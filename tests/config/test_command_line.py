"""Flags to values, compared with RecBole's own parsing, in a process that loads no large library."""

import subprocess
import sys
from pathlib import Path

import pytest

from recbole_lcrec.config.command_line import Command, parse_command_line
from recbole_lcrec.config.values import did_you_mean, parse_value, read_yaml, write_yaml

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "deepspeed", "recbole", "pandas")

USUAL = [
    "8", "-3", "0.5", "1e-3", "5E-5", "True", "false", "FALSE", "None", "adam", "ml-100k", "NDCG@10", "a=b",
    "[1,5,10]", "[1e-3, 'x']", "['Hit','NDCG']", "{'LS':'valid_and_test'}", "{'mode': {'valid': 'full'}}", "0,1", "",
    "[0,inf)", "'quoted'", "/models/my llm", "1.0.3", "01", "[]",
]  # fmt: skip


def recbole_reads(text):
    from recbole.config import Config

    return Config._convert_config_dict(None, {"key": text})["key"]


@pytest.mark.parametrize("text", USUAL)
def test_values_are_read_as_recbole_reads_them(text):
    value, expected = parse_value(text), recbole_reads(text)
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("~", None),
        ("null", None),
        ("[title, brand]", ["title", "brand"]),
        ("{LS: valid_and_test}", {"LS": "valid_and_test"}),
        ("__import__('os').getpid()", "__import__('os').getpid()"),
        ("1+1", "1+1"),
        ("{1, 2}", "{1, 2}"),
    ],
)
def test_values_are_never_evaluated_and_may_be_yaml(text, value):
    assert parse_value(text) == value


def test_all_kinds_of_flags():
    command = parse_command_line(
        ["--model=LCRec, SASRec", "--dataset", "Games", "--config_files=a.yaml b.yaml", "--epochs=3",
         "--LCRec.epochs=4", "--local_rank=0", "--local-rank=1", "--base_model=a=b", "--topk=[1, 5]", "--topk=[1, 5]"]
    )  # fmt: skip
    assert command == Command(
        models=("LCRec", "SASRec"),
        dataset="Games",
        config_files=("a.yaml", "b.yaml"),
        shared={"epochs": 3, "base_model": "a=b", "topk": [1, 5]},
        per_model={"LCRec": {"epochs": 4}},
    )
    assert command.values() == {"epochs": 3, "base_model": "a=b", "topk": [1, 5], "LCRec.epochs": 4}
    assert parse_command_line([]) == Command()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--epochs=3", "--epochs=4"], ["--epochs", "twice", "'3'", "'4'"]),
        (["--LCRec.epochs=3", "--LCRec.epochs=4"], ["--LCRec.epochs", "twice"]),
        (["--model=A", "--model=B"], ["--model", "'A'", "'B'"]),
        (["--epochs", "3"], ["'--epochs'", "--key=value"]),
        (["stray"], ["'stray'", "--key=value"]),
        (["-x=3"], ["'-x=3'"]),
        (["--=3"], ["'--=3'"]),
        (["--model"], ["--model", "--help"]),
        (["--model=A,,B"], ["'A,,B'", "empty"]),
        (["--model=A,A"], ["'A,A'", "more than once"]),
    ],
)
def test_wrong_flags_are_named(argv, words):
    with pytest.raises(ValueError) as caught:
        parse_command_line(argv)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ("import recbole_lcrec as package; names = set(package.__all__) <= set(dir(package)); print(names)", ["True"]),
        ("from recbole_lcrec.quick_start import main; main(['--help'])", ["--model", "--config_files", "--Model.key"]),
    ],
)
def test_import_and_help_load_nothing_heavy(run, words):
    check = (
        f"import sys, atexit; atexit.register(lambda: print('heavy:', [m for m in {HEAVY} if m in sys.modules])); {run}"
    )
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("heavy: []")
    assert all(word in done.stdout for word in words)


def test_public_names_resolve_and_others_do_not():
    import recbole_lcrec

    for name in recbole_lcrec.__all__:
        assert getattr(recbole_lcrec, name).__name__ == name
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = recbole_lcrec.no_such_name


def test_property_files_round_trip(tmp_path):
    values = {
        "rate": 1e-3,
        "text": "1e-3",
        "none": None,
        "list": [1, "a"],
        "tab": "\t",
        "map": {"LS": "x"},
        "yes": "yes",
    }
    write_yaml(values, tmp_path / "a.yaml")
    assert read_yaml(tmp_path / "a.yaml") == values
    (tmp_path / "b.yaml").write_text("learning_rate: 1e-3\n# nothing else\n")
    assert read_yaml(tmp_path / "b.yaml") == {"learning_rate": 0.001}
    (tmp_path / "empty.yaml").write_text("")
    assert read_yaml(tmp_path / "empty.yaml") == {}


@pytest.mark.parametrize(
    ("content", "word"),
    [(None, "cannot be read"), ("a: [1", "not valid YAML"), ("- 1\n- 2", "key: value"), ("1: 2", "key: value")],
)
def test_broken_property_files_are_named(tmp_path, content, word):
    path = tmp_path / "broken.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=word) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value)


def test_nearest_name():
    assert did_you_mean("EPOCH", ["epochs", "topk"]) == "; did you mean 'epochs'?"
    assert did_you_mean("zzzz", ["epochs", "topk"]) == ""
