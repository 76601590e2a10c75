"""``python -m recbole_lcrec.data``: raw files to atomic files, and errors if they are missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from recbole_lcrec import run_recbole_lcrec
from recbole_lcrec.bridge.loading import create_dataset
from recbole_lcrec.cli.data import main
from recbole_lcrec.cli.data.raw_steps import _KINDS
from recbole_lcrec.config.configurator import Config
from recbole_lcrec.preparation.amazon.files import EDITIONS, remote_files
from tests.preparation.amazon.amazon_raw import random_events
from tests.preparation.amazon.test_prepare import write_raw
from tests.preparation.test_download import BODY, Server


@pytest.fixture
def server() -> Iterator[Server]:
    """Answer every path with ``BODY``."""
    one = Server()
    yield one
    one.close()


def test_prepare_and_run_read_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """RecBole finds the same interactions whether the command or the run prepared them."""
    counts = []
    for name, prepare in (("one", True), ("two", False)):
        folder = tmp_path / name / "Games"
        write_raw(folder / "raw", random_events(np.random.default_rng(3)))
        if prepare:
            assert main(["prepare", "Games", f"--data_path={tmp_path / name}"]) == 0
            assert (folder / "Games.inter").is_file() and (folder / "Games.item").is_file()
        own = {"data_path": str(tmp_path / name), "checkpoint_dir": str(tmp_path / name / "saved"), "topk": [1]}
        config = Config("SASRec", "Games", config_dict={**own, "valid_metric": "NDCG@1", "show_progress": False})
        dataset = create_dataset(config)
        counts.append((dataset.user_num, dataset.item_num, dataset.inter_num))
    assert counts[0] == counts[1] and counts[0][2] > 0


def test_missing_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "Games", f"--data_path={tmp_path}"]) == 2
    message = capsys.readouterr().err
    assert "Video_Games.csv" in message and "https://" in message and str(tmp_path / "Games" / "raw") in message
    assert "Traceback" not in message
    with pytest.raises(ValueError, match=r"python -m recbole_lcrec\.data download Games"):
        run_recbole_lcrec("SASRec", "Games", config_dict={"data_path": str(tmp_path)})


def test_an_unknown_edition_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["download", "Games", "--edition=2014"])


def test_untitled_items_stay_on_request(tmp_path: Path) -> None:
    counts = []
    for name, flags in (("titled", []), ("all", ["--keep_untitled", "--k=1", "--keep_repeats"])):
        folder = tmp_path / name / "Games"
        write_raw(folder / "raw", random_events(np.random.default_rng(3)))
        assert main(["prepare", "Games", f"--data_path={tmp_path / name}", *flags]) == 0
        counts.append(len((folder / "Games.inter").read_text(encoding="utf-8").splitlines()))
    assert counts[0] < counts[1]


@pytest.mark.parametrize(
    ("kinds", "paths"),
    [
        (
            ["--kinds=ratings,metadata"],
            ["benchmark/5core/rating_only/Software.csv.gz", "raw/meta_categories/meta_Software.jsonl.gz"],
        ),
        (["--kinds= metadata "], ["raw/meta_categories/meta_Software.jsonl.gz"]),
        (
            [],
            [
                "benchmark/5core/rating_only/Software.csv.gz",
                "raw/meta_categories/meta_Software.jsonl.gz",
                "raw/review_categories/Software.jsonl.gz",
            ],
        ),
    ],
)
def test_only_the_requested_kinds_are_downloaded(
    tmp_path: Path, server: Server, kinds: list[str], paths: list[str]
) -> None:
    mirror = server.address.partition("/files")[0]
    flags = ["--edition=2023", f"--mirror={mirror}", f"--data_path={tmp_path}", *kinds]
    assert main(["download", "Software", *flags]) == 0
    assert [path for path, _ in server.asked] == [f"/{path}" for path in paths]
    raw = tmp_path / "Software" / "raw"
    assert all((raw / path.rpartition("/")[2]).read_bytes() == BODY for path in paths)


@pytest.mark.parametrize(
    ("name", "kinds", "message"),
    [
        ("Software", "ratings,metadat", "no kind 'metadat'; the kinds are ratings, metadata, reviews"),
        ("Software", "", "no kind ''; the kinds are ratings, metadata, reviews"),
        ("ml-1m", "ratings", "--kinds does not apply to ml-1m"),
    ],
)
def test_unknown_kinds_are_rejected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], server: Server, name: str, kinds: str, message: str
) -> None:
    mirror = server.address.partition("/files")[0]
    assert main(["download", name, f"--kinds={kinds}", f"--mirror={mirror}", f"--data_path={tmp_path}"]) == 2
    assert message in capsys.readouterr().err and not server.asked and not list(tmp_path.iterdir())


@pytest.mark.parametrize("edition", EDITIONS)
def test_the_kinds_are_those_of_each_edition(edition: str) -> None:
    assert tuple(file.kind for file in remote_files("Games", edition)) == _KINDS
