"""Every datum once per epoch, the same in all processes and from any step on."""

from __future__ import annotations

import pytest

from recbole_lcrec.llm.steps import StepPlan, StepSampler


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_each_datum_is_used_once_per_epoch(processes: int) -> None:
    plan = StepPlan((7, 7, 4), rows_per_step=3, seed=1)
    shares = [list(StepSampler(plan, rank, processes)) for rank in range(processes)]
    assert {len(share) for share in shares} == {len(plan)} == {3 + 3 + 2}
    for epoch, size in enumerate(plan.sizes):
        seen = [datum for share in shares for step in share for e, datum in step if e == epoch]
        assert sorted(seen) == list(range(size))


def test_steps_and_epochs_by_hand() -> None:
    plan = StepPlan((7, 7, 4), rows_per_step=3, seed=1)
    assert [plan.epoch_of(step) for step in range(len(plan))] == [0, 0, 0, 1, 1, 1, 2, 2]
    assert [plan.first_step(epoch) for epoch in range(3)] == [0, 3, 6]
    assert plan.ends.tolist() == [3, 6, 8]
    steps = list(plan.rows())
    for step, rows in enumerate(steps):
        epoch, data = plan.rows_of(step)
        assert rows == [(epoch, datum) for datum in data]


def test_order_depends_on_seed_and_epoch_only() -> None:
    plan, again, other = StepPlan((50, 50), 8, 1), StepPlan((50, 50), 8, 1), StepPlan((50, 50), 8, 2)
    assert list(plan.rows()) == list(again.rows())
    assert plan.order(0).tolist() != plan.order(1).tolist()
    assert plan.order(0).tolist() != other.order(0).tolist()
