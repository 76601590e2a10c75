"""Batches of users, and what happens when memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_lcrec.decoding.batches import plan_batches, run_batches

LACKS: list[Callable[[], Exception]] = [
    lambda: torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError,
    lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: 8 bytes"),
    lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(0, 100), st.integers(1, 2000), st.integers(1, 4))
def test_every_user_is_in_one_batch_within_the_budget(
    lengths: list[int], extra: int, max_tokens: int, per_user: int
) -> None:
    batches = plan_batches(lengths, extra, max_tokens, per_user)
    assert sorted(user for batch in batches for user in batch.tolist()) == list(range(len(lengths)))
    ordered = [lengths[user] for batch in batches for user in batch.tolist()]
    assert ordered == sorted(lengths, reverse=True)
    for place, batch in enumerate(batches):
        one = per_user * (max(lengths[user] for user in batch) + extra)
        assert len(batch) >= 1
        assert len(batch) == 1 or len(batch) * one <= max_tokens
        if place < len(batches) - 1:  # no batch had room for one more
            assert (len(batch) + 1) * one > max_tokens


def test_users_of_equal_length_keep_their_order() -> None:
    assert [batch.tolist() for batch in plan_batches([4, 9, 4, 4], 1, 10)] == [[1], [0, 2], [3]]


@pytest.mark.parametrize("lack", LACKS)
def test_batches_are_halved_until_they_fit(lack: Callable[[], Exception], caplog: pytest.LogCaptureFixture) -> None:
    """Work may fail before or after it began; every user is processed once, in the same order."""
    processed: list[int] = []
    tried: list[int] = []

    def work(users: np.ndarray) -> None:
        tried.append(len(users))
        if len(users) > 3:
            raise lack()
        processed.extend(users.tolist())

    with caplog.at_level(logging.WARNING):
        run_batches([np.arange(10), np.arange(10, 17), np.array([17])], work)
    assert processed == list(range(18))
    # 10 -> 5 + 5 with 7 -> 4 + 3; 5 -> 3 + 2 for all remaining batches
    assert tried == [10, 5, 3, 2, 3, 2, 2, 2, 2, 1, 1]
    assert [record.message.split(":")[0] for record in caplog.records] == [
        f"Not enough memory to decode {count} users at once" for count in (10, 5)
    ]
    assert "with the same beam size" in caplog.text and "decoding_max_tokens" in caplog.text


def test_failures_midway_neither_lose_nor_repeat_users() -> None:
    processed: list[int] = []
    fails = iter([False, True, False, True, True] + [False] * 20)

    def work(users: np.ndarray) -> None:
        made = users.tolist()
        if next(fails):
            raise MemoryError
        processed.extend(made)

    run_batches([np.arange(8), np.arange(8, 16), np.arange(16, 24)], work)
    assert sorted(processed) == list(range(24))


def test_single_user_out_of_memory_is_an_error() -> None:
    def work(users: np.ndarray) -> None:
        if 5 in users:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(RuntimeError, match=r"not enough memory to decode a single user: .*decoding_beam_size"):
        run_batches([np.arange(3, 8)], work)


@pytest.mark.parametrize("err", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("no")])
def test_other_errors_are_passed_on(err: Exception) -> None:
    calls = []

    def work(users: np.ndarray) -> None:
        calls.append(users)
        raise err

    with pytest.raises(type(err), match=str(err)):
        run_batches([np.arange(4)], work)
    assert len(calls) == 1
