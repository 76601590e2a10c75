"""What lies beside a new data set goes only where somebody asked for it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from recbole_lcrec.data.forms.placing import placed


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_beside_go_only_with_overwrite(tmp_path: Path, overwrite: bool, caplog: pytest.LogCaptureFixture) -> None:
    beside = ["shop.index.json", "shop.intentions.jsonl", "shop.user"]
    for name in beside:
        (tmp_path / name).write_text("made at some cost")
    with caplog.at_level(logging.INFO), placed("shop", tmp_path, overwrite) as target:
        (target / "shop.inter").write_text("new")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["shop.inter"] if overwrite else left == sorted([*beside, "shop.inter"])
    assert all(name in caplog.text for name in beside)
