"""Parsing of the commands' flags: RecBole's own, and any number of ``--key=value``.

Neither PyTorch nor RecBole is loaded, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from recbole_lcrec.config.registry import model_names, registered_names
from recbole_lcrec.config.values import parse_value

__all__ = [
    "Command",
    "FlagParser",
    "IndexCommand",
    "free_values",
    "only_value",
    "parse_command_line",
    "parse_index_command",
    "split_names",
]

_PROGRAM = "run_recbole_lcrec.py"
_FREE = re.compile(r"--(?:(?P<model>\w[\w-]*)\.)?(?P<key>[A-Za-z_][\w-]*)=(?P<value>.*)", re.DOTALL)
_LAUNCHER = re.compile(r"--local[_-]rank=\d+")
_DESCRIPTION = "Train LC-Rec and RecBole's models on one data set and rank them with RecBole's evaluator."
_EPILOG = f"""\
Every other flag has the form --key=value and sets one parameter: a bare key applies to each model of the list that
knows it, --Model.key=value only to that model. The command line overrides property files, and these override the
defaults in properties/. properties/model/LCRec.yaml and properties/stages/ say what each key of LCRec means. A name
such as SASRec-wide is a variant of SASRec with its own values, --SASRec-wide.hidden_size=128.

examples:
  python {_PROGRAM} --model=LCRec --dataset=ml-100k
  python {_PROGRAM} --model=LCRec,SASRec,Pop --dataset=ml-100k --config_files=properties/quick_start.yaml
  python {_PROGRAM} --model=LCRec,SASRec --dataset=Games --data_path=dataset --epochs=20 --LCRec.epochs=4
  python {_PROGRAM} --model=SASRec,SASRec-wide --dataset=ml-100k --SASRec-wide.hidden_size=128
  python {_PROGRAM} --model=SASRec,CoVisitText,Pop --dataset=ml-100k --seeds=2020,2021,2022 --reference=SASRec
  python {_PROGRAM} --model=LCRec --dataset=Games --base_model=/models/my-llm --topk=[5,10] --valid_metric=NDCG@10
  torchrun --nproc_per_node=8 {_PROGRAM} --model=LCRec --dataset=Games --base_model=/models/my-llm
"""
_INDEX_PROGRAM = "python -m recbole_lcrec.indexing"
_INDEX_DESCRIPTION = "Learn the item index of a data set, without a language model, and report on it."
_INDEX_EPILOG = f"""\
Every other flag has the form --key=value and sets one parameter; properties/stages/ says what each of text_* and
index_* means. The index, what is needed to index new items, and a page of figures are written to
saved/index-<dataset>-<time>/. A run with the same parameters uses the same index; --index_file=<file> sets another.

examples:
  {_INDEX_PROGRAM} --dataset=ml-100k
  {_INDEX_PROGRAM} --dataset=Games --index_method=rqkmeans --index_embedding_file=games.npy
  {_INDEX_PROGRAM} --dataset=Games --index_file=their.index.json
  {_INDEX_PROGRAM} --extend=saved/LCRec-Games-Nov-21-2026_10-00-00
  torchrun --nproc_per_node=8 -m recbole_lcrec.indexing --dataset=Games --text_encoder=/models/my-llm
"""


@dataclass(frozen=True)
class Command:
    """The parsed flags of the main command.

    Attributes:
        models: names of the models to run, in order; empty when ``--model`` is absent (a property file may name it).
        dataset: name of the data set; empty when ``--dataset`` is absent.
        config_files: paths of property files, in order of increasing precedence.
        shared: values of bare keys.
        per_model: model name -> values of its ``--Model.key`` flags.
    """

    models: tuple[str, ...] = ()
    dataset: str = ""
    config_files: tuple[str, ...] = ()
    shared: dict[str, Any] = field(default_factory=dict)
    per_model: dict[str, dict[str, Any]] = field(default_factory=dict)

    def values(self) -> dict[str, Any]:
        """Return all values in one flat mapping, with per-model keys written ``Model.key``."""
        own = {f"{model}.{key}": value for model, values in self.per_model.items() for key, value in values.items()}
        return {**self.shared, **own}


@dataclass(frozen=True)
class IndexCommand:
    """The parsed flags of ``python -m recbole_lcrec.indexing``.

    Attributes:
        command: data set, property files and values; no models.
        extend: folder of a saved run to which new items are added; empty when a new index is made.
    """

    command: Command
    extend: str


class FlagParser(argparse.ArgumentParser):
    """An argument parser that raises errors instead of exiting the process."""

    def error(self, message: str) -> NoReturn:
        """Raise argparse's message as a ValueError."""
        raise ValueError(f"{message}; --help shows how flags are written")


def parse_command_line(argv: Sequence[str]) -> Command:
    """Parse the flags of the main command.

    A launcher's ``--local_rank=N`` is ignored: the rank is read from the environment.

    Args:
        argv: the flags, without the program's name.

    Raises:
        ValueError: a flag that is not of the form ``--key=value``, one key with two values, or a name given twice.
        SystemExit: ``--help`` was given; the help text has been printed.
    """
    parser = _parser(_PROGRAM, _DESCRIPTION, f"{_EPILOG}\n{_listed_models()}", models=True)
    named, free = parser.parse_known_args(list(argv))
    return _command(named, free)


def parse_index_command(argv: Sequence[str]) -> IndexCommand:
    """Parse the flags of ``python -m recbole_lcrec.indexing``; raises as :func:`parse_command_line` does."""
    parser = _parser(_INDEX_PROGRAM, _INDEX_DESCRIPTION, _INDEX_EPILOG, models=False)
    parser.add_argument(
        "--extend",
        action="append",
        default=[],
        metavar="FOLDER",
        help="a saved run whose data set has new items: they get indices, nothing else changes",
    )
    named, free = parser.parse_known_args(list(argv))
    extend = only_value(named.extend, "--extend")
    if bool(extend) == bool(only_value(named.dataset, "--dataset")):
        raise ValueError("give either --dataset=NAME to make an index, or --extend=FOLDER to add new items to one")
    return IndexCommand(_command(named, free), extend)


def _command(named: argparse.Namespace, free: Sequence[str]) -> Command:
    shared, per_model = free_values(free)
    return Command(
        models=split_names(only_value(getattr(named, "model", []), "--model")),
        dataset=only_value(named.dataset, "--dataset").strip(),
        config_files=tuple(only_value(named.config_files, "--config_files").split()),
        shared={key: parse_value(text) for key, text in shared.items()},
        per_model={
            model: {key: parse_value(text) for key, text in values.items()} for model, values in per_model.items()
        },
    )


def _listed_models() -> str:
    """Return the names of all models, for the help."""
    names, first = model_names(), registered_names()
    theirs = [name for name in names if name not in first]

    def wrapped(models: list[str]) -> str:
        return textwrap.fill(", ".join(models), 120, initial_indent="  ", subsequent_indent="  ")

    own = f"models of this package, of installed plug-ins and of scripts:\n{wrapped(first)}"
    return f"{own}\nmodels of RecBole:\n{wrapped(theirs)}\n"


def free_values(free: Sequence[str]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Return the texts of ``--key=value`` flags, and those of ``--Model.key=value`` by model.

    Raises:
        ValueError: a flag of another form, or one key with two values.
    """
    shared: dict[str, str] = {}
    per_model: dict[str, dict[str, str]] = {}
    for flag in free:
        if _LAUNCHER.fullmatch(flag):
            continue
        match = _FREE.fullmatch(flag)
        if match is None:
            raise ValueError(f"{flag!r} is not understood: write --key=value, with no spaces around '='")
        model, key, text = match["model"], match["key"], match["value"]
        values = per_model.setdefault(model, {}) if model else shared
        if values.setdefault(key, text) != text:
            raise ValueError(f"--{f'{model}.' if model else ''}{key} is given twice: {values[key]!r} and {text!r}")
    return shared, per_model


def split_names(text: str) -> tuple[str, ...]:
    """Split model names such as ``"LCRec,SASRec"`` at the commas.

    Raises:
        ValueError: a name is empty or appears twice.
    """
    if not text.strip():
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if "" in names:
        raise ValueError(f"model = {text!r} contains an empty name; separate names by one comma")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"model = {text!r} names {', '.join(twice)} more than once")
    return names


def only_value(given: list[str], flag: str) -> str:
    """Return the value of a flag that may be repeated with the same value; empty if it is absent.

    Raises:
        ValueError: the flag is given with two values.
    """
    if len(set(given)) > 1:
        raise ValueError(f"{flag} is given twice: {given[0]!r} and {next(v for v in given if v != given[0])!r}")
    return given[0] if given else ""


def _parser(program: str, description: str, epilog: str, models: bool) -> argparse.ArgumentParser:
    parser = FlagParser(
        prog=program,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if models:
        parser.add_argument(
            "-m",
            "--model",
            action="append",
            default=[],
            metavar="NAMES",
            help="one model, or several separated by commas; all are listed below",
        )
    parser.add_argument(
        "-d",
        "--dataset",
        action="append",
        default=[],
        metavar="NAME",
        help="a folder of data_path with <NAME>.inter or <NAME>.inter.json; ml-100k comes with RecBole",
    )
    parser.add_argument(
        "--config_files",
        action="append",
        default=[],
        metavar='"FILES"',
        help="YAML property files separated by spaces; a later one overrides an earlier one",
    )
    return parser
