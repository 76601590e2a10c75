"""Models that cannot be loaded although their files are complete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recbole_lcrec.llm import loading
from recbole_lcrec.llm.backbone import load_saved
from recbole_lcrec.runtime.errors import RunAborted


def test_out_of_memory_is_not_reported_as_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", full)
    with pytest.raises(RunAborted, match=r"not enough memory to load .*allocate memory"):
        load_saved(tmp_path, "sdpa")


def test_attention_error_of_transformers_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: Any, **__: Any) -> None:
        raise ValueError("MptForCausalLM does not support sdpa; load it with eager")

    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", unsupported)
    with pytest.raises(ValueError, match=r"could not be loaded: Mpt.*load it with eager$"):
        load_saved(Path("some-model"), "sdpa")
