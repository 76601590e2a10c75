"""The command ``python -m recbole_lcrec.recommend``: recommendations from a saved run.

PyTorch is loaded only after the flags have been checked, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate
from tqdm import tqdm

from recbole_lcrec.config.command_line import FlagParser, free_values, only_value
from recbole_lcrec.config.values import parse_value, read_yaml
from recbole_lcrec.runtime.commands import run_command
from recbole_lcrec.runtime.processes import process_count, process_rank

if TYPE_CHECKING:
    from recbole_lcrec.serving.recommender import Recommendation, Recommender
    from recbole_lcrec.serving.user_lines import AnswerFile, UserLine

__all__ = ["RecommendCommand", "main", "parse_recommend_command"]

_CHUNK = 512
"""Users per process whose answers are written together."""

_IRRELEVANT = ("decoding_max_tokens",)
"""Settings that do not change answers."""

_PROGRAM = "python -m recbole_lcrec.recommend"
_DESCRIPTION = "Recommend items by a saved run. A run of LC-Rec needs no data set; other models need theirs."
_EPILOG = f"""\
Flags of the form --decoding_key=value override the run's settings; properties/stages/decoding.yaml and
properties/model/LCRec.yaml say what each means. A line of --input is {{"user": ..., "history": [ID, ...]}}, with
"intention": TEXT if there is one; a line of --output is
{{"user": ..., "items": [{{"item", "title", "log_prob", "certified"}}, ...]}}, in the order of the input. An interrupted
command continues where it stopped when it is run again.

examples:
  {_PROGRAM} --run=saved/LCRec-Games-Nov-21-2026_10-00-00 --history=B00A,B00B --k=5
  {_PROGRAM} --run=saved/LCRec-Games-Nov-21-2026_10-00-00 --intention="A quiet game for two"
  {_PROGRAM} --run=saved/LCRec-Games-Nov-21-2026_10-00-00 --input=users.jsonl --output=items.jsonl
  torchrun --nproc_per_node=8 -m recbole_lcrec.recommend -- --run=FOLDER --input=users.jsonl --output=items.jsonl
"""
_FLAGS = {
    "run": ("FOLDER", "the saved run, or the .pth file of a model of RecBole"),
    "history": ("IDS", "item ids of one user, oldest first, separated by commas"),
    "intention": ("TEXT", "what that user looks for, in words; the history may then be omitted"),
    "input": ("FILE", "JSON lines of many users, instead of --history"),
    "output": ("FILE", "file for the answers to --input, as JSON lines"),
    "k": ("NUMBER", "items per user; default 10"),
    "allowed_items": ("FILE", "a text file of the items that may be recommended, one id per line"),
    "unknown_items": ("drop", "drop ids that the run does not know from histories; default: they are an error"),
    "exclude_history": ("BOOL", "True: do not recommend items of the history; default: the run's setting"),
    "device": ("NAME", "cpu or cuda; default: the run's setting"),
    "base_model": ("FOLDER", "current path of an adapter's base model; default: the run's setting"),
}


@dataclass(frozen=True)
class RecommendCommand:
    """The parsed flags of ``python -m recbole_lcrec.recommend``.

    Attributes:
        run: folder of the saved run, or a ``.pth`` file.
        history: item ids of one user, oldest first; empty if there is none.
        intention: what that user looks for, in words; None: not given.
        input, output: files of many users; both empty for one user.
        k: items per user.
        allowed_items: file of the items that may be recommended; empty: the run's own choice.
        unknown_items: ``error`` or ``drop`` for unknown ids in histories.
        exclude_history: whether to exclude items of the history; None: the run's setting.
        device: device of the model; None: the run's.
        base_model: current path of an adapter's base model; None: the path in the run's settings.
        decoding: decoding settings that override the run's.
    """

    run: str
    history: tuple[str, ...] = ()
    intention: str | None = None
    input: str = ""
    output: str = ""
    k: int = 10
    allowed_items: str = ""
    unknown_items: str = "error"
    exclude_history: bool | None = None
    device: str | None = None
    base_model: str | None = None
    decoding: dict[str, Any] = field(default_factory=dict)


def parse_recommend_command(argv: Sequence[str]) -> RecommendCommand:
    """Parse the flags of ``python -m recbole_lcrec.recommend``; see ``config/command_line.py``.

    Raises:
        ValueError: a flag is wrong, missing, or given twice.
        SystemExit: ``--help`` was given; the help text has been printed.
    """
    parser = FlagParser(
        prog=_PROGRAM,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for name, (metavar, text) in _FLAGS.items():
        parser.add_argument(f"--{name}", action="append", default=[], metavar=metavar, help=text)
    named, free = parser.parse_known_args(list(argv))
    given = {name: only_value(getattr(named, name), f"--{name}") for name in _FLAGS if getattr(named, name)}
    shared, per_model = free_values(free)
    if per_model:
        raise ValueError(f"--{next(iter(per_model))}.: a saved run has one model; write --key=value")
    shared.pop("state", None)  # read by ``run_command``
    if not given.get("run", "").strip():
        raise ValueError("no run is given; set the folder of a saved run with --run=FOLDER")
    one, many = {"history", "intention"} & set(given), {"input", "output"} & set(given)
    if bool(one) == bool(many) or len(many) == 1:
        raise ValueError("give either --history=ID,ID (or --intention=TEXT, or both), or --input=FILE --output=FILE")
    values: dict[str, Any] = dict(given)
    for name in {"k", "exclude_history"} & set(given):
        values[name] = parse_value(given[name])
    if not isinstance(values.get("exclude_history", True), bool):
        raise ValueError(f"--exclude_history={given['exclude_history']}: expected True or False")
    if "history" in given:
        values["history"] = tuple(item.strip() for item in given["history"].split(",")) if given["history"] else ()
        if "" in values["history"]:
            raise ValueError(f"--history={given['history']} contains an empty id; separate ids by one comma")
    return RecommendCommand(**values, decoding={key: parse_value(text) for key, text in shared.items()})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: flags without the program's name; None: those of the process.

    Returns:
        0, or 2 after an error in flags or data, which is printed in one line (with a traceback under
        ``--state=DEBUG``).
    """
    flags = sys.argv[1:] if argv is None else argv

    def prepare() -> Callable[[], Any]:
        command = parse_recommend_command(flags)
        logging.basicConfig(level=logging.ERROR if process_rank() else logging.INFO, format="%(message)s")
        logging.getLogger("faiss").setLevel(logging.WARNING)  # it logs which of its builds it loads
        allowed = _allowed(command)
        if not command.input:
            return lambda: _answer_one(command, allowed)
        from recbole_lcrec.serving.user_lines import AnswerFile, read_user_lines

        known, recommender = _known_items(command)
        users = read_user_lines(Path(command.input), known, command.unknown_items == "drop")
        if Path(command.output).resolve() == Path(command.input).resolve():
            raise ValueError(f"--output={command.output} is the input; choose another file")
        answers = AnswerFile(Path(command.output), _asked(command))
        n_done = answers.n_done([user.user for user in users])
        return lambda: _answer_many(command, users, allowed, answers, n_done, recommender)

    return run_command(prepare, flags)


def _allowed(command: RecommendCommand) -> list[str] | None:
    if not command.allowed_items:
        return None
    from recbole_lcrec.data.item_choice import read_allowed

    return list(read_allowed(Path(command.allowed_items)))


def _known_items(command: RecommendCommand) -> tuple[set[str], Recommender | None]:
    """Return the run's item ids, and the loaded run if they could only be read from it, as for a ``.pth`` file."""
    from recbole_lcrec.runs.saved import run_items

    if Path(command.run).is_file():
        recommender = _load(command)
        return set(recommender.item_ids), recommender
    return set(run_items(Path(command.run))), None


def _load(command: RecommendCommand) -> Recommender:
    from recbole_lcrec.serving.recommender import Recommender

    return Recommender.load(command.run, command.device, command.base_model, **command.decoding)


def _ask(
    recommender: Recommender, command: RecommendCommand, users: Sequence[UserLine], allowed: list[str] | None
) -> list[list[Recommendation]]:
    return recommender.recommend(
        [user.history for user in users],
        command.k,
        allowed,
        [user.intention for user in users],
        command.exclude_history,
        command.unknown_items,
    )


def _answer_one(command: RecommendCommand, allowed: list[str] | None) -> None:
    from recbole_lcrec.serving.user_lines import UserLine

    user = UserLine("", command.history, command.intention)
    (items,) = _ask(_load(command), command, [user], allowed)
    rows = [[place, each.item, each.title or "-", f"{each.score:.4f}"] for place, each in enumerate(items, start=1)]
    if process_rank() == 0:
        score = "score" if items[0].log_prob is None else "log-prob"
        names, sides = ["rank", "item", "title", score], ["right", "left", "left", "right"]
        table = tabulate(rows, names, tablefmt="github", disable_numparse=True, colalign=sides)
        sys.stdout.write(table + "\n")


def _answer_many(
    command: RecommendCommand,
    users: Sequence[UserLine],
    allowed: list[str] | None,
    answers: AnswerFile,
    n_done: int,
    recommender: Recommender | None,
) -> None:
    """Answer the users without an answer; every process ranks, and the first writes."""
    if n_done:
        logging.getLogger().info(f"{answers.path}: {n_done:,} of {len(users):,} users have answers already")
    if n_done == len(users):
        return
    recommender, first = recommender or _load(command), process_rank() == 0
    # The processes split the batches of one call. On a GPU a batch has more than a hundred users, so a chunk that did
    # not grow with the number of processes would have too few batches for all of them.
    chunk = _CHUNK * process_count()
    with (
        answers.open_to_append() if first else nullcontext() as file,
        tqdm(total=len(users), initial=n_done, unit="user", disable=not first) as progress,
    ):
        for start in (n_done, *range((n_done // chunk + 1) * chunk, len(users), chunk)):
            part = users[start : (start // chunk + 1) * chunk]
            try:
                found = _ask(recommender, command, part, allowed)
            except ValueError as err:
                raise ValueError(f"{command.input}, users counted from {part[0].user!r}: {err}") from err
            if file is not None:
                lines = [_line(user, items) for user, items in zip(part, found, strict=True)]
                file.write("".join(lines))
                file.flush()
            progress.update(len(part))


def _run_files(run: Path) -> tuple[dict[str, Any], str | None]:
    """Return what identifies the contents of a run, and the path of its list of allowed items."""
    from recbole_lcrec.runs.saved import allowed_file
    from recbole_lcrec.runtime.fingerprints import file_digest

    if run.is_file():
        return {run.name: file_digest(run)}, None
    small = [path for path in run.iterdir() if path.name.endswith((".yaml", ".index.json", ".titles.json"))]
    weights = [path for path in run.iterdir() if path.suffix == ".safetensors"]
    digests: dict[str, Any] = {path.name: file_digest(path) for path in sorted(small)}
    digests |= {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in sorted(weights)}
    return digests, allowed_file(run, read_yaml(run / "config.yaml").get("decoding_allowed_items"))


def _line(user: UserLine, items: Sequence[Recommendation]) -> str:
    named = [dataclasses.asdict(each) for each in items]
    for each in named:
        if each["log_prob"] is not None:  # the score is the same number
            del each["score"]
    answer = {"user": user.user, "items": named}
    return json.dumps(answer, ensure_ascii=False) + "\n"


def _asked(command: RecommendCommand) -> dict[str, Any]:
    """Return everything that answers depend on: flags, and the contents of the files that they name."""
    from recbole_lcrec.runtime.fingerprints import file_digest

    files, own = _run_files(Path(command.run))
    allowed = command.allowed_items or command.decoding.get("decoding_allowed_items", own)
    return {
        "run": str(Path(command.run).resolve()),
        "run_files": files,
        "input": file_digest(Path(command.input)),
        "k": command.k,
        "allowed_items": file_digest(Path(allowed)) if allowed and Path(allowed).is_file() else allowed or None,
        "unknown_items": command.unknown_items,
        "exclude_history": command.exclude_history,
        "base_model": command.base_model,
        "decoding": {key: value for key, value in sorted(command.decoding.items()) if key not in _IRRELEVANT},
    }
