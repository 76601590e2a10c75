"""Tiny tuned runs on disk, for tests that only read them or copy them first."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from recbole_lcrec import Recommender, run_recbole_lcrec
from recbole_lcrec.instructions.template_file import load_templates
from recbole_lcrec.runs.saved import ALLOWED_FILE, TEMPLATE_FILE
from recbole_lcrec.serving.recommender import Recommendation
from tests.conftest import SHOP, TINY, shop_index, write_index, write_shop

WORDED: dict[str, Any] = {"tuning_seq_format": "instruction", "epochs": 1, "use_gpu": False}
INDEX_TEXT = {item: "".join(tokens) for item, tokens in shop_index().items()}


def make_run(root: Path, given_index: bool = True, **changes: Any) -> Path:
    """Tune a tiny model on the shop under ``root / "data"`` and return the run's folder."""
    data = root / "data"
    if not data.exists():
        write_shop(data)
        if given_index:
            write_index(data)
    values = {**TINY, **WORDED, "data_path": str(data), "checkpoint_dir": str(root / "saved"), **changes}
    root.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        return Path(run_recbole_lcrec("LCRec", SHOP, config_dict=values)["saved_model_file"])


def copied(run: Path, into: Path) -> Path:
    """Return a copy of a run that a test may damage."""
    return Path(shutil.copytree(run, into / run.name))


@contextmanager
def no_model_calls() -> Iterator[None]:
    """Make any forward pass of a module an error, inside the context."""

    def called(*_: Any) -> None:
        raise AssertionError("the model was called")

    handle = torch.nn.modules.module.register_module_forward_pre_hook(called)
    try:
        yield
    finally:
        handle.remove()


def exhaustive_scores(model: Any, tokenizer: Any, prompt: str, items: list[str]) -> dict[str, float]:
    """Return the log-probability of each item's index after a prompt, by one plain forward pass per item."""
    start = tokenizer(prompt)["input_ids"]
    start = start[:-1] if start[-1] == tokenizer.eos_token_id else start
    scores = {}
    for item in items:
        ids = tokenizer(item, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([start + ids])).logits[0].float().log_softmax(-1)
        scores[item] = sum(float(logits[len(start) - 1 + place, token]) for place, token in enumerate(ids))
    return scores


def swap_indices(run: Path) -> None:
    """Swap the indices of two items."""
    path = run / f"{SHOP}.index.json"
    index = json.loads(path.read_text(encoding="utf-8"))
    index["i0"], index["i1"] = index["i1"], index["i0"]
    path.write_text(json.dumps(index), encoding="utf-8")


def configured(run: Path, **values: Any) -> None:
    """Change values of a run's ``config.yaml``."""
    path = run / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert values.keys() <= config.keys()
    path.write_text(yaml.safe_dump({**config, **values}), encoding="utf-8")


def limited(run: Path, items: list[str], named: str = "stock.txt") -> None:
    """Limit a run to these items, as if it had been tuned with a file of allowed items."""
    configured(run, decoding_allowed_items=named)
    (run / ALLOWED_FILE).write_text("".join(f"{item}\n" for item in items), encoding="utf-8")


def prompt(folder: Path, task: str, template: int = 0, **values: Any) -> str:
    templates = load_templates(folder / TEMPLATE_FILE)
    if "history" in values:
        values["history"] = ", ".join(INDEX_TEXT[item] for item in values["history"])
    return templates.frame.format(instruction=templates.tasks[task][template].instruction.format(**values))


def require_exhaustive(recommender: Recommender, answer: list[Recommendation], texts: list[str]) -> None:
    """Assert that an answer is the best of all items by plain forward passes, with scores added over the prompts."""
    reader: Any = recommender.answering.ranker.reader
    tokenizer = recommender.answering.writer.writer.tokenizer
    items = list(INDEX_TEXT)
    by_prompt = [exhaustive_scores(reader._model, tokenizer, text, list(INDEX_TEXT.values())) for text in texts]
    scores = np.array([sum(each[INDEX_TEXT[item]] for each in by_prompt) for item in items])
    found = np.array([one.log_prob for one in answer])
    np.testing.assert_allclose(found, np.sort(scores)[::-1][: len(answer)], rtol=1e-5, atol=1e-4)
    mine = np.array([scores[items.index(one.item)] for one in answer])
    np.testing.assert_allclose(mine, found, rtol=1e-5, atol=1e-4)


def require_alike(found: list[Recommendation], expected: list[Recommendation]) -> None:
    """Assert equal scores, and equal items except where scores tie."""
    assert [one.log_prob for one in found] == pytest.approx([one.log_prob for one in expected], abs=1e-4)
    scores = {one.item: one.log_prob for one in expected}
    last = expected[-1].log_prob
    assert all(one.log_prob == pytest.approx(scores.get(one.item, last), abs=1e-4) for one in found)
