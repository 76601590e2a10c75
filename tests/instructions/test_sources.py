"""Caps and mixtures by counting."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lcrec.instructions.sources import Capped, GivenInstructions, Mixture, StreamsFirst
from recbole_lcrec.instructions.templates import Instruction
from tests.instructions.plain_world import everything


def numbered(count):
    return GivenInstructions([Instruction(f"p{n}", f"r{n}") for n in range(count)])


@given(st.lists(st.integers(0, 4), max_size=5))
def test_a_mixture_concatenates_its_parts(sizes):
    parts = tuple(
        (f"s{n}", GivenInstructions([Instruction(f"{n}", f"{m}") for m in range(size)])) for n, size in enumerate(sizes)
    )
    mixture = Mixture(parts)
    expected = [Instruction(f"{n}", f"{m}") for n, size in enumerate(sizes) for m in range(size)]
    assert everything(mixture, 3) == expected
    assert mixture.counts(3) == {f"s{n}": size for n, size in enumerate(sizes)}
    with pytest.raises(IndexError, match=f"has {sum(sizes)} instructions, so there is no number {sum(sizes)}"):
        mixture.instruction(3, sum(sizes))


@settings(deadline=None)
@given(st.integers(1, 25), st.integers(1, 30), st.integers(0, 3))
def test_a_cap_shows_all_data_before_any_is_repeated(count, most, seed):
    source = Capped(numbered(count), most, seed)
    kept = min(count, most)
    epochs = [[int(one.response[1:]) for one in everything(source, epoch)] for epoch in range(-(-count // kept) * 3)]
    assert all(len(set(shown)) == len(shown) == kept for shown in epochs)  # a datum once per epoch
    walk = [datum for shown in epochs for datum in shown]
    rounds = [walk[start : start + count] for start in range(0, len(walk) - count + 1, count)]
    assert all(sorted(part) == list(range(count)) for part in rounds)
    assert set(Counter(walk).values()) <= {len(rounds), len(rounds) + 1}


def test_caps_depend_on_the_seed_and_no_earlier_call():
    orders = {tuple(one.response for one in everything(Capped(numbered(50), 10, seed), 1)) for seed in range(5)}
    assert len(orders) == 5
    backwards = [Capped(numbered(50), 10, 0).instruction(1, datum) for datum in reversed(range(10))]
    assert backwards[::-1] == everything(Capped(numbered(50), 10, 0), 1)


def test_streams_come_first():
    first, later = Mixture((("seq", numbered(2)),)), Mixture((("seq", numbered(5)), ("mut", numbered(1))))
    source = StreamsFirst(first, later, 2)
    assert [source.size(epoch) for epoch in range(4)] == [2, 2, 6, 6]
    assert source.counts(1) == {"seq": 2} and source.counts(2) == {"seq": 5, "mut": 1}
    assert everything(source, 1) == everything(first, 1) and everything(source, 2) == everything(later, 2)
