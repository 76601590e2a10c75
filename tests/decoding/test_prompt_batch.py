"""Batches of prompts."""

from __future__ import annotations

import pytest
import torch

from recbole_lcrec.decoding import PromptBatch


def test_rows_are_padded_on_the_right() -> None:
    prompts = PromptBatch.of([[5, 6], (7, 8, 9), [4]])
    assert prompts.ids.tolist() == [[5, 6, 0], [7, 8, 9], [4, 0, 0]]
    assert prompts.lengths.tolist() == [2, 3, 1]
    assert prompts.ids.dtype == prompts.lengths.dtype == torch.int64
    assert len(prompts) == 3
    assert PromptBatch.of([[5]], "meta").ids.device.type == "meta"


@pytest.mark.parametrize(
    ("rows", "common"),
    [
        ([[1, 2, 3, 4], [1, 2, 9, 4]], 2),  # a later equal token does not count
        ([[1, 2, 3], [1, 2, 3, 4]], 2),  # each prompt keeps its last token
        ([[1, 2], [1, 2], [1, 2]], 1),
        ([[1, 2, 3], [2, 2, 3]], 0),
        ([[1], [1, 2]], 0),
        ([[0, 0, 0, 1], [0, 0]], 1),  # padding is not a common token
        ([[1, 2, 3]], 2),
    ],
)
def test_common_tokens(rows: list[list[int]], common: int) -> None:
    assert PromptBatch.of(rows).n_common() == common


@pytest.mark.parametrize("start", [0, 1, 2])
def test_states_of_last_tokens(start: int) -> None:
    prompts = PromptBatch.of([[1] * 3, [1] * 5, [1] * 4])
    states = torch.arange(3 * 5 * 2).view(3, 5, 2)
    expected = torch.stack([states[row, length - 1] for row, length in enumerate((3, 5, 4))]).unsqueeze(1)
    assert prompts.last(states[:, start:], start).equal(expected)


@pytest.mark.parametrize(("rows", "lengths"), [([], r"\[\]"), ([[1, 2], []], r"\[2, 0\]")])
def test_empty_prompts_are_errors(rows: list[list[int]], lengths: str) -> None:
    with pytest.raises(ValueError, match=f"prompts of {lengths} tokens: .* each with at least one token"):
        PromptBatch.of(rows)
