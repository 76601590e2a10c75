"""Folders of checkpoints: the run that they belong to, and the process that locks them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from recbole_lcrec.llm.checkpoints import Checkpoints
from recbole_lcrec.models.lcrec.resume import check_resume, checkpoint_folder, find_progress, held, run_of

IDENTITY = {"dataset": "shop", "epochs": 3}


def killed_run(folder: Path) -> Path:
    run = folder / "LCRec-shop-Jan-01-2026_00-00-00"
    with Checkpoints(checkpoint_folder(run), 1, IDENTITY, dict).keep(7, {"loss": 1.0}, True, lambda: None):
        pass
    return run


def test_a_run_is_named_by_either_of_its_folders(tmp_path: Path) -> None:
    run = killed_run(tmp_path)
    for name in (run, checkpoint_folder(run), f"{run}/"):
        check_resume(str(name))
        progress = find_progress(str(name), tmp_path, "LCRec", IDENTITY)
        assert progress is not None and (progress.step, run_of(progress)) == (7, str(run))
    with pytest.raises(ValueError, match="no complete checkpoint"):
        check_resume(str(tmp_path / "other"))


def test_auto_ignores_other_runs_and_may_find_none(tmp_path: Path) -> None:
    assert find_progress("auto", tmp_path, "LCRec", IDENTITY) is None
    run = killed_run(tmp_path)
    assert find_progress("auto", tmp_path, "LCRec", {**IDENTITY, "epochs": 4}) is None
    found = find_progress("auto", tmp_path, "LCRec", IDENTITY)
    assert found is not None and run_of(found) == str(run)
    assert find_progress(None, tmp_path, "LCRec", IDENTITY) is None


def test_a_running_run_is_locked_until_its_process_ends(tmp_path: Path) -> None:
    run = killed_run(tmp_path)
    program = (
        "import sys, pathlib; from recbole_lcrec.models.lcrec.resume import held\n"
        "with held(pathlib.Path(sys.argv[1])):\n    print('held', flush=True); sys.stdin.read()"
    )
    alive = subprocess.Popen(
        [sys.executable, "-c", program, str(checkpoint_folder(run))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[3],
    )
    assert alive.stdout is not None and alive.stdout.readline() == "held\n"
    assert find_progress("auto", tmp_path, "LCRec", IDENTITY) is None
    with pytest.raises(ValueError, match="still running in another process"), held(checkpoint_folder(run)):
        pass
    alive.kill()
    alive.wait()
    assert find_progress("auto", tmp_path, "LCRec", IDENTITY) is not None
