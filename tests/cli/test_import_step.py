"""The step ``import`` and the guide to own data: flags, and commands that run as written."""

from __future__ import annotations

import argparse
import gzip
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from recbole_lcrec.cli.data import main
from recbole_lcrec.cli.data.import_step import IMPORT
from recbole_lcrec.preparation.tables.findings import _WORDS

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "own-data.md"


def run(words: list[str]) -> None:
    parser = argparse.ArgumentParser()
    IMPORT.add_flags(parser)
    parser.add_argument("--data_path", default="dataset")
    parser.add_argument("--state")
    IMPORT.work(parser.parse_args(words))


def test_flags_reach_the_import(tmp_path: Path) -> None:
    (tmp_path / "my.tsv").write_bytes("who\tsku\tat\tstars\nann\tx\t31.01.24\té\nbob\tx\t01.02.24\t\n".encode("cp1252"))
    words = "shop --interactions=my.tsv --columns user_id=who,item_id=sku timestamp=at --columns rating=stars"
    words += " --types rating=token --separator=tab --encoding=cp1252 --no_quotes --time_format=%d.%m.%y"
    words += " --bad_row_limit=0 --reserved_ids=mark --first_only --min_user_interactions=1 --min_item_interactions=2"
    run([*words.split(), f"--data_path={tmp_path / 'out'}"])
    assert (tmp_path / "out" / "shop" / "shop.inter").read_text(encoding="utf-8") == (
        "user_id:token\titem_id:token\ttimestamp:float\trating:token\nann\tx\t1706659200\té\nbob\tx\t1706745600\t\n"
    )


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("shop.csv", b"user_id,item_id,timestamp\nu,i,1\n"),
        ("shop.CSV.gz", gzip.compress(b"user_id,item_id,timestamp\nu,i,1\n")),
        ("shop.jsonl", b'{"user_id": "u", "item_id": "i", "timestamp": 1}\n'),
    ],
    ids=["csv", "gzipped", "jsonl"],
)
def test_the_default_name_comes_from_the_file(tmp_path: Path, file: str, content: bytes) -> None:
    (tmp_path / file).write_bytes(content)
    assert main(["import", f"--interactions={tmp_path / file}", f"--data_path={tmp_path / 'out'}"]) == 0
    assert (tmp_path / "out" / "shop" / "shop.inter").is_file()


def test_an_explicit_name_takes_precedence(tmp_path: Path) -> None:
    """At any position among the flags."""
    (tmp_path / "my orders.csv").write_text("user_id,item_id,timestamp\nu,i,1\n", encoding="utf-8")
    table, out = f"--interactions={tmp_path / 'my orders.csv'}", f"--data_path={tmp_path / 'out'}"
    for place in range(3):
        words = [table, out, "--bad_row_limit=0"]
        words.insert(place, f"shop{place}")
        assert main(["import", *words]) == 0
        assert (tmp_path / "out" / f"shop{place}" / f"shop{place}.inter").is_file()


@pytest.mark.parametrize("file", ["my orders.csv", ".csv"])
def test_a_file_name_that_cannot_name_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str) -> None:
    (tmp_path / file).write_text("user_id,item_id,timestamp\nu,i,1\n", encoding="utf-8")
    assert main(["import", f"--interactions={tmp_path / file}", f"--data_path={tmp_path / 'out'}"]) == 2
    message = capsys.readouterr().err
    assert "cannot name a data set" in message and file in message and "import NAME" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flag", ["--reserved_ids", "--odd_ids"])
def test_reserved_ids_are_marked(tmp_path: Path, caplog: pytest.LogCaptureFixture, flag: str) -> None:
    """With the flag, and with its deprecated name, which logs one warning."""
    (tmp_path / "shop.csv").write_text("user_id,item_id,timestamp\nu,NA,1\nu,i,2\n", encoding="utf-8")
    assert main(["import", f"--interactions={tmp_path / 'shop.csv'}", f"--data_path={tmp_path}", f"{flag}=mark"]) == 0
    assert "u\tNA_\t1\n" in (tmp_path / "shop" / "shop.inter").read_text(encoding="utf-8")
    assert caplog.text.count("--odd_ids is deprecated; use --reserved_ids") == (flag == "--odd_ids")


def test_reserved_ids_under_both_names_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "shop.csv"
    table.write_text("user_id,item_id,timestamp\nu,i,1\n", encoding="utf-8")
    assert main(["import", f"--interactions={table}", "--odd_ids=stop", "--reserved_ids=mark"]) == 2
    assert "give only --reserved_ids" in capsys.readouterr().err


def test_help_text_of_the_import(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser(description=IMPORT.description, epilog=IMPORT.examples)
    IMPORT.add_flags(parser)
    text = parser.format_help()
    assert "%d.%m.%Y %H:%M" in " ".join(text.split()) and "1%" in text


def blocks() -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[list[str]]:
    """The words of each import command of a block; lines may be continued with a backslash."""
    lines = block.replace("\\\n", " ").splitlines()
    return [shlex.split(line)[4:] for line in lines if line.startswith("python -m recbole_lcrec.data import ")]


def test_the_guide_runs_as_written(tmp_path: Path) -> None:
    """The tables that the guide shows, imported by the commands that it shows."""
    first, *others = blocks()
    tables = first.partition("python -m")[0]
    assert tables.count("<<'END'") == 2
    subprocess.run(["bash", "-euc", tables], cwd=tmp_path, check=True)
    (stopped,) = commands(first)
    with pytest.raises(ValueError) as caught:
        run(stopped)
    (quoted,) = re.findall(r"It stops: `(.*?)`", " ".join(GUIDE.read_text(encoding="utf-8").split()))
    assert quoted in str(caught.value)
    (second, *_) = others
    (done,) = commands(second)
    run(done)
    folder = tmp_path / "dataset" / "shop"
    for suffix in ("inter", "item", "import.html", "import.json"):
        assert (folder / f"shop.{suffix}").is_file()
    shown = re.findall(r"^```text\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert (folder / "shop.inter").read_text(encoding="utf-8").startswith(shown[0])
    saved = json.loads((folder / "shop.import.json").read_text(encoding="utf-8"))
    found = {one["key"]: one["count"] for one in saved["findings"]}
    assert (saved["numbers"]["users"], saved["numbers"]["items"], saved["numbers"]["interactions"]) == (4, 11, 14)
    assert (found["bad_time"], found["duplicates"], found["unknown_items"], found["blank_titles"]) == (1, 1, 1, 1)
    assert "broken" not in found
    suggested = [shlex.split(line) for line, _ in saved["commands"][:2]]
    assert suggested == [shlex.split(line) for line in others[1].splitlines()]


def test_the_guide_explains_every_finding() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    for what, _, _ in _WORDS.values():
        assert f"| {what} |" in text or f"| {what}, " in text or what in text, what
    assert len(text.splitlines()) < 150
