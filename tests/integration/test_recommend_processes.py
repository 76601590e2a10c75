"""Several processes answer as one does, with each user written exactly once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recbole_lcrec.cli.recommend import main
from tests.conftest import shop_sequences
from tests.integration.launched import launched
from tests.saved_runs import make_run

pytestmark = pytest.mark.slow


def test_two_processes_write_what_one_does(tmp_path: Path) -> None:
    run, users = make_run(tmp_path / "root"), tmp_path / "users.jsonl"
    lines = [{"user": user, "history": items[-5:]} for user, items in shop_sequences().items()][:23]
    users.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    flags = [f"--run={run}", f"--input={users}", "--k=4", "--decoding_max_tokens=400", "--device=cpu"]
    assert main([*flags, f"--output={tmp_path / 'one.jsonl'}"]) == 0
    # "--", because torchrun would read --run as an abbreviation of its own flag
    program = ["-m", "recbole_lcrec.recommend", "--"]
    launched(2, *program, *flags, f"--output={tmp_path / 'two.jsonl'}", cwd=tmp_path, timeout=120)
    assert (tmp_path / "two.jsonl").read_text() == (tmp_path / "one.jsonl").read_text()
