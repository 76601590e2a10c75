"""A saved run tested again under torchrun: the users that each process ranks, and the written results."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recbole_lcrec import LCRecTrainer, load_data_and_model
from recbole_lcrec.decoding import PromptBatch, ranker
from recbole_lcrec.runtime.processes import process_rank
from tests.conftest import SHOP, shop_sequences
from tests.decoding.conftest import rows_of
from tests.integration.dying import write_indexed_shop
from tests.integration.launched import launched
from tests.saved_runs import configured, copied, make_run

pytestmark = pytest.mark.slow

PROCESSES = 2
USERS = {tuple(items[:-1]): user for user, items in shop_sequences().items()}.values()
"""All histories differ, and one process has more users than the other."""
MODES = ("full", "uni5")
SCRIPT = """
import sys
from pathlib import Path
from tests.integration.test_evaluation_processes import evaluate

evaluate([Path(run) for run in sys.argv[1:]])
"""

Batches = list[list[list[int]]]


def evaluate(runs: list[Path]) -> None:
    """Test each run on its test users, and record the prompts of each batch that this process has decoded."""
    for run in runs:
        config, model, _, _, _, test = load_data_and_model(run)
        trainer = LCRecTrainer(config, model)
        trainer.eval_collector.data_collect(test)
        batches: Batches = []
        with pytest.MonkeyPatch.context() as patch:
            for name in ("beam_search", "score_items"):
                patch.setattr(ranker, name, noting(getattr(ranker, name), batches))
            trainer.evaluate(test, model_file=run)
        (run / f"batches.{process_rank()}").write_text(json.dumps(batches), encoding="utf-8")


def noting(decode: Callable[..., Any], batches: Batches) -> Callable[..., Any]:
    """Return a decoding function that records the prompts of each batch."""

    def noted(reader: Any, prompts: PromptBatch, *args: Any, **kwargs: Any) -> Any:
        batches.append(rows_of(prompts))
        return decode(reader, prompts, *args, **kwargs)

    return noted


def batches_of(run: Path, rank: int) -> Batches:
    """Return the batches that a process has recorded."""
    found: Batches = json.loads((run / f"batches.{rank}").read_text(encoding="utf-8"))
    return found


def results_of(run: Path) -> dict[str, Any]:
    """Return ``results.json`` of a run."""
    found: dict[str, Any] = json.loads((run / "results.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def untested(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Copies of a tuned run without results on the test users, one for each way to test it."""
    home = tmp_path_factory.mktemp("home")
    interactions = write_indexed_shop(home / "data") / SHOP / f"{SHOP}.inter"
    lines = interactions.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines[1:] if line.split("\t")[0] in USERS]
    interactions.write_text("".join([lines[0], *kept]), encoding="utf-8")
    # histories are not cut, so that prompts identify users
    run = make_run(home, tuning_seq_format="stream", MAX_ITEM_LIST_LENGTH=20, metric_decimal_place=16)
    found = {key: value for key, value in results_of(run).items() if key not in ("test_result", "certified")}
    (run / "results.json").write_text(json.dumps(found), encoding="utf-8")
    runs = {mode: copied(run, home / mode) for mode in MODES}
    for mode, one in runs.items():  # in two batches of RecBole's, each of them in several of the ranker's
        configured(one, eval_args={"mode": mode}, decoding_max_tokens=150, eval_batch_size=16)
    return runs


def test_two_processes_share_all_users_and_write_what_one_writes(untested: dict[str, Path], tmp_path: Path) -> None:
    alone, shared = (
        {mode: copied(run, tmp_path / name / mode) for mode, run in untested.items()} for name in ("alone", "shared")
    )
    evaluate(list(alone.values()))
    (tmp_path / "evaluate.py").write_text(SCRIPT, encoding="utf-8")
    launched(PROCESSES, "evaluate.py", *map(str, shared.values()), cwd=tmp_path, timeout=300)
    for mode in MODES:
        together = batches_of(alone[mode], 0)
        users = [prompt for batch in together for prompt in batch]
        assert len(users) == len({tuple(prompt) for prompt in users}) == len(USERS) == 23
        parts = [batches_of(shared[mode], rank) for rank in range(PROCESSES)]
        assert all(parts)
        assert sorted(batch for part in parts for batch in part) == sorted(together)
        expected = results_of(alone[mode])
        assert 0 < expected["test_result"]["ndcg@5"] < 1
        assert results_of(shared[mode]) == expected  # to the last digit
