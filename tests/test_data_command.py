"""``python -m recbole_lcrec.data``: raw files to atomic ones, and what it says when they are not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recbole_lcrec import run_recbole_lcrec
from recbole_lcrec.config import Config
from recbole_lcrec.data.loading import create_dataset
from recbole_lcrec.data_command import main
from tests.data.amazon.amazon_raw import random_events
from tests.data.amazon.test_prepare import write_raw


def test_prepare_and_run_read_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Prepared by the command, or by the run itself: RecBole finds the same interactions."""
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


def test_what_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "Games", f"--data_path={tmp_path}"]) == 2
    told = capsys.readouterr().err
    assert "Video_Games.csv" in told and "https://" in told and str(tmp_path / "Games" / "raw") in told
    assert "Traceback" not in told
    with pytest.raises(ValueError, match=r"python -m recbole_lcrec\.data download Games"):
        run_recbole_lcrec("SASRec", "Games", config_dict={"data_path": str(tmp_path)})


def test_no_such_edition(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["download", "Games", "--edition=2014"])


def test_untitled_items_stay_when_asked(tmp_path: Path) -> None:
    counts = []
    for name, flags in (("titled", []), ("all", ["--keep_untitled", "--k=1", "--keep_repeats"])):
        folder = tmp_path / name / "Games"
        write_raw(folder / "raw", random_events(np.random.default_rng(3)))
        assert main(["prepare", "Games", f"--data_path={tmp_path / name}", *flags]) == 0
        counts.append(len((folder / "Games.inter").read_text(encoding="utf-8").splitlines()))
    assert counts[0] < counts[1]
