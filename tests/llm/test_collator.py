"""Labels on responses only, even if padding and end token are the same; forward passes at the lowest cost."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from torch.utils.data import DataLoader

from recbole_lcrec.instructions.templates import Instruction
from recbole_lcrec.llm.backbone import Backbone
from recbole_lcrec.llm.collator import IGNORED, InstructionCollator, flat_batch, group_rows, padded_group
from recbole_lcrec.llm.tokens import TokenRow, tokenize_instructions


def test_flat_and_padded_batches_by_hand() -> None:
    flat = flat_batch([TokenRow([1, 2], [3, 9]), TokenRow([1], [4]), TokenRow([5, 6, 7], [8])])
    assert flat["input_ids"].tolist() == [1, 2, 3, 9, 1, 4, 5, 6, 7, 8]
    assert flat["lengths"].tolist() == [4, 2, 4]
    ids, labels = padded_group(flat, np.array([2, 1]), pad_id=9)
    assert ids.tolist() == [[5, 6, 7, 8], [1, 4, 9, 9]]
    assert labels.tolist() == [[IGNORED, IGNORED, IGNORED, 8], [IGNORED, 4, IGNORED, IGNORED]]
    # the first row's 9 is its end token and is learned
    assert padded_group(flat, np.array([0]), pad_id=9)[1].tolist() == [[IGNORED, IGNORED, 3, 9]]


def test_no_instructions_give_an_empty_batch(backbone: Backbone) -> None:
    batch = InstructionCollator(backbone.tokenizer, 64)([])
    assert {name: tuple(tensor.shape) for name, tensor in batch.items()} == {
        "input_ids": (0,),
        "labels": (0,),
        "lengths": (0,),
    }


def test_end_token_is_learned_when_it_also_pads(backbone: Backbone) -> None:
    backbone.tokenizer.pad_token = backbone.tokenizer.eos_token
    collate = InstructionCollator(backbone.tokenizer, max_length=64)
    batch = collate([Instruction("a lamp, a hammer", "<a_1><b_2>"), Instruction("a", "<a_0><b_0>")])
    learned = batch["labels"][batch["labels"] != IGNORED].tolist()
    assert len(learned) == 6
    assert learned[2] == learned[5] == backbone.tokenizer.eos_token_id


def test_too_long_instruction_is_an_error(backbone: Backbone) -> None:
    with pytest.raises(ValueError, match="more than tuning_max_length = 8"):
        InstructionCollator(backbone.tokenizer, 8)([Instruction("a lamp, a hammer, a lamp", "<a_1><b_2>")])


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_equal_those_of_whole_texts(backbone: Backbone, workers: int) -> None:
    rows = [
        Instruction(f"after <a_{n % 4}><b_{n % 3}>, <a_1><b_{n % 2}> comes", "a lamp" if n % 2 else "<a_2><b_2>", n < 9)
        for n in range(12)
    ]
    loader = DataLoader(rows, batch_size=3, collate_fn=InstructionCollator(backbone.tokenizer, 64), num_workers=workers)
    expected = [flat_batch(tokenize_instructions(backbone.tokenizer, rows[n : n + 3], 64)) for n in (0, 3, 6, 9)]
    for batch, expected_batch in zip(loader, expected, strict=True):
        assert {name: each.tolist() for name, each in batch.items()} == {
            name: each.tolist() for name, each in expected_batch.items()
        }


def cost(lengths: list[int], groups: list[list[int]], overhead: int) -> int:
    return sum(len(group) * max(lengths[row] for row in group) + overhead for group in groups)


def cheapest(lengths: list[int], max_rows: int, max_tokens: int, overhead: int) -> int:
    """The lowest cost of all ways to split the rows, sorted by length, into runs."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    best = None
    for count in range(len(order)):
        for cuts in combinations(range(1, len(order)), count):
            groups = [order[a:b] for a, b in zip((0, *cuts), (*cuts, len(order)), strict=True)]
            allowed = all(
                len(group) <= max_rows
                and (len(group) == 1 or len(group) * max(lengths[row] for row in group) <= max_tokens)
                for group in groups
            )
            if allowed and (best is None or cost(lengths, groups, overhead) < best):
                best = cost(lengths, groups, overhead)
    assert best is not None
    return best


@pytest.mark.parametrize("seed", range(12))
def test_rows_are_grouped_at_the_lowest_cost(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 40, size=int(rng.integers(1, 10)))
    limits = (int(rng.integers(1, 6)), int(rng.integers(20, 120)), int(rng.integers(0, 30)))
    groups = group_rows(lengths, *limits)
    assert sorted(row for group in groups for row in group.tolist()) == list(range(len(lengths)))
    assert cost(lengths.tolist(), [g.tolist() for g in groups], limits[2]) == cheapest(lengths.tolist(), *limits)
    for group in groups:
        assert len(group) <= limits[0]
        assert len(group) == 1 or len(group) * int(lengths[group].max()) <= limits[1]


def test_no_rows_give_no_groups() -> None:
    assert group_rows(np.array([], dtype=np.int64), 4, 100, 10) == []
