"""Existing files beside a new data set are removed only on request."""

from __future__ import annotations

import errno
import logging
from pathlib import Path

import pytest

from recbole_lcrec.cli.data import main
from recbole_lcrec.preparation.forms.staging import disk_full, staged
from recbole_lcrec.runtime.artifacts import DiskFullError


@pytest.mark.parametrize("overwrite", [False, True])
def test_companion_files_are_removed_only_with_overwrite(
    tmp_path: Path, overwrite: bool, caplog: pytest.LogCaptureFixture
) -> None:
    beside = ["shop.index.json", "shop.intentions.jsonl", "shop.user"]
    for name in beside:
        (tmp_path / name).write_text("made at some cost")
    with caplog.at_level(logging.INFO), staged("shop", tmp_path, overwrite) as target:
        (target / "shop.inter").write_text("new")
    left = sorted(path.name for path in tmp_path.iterdir())
    aside = ["shop.index.json.older", "shop.intentions.jsonl.older", "shop.inter"]
    assert left == aside if overwrite else left == sorted([*beside, "shop.inter"])
    assert all(name in caplog.text for name in beside)


@pytest.mark.parametrize("name", ["..", "a/b", ".hidden", "", "a b"])
def test_invalid_data_set_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a data set"), staged(name, tmp_path / name):
        pytest.fail("a folder was made")
    assert not list(tmp_path.iterdir())


def test_created_folders_are_removed_after_an_error(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    with pytest.raises(ValueError, match="damaged"), staged("shop", tmp_path / "here" / "out" / "shop") as target:
        (target / "shop.inter").write_text("half")
        raise ValueError("damaged")
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_reported_once(tmp_path: Path, number: int) -> None:
    with pytest.raises(DiskFullError) as caught, staged("shop", tmp_path / "out"):
        raise OSError(number, "there is no room")
    assert caught.value.errno == number
    assert caught.value.strerror == (
        f"no space left in {tmp_path / 'out'} (there is no room); partial files have been removed: free some space, "
        "or use a folder on another disk"
    )
    with pytest.raises(DiskFullError) as again, staged("shop", tmp_path / "out"):
        raise caught.value
    assert again.value is caught.value
    assert disk_full(PermissionError(errno.EACCES, "Permission denied"), tmp_path) is None


def test_minionerec_reports_files_without_rows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    header = "user_id,history_item_id,item_id\n"
    (tmp_path / "train.csv").write_text(header + 'u,"[1, 2]",3\n')
    (tmp_path / "test.csv").write_text(header)
    given = ["minionerec", "shop", f"--train={tmp_path}/train.csv", f"--data_path={tmp_path}/out"]
    assert main([*given, f"--items={tmp_path}/none.json"]) == 2
    assert "none.json cannot be read (No such file or directory); check the path" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*given, f"--test={tmp_path}/test.csv"]) == 0
    assert "test.csv has no rows after its header" in caplog.text


def test_files_to_be_replaced_are_named_with_the_remedy(tmp_path: Path) -> None:
    """--overwrite replaces a foreign file, but never a source."""
    (tmp_path / "shop.item").write_text("older")
    with (
        pytest.raises(ValueError, match=r"shop\.item would be replaced.* --overwrite"),
        staged("shop", tmp_path) as new,
    ):
        (new / "shop.item").write_text("new")
    source = [tmp_path / "shop.item"]
    with pytest.raises(ValueError, match="made from it; use another"), staged("shop", tmp_path, True, source) as new:
        (new / "shop.item").write_text("new")
    assert (tmp_path / "shop.item").read_text() == "older"
