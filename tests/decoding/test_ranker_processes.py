"""Several processes that split the users; here they are threads, each with its own copy of the model."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest

from recbole_lcrec.decoding import Beams, Ranker, SharedReader, Trie, ranker
from tests.decoding.conftest import Lab, Watched, decoding_settings, ranker_for, users_of

LENGTHS = (9, 3, 14, 1, 6, 20, 9, 11, 2, 17, 5)


def same(one: Beams, other: Beams) -> bool:
    """Whether two results are bitwise equal."""
    pairs = ((one.items, other.items), (one.log_probs, other.log_probs), (one.bound, other.bound))
    return all(first.equal(second) for first, second in pairs)


def in_processes(count: int, monkeypatch: pytest.MonkeyPatch, work: Callable[[], Any]) -> list[Any]:
    """Results of ``work`` in ``count`` simulated processes, with a barrier wherever they exchange values."""
    own, barrier = threading.local(), threading.Barrier(count, timeout=60)
    box: list[Any] = [None] * count
    results: list[Any] = [None] * count

    def exchange(value: Any) -> list[Any]:
        box[own.rank] = copy.deepcopy(value)
        barrier.wait()
        values = list(box)
        barrier.wait()
        return values

    monkeypatch.setattr(ranker, "process_count", lambda: count)
    monkeypatch.setattr(ranker, "process_rank", lambda: own.rank)
    monkeypatch.setattr(ranker, "from_all_processes", exchange)

    def run(rank: int) -> None:
        own.rank = rank
        try:
            results[rank] = work()
        except ValueError as err:
            results[rank] = err

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("count", [2, 3, 8])
def test_several_processes_give_bitwise_equal_results(lab: Lab, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uneven numbers of users, some processes with none; every round of widening is split again."""
    model, trie = lab.model("mistral"), Trie.from_token_ids(lab.catalogue(90, 3, n_codes=6))
    users, settings = users_of(lab.rows(*LENGTHS)), decoding_settings(beam_size=3, exact=True, max_tokens=60)
    excluded = [[user, user + 1] for user in range(11)]
    candidates = [[7, 8, 9][: 1 + user % 3] for user in range(11)]
    alone = ranker_for(model, trie, settings)
    beams, scores = alone.rank(users, 3, excluded), alone.score(users, candidates)

    def work() -> Any:
        mine = ranker_for(copy.deepcopy(model), trie, settings)
        return mine.rank(users, 3, excluded), mine.score(users, candidates)

    for found, given in in_processes(count, monkeypatch, work):
        assert same(found, beams)
        assert [row.tolist() for row in given] == [row.tolist() for row in scores]


def test_each_user_is_ranked_by_one_process(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    model, trie = lab.model("llama"), Trie.from_token_ids(lab.catalogue(40, 3))
    users, settings = users_of(lab.rows(*LENGTHS)), decoding_settings(max_tokens=60)

    def work() -> int:
        reader = Watched(SharedReader(copy.deepcopy(model)))
        Ranker(reader, trie, settings, model.device).rank(users, 5)
        return sum(len(batch) for batch, _ in reader.read_batches)

    counts = in_processes(3, monkeypatch, work)
    assert sum(counts) == 11 and max(counts) < 11


def test_all_processes_raise_the_same_error(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """If only one process raised, the others would wait for it."""
    model, trie = lab.model("llama"), Trie.from_token_ids(lab.catalogue(40, 3))
    users = [*users_of(lab.rows(*LENGTHS)), [[1] * 63]]

    def work() -> Beams:
        return ranker_for(copy.deepcopy(model), trie, decoding_settings(max_tokens=60)).rank(users, 5)

    errors = in_processes(3, monkeypatch, work)
    assert all("prompt of 63 tokens and 2 index tokens" in str(err) for err in errors)
