"""Log-probabilities of selected tokens, compared with the plain formula in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recbole_lcrec.decoding import next_tokens
from recbole_lcrec.decoding.next_tokens import log_probs_of_logits, next_token_log_probs, require_normalizer

R, Q, F, D, V = 3, 5, 7, 8, 50


def case(dtype: torch.dtype = torch.float32, bias: bool = False) -> tuple[nn.Linear, Tensor, Tensor, Tensor]:
    """A head, states, chosen tokens (from 20 to 39) and which of them are legal, at least one each."""
    generator = torch.Generator().manual_seed(4)
    head = nn.Linear(D, V, bias=bias).requires_grad_(False)
    for weight in head.parameters():
        weight.normal_(0.0, 1.5, generator=generator)
    states = torch.randn((R, Q, D), generator=generator).to(dtype)
    tokens = torch.stack([torch.randperm(20, generator=generator)[:F] + 20 for _ in range(R * Q)]).view(R, Q, F)
    legal = torch.rand((R, Q, F), generator=generator) < 0.6
    legal[..., 0] = True
    return head.to(dtype), states, tokens, legal


def by_hand(head: nn.Linear, states: Tensor, tokens: Tensor, legal: Tensor, legal_only: bool) -> Tensor:
    """The formula, token by token; 0 or minus infinity where not legal."""
    logits = head(states).double()  # with the head's rounding
    result = torch.zeros(tokens.shape, dtype=torch.float64)
    for row in range(R):
        for query in range(Q):
            own = logits[row, query, tokens[row, query]]
            whole = own[legal[row, query]] if legal_only else logits[row, query]
            result[row, query] = own - whole.exp().sum().log()
    return result.masked_fill(~legal, -torch.inf if legal_only else 0.0).float()


class Wrapped(nn.Module):
    """A head that is not a plain matrix, as with an adapter."""

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        self.head = head

    def forward(self, states: Tensor) -> Tensor:
        return self.head(states)


@pytest.mark.parametrize("wrap", [lambda head: head, Wrapped])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("block", [1024, 16, 7, 1])
@pytest.mark.parametrize("logits_bytes", [2**27, 4 * V * 4, 1])
def test_full_normaliser(bias: bool, logits_bytes: int, block: int, wrap: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one chunk, in chunks with a shorter last one, and state by state; the vocabulary in one block and in many."""
    monkeypatch.setattr(next_tokens, "_LOGITS_BYTES", {"cpu": logits_bytes, "cuda": logits_bytes})
    monkeypatch.setattr(next_tokens, "_BLOCK", block)
    head, states, tokens, legal = case(bias=bias)
    before = states.clone(), head.weight.clone()
    scores = next_token_log_probs(wrap(head), states, tokens, legal)
    assert scores.dtype == torch.float32 and scores.shape == (R, Q, F)
    torch.testing.assert_close(scores, by_hand(head, states, tokens, legal, False), rtol=1e-6, atol=1e-5)
    assert states.equal(before[0]) and head.weight.equal(before[1])


@pytest.mark.parametrize("wrap", [lambda head: head, Wrapped])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("level_tokens", [range(20, 40), [2, *range(20, 40), 44]])
@pytest.mark.parametrize("logits_bytes", [2**27, 1])
def test_legal_normaliser(
    bias: bool, level_tokens: Any, wrap: Any, logits_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contiguous and scattered tokens; tokens that are illegal for a state do not count."""
    monkeypatch.setattr(next_tokens, "_LOGITS_BYTES", {"cpu": logits_bytes, "cuda": logits_bytes})
    head, states, tokens, legal = case(bias=bias)
    scores = next_token_log_probs(wrap(head), states, tokens, legal, torch.tensor(level_tokens))
    torch.testing.assert_close(scores, by_hand(head, states, tokens, legal, True), rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(scores.exp().sum(-1), torch.ones(R, Q))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("level_tokens", [None, range(20, 40)])
def test_half_precision_is_normalised_in_float32(dtype: torch.dtype, level_tokens: Any) -> None:
    head, states, tokens, legal = case(dtype)
    scores = next_token_log_probs(
        head, states, tokens, legal, None if level_tokens is None else torch.tensor(level_tokens)
    )
    expected = by_hand(head, states, tokens, legal, level_tokens is not None)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, expected, rtol=1e-6, atol=2e-5)
    coarse = expected.to(dtype).float()
    assert (scores - expected)[legal].abs().max() < 0.1 * (coarse - expected)[legal].abs().max()


def test_no_score_is_above_zero() -> None:
    """A nearly certain token: rounding must not give it a probability above 1."""
    logits = torch.linspace(-40.0, 40.0, 81).repeat(400, 1) + torch.arange(400).unsqueeze(1) * 0.37
    tokens, legal = torch.full((400, 1), 80), torch.ones((400, 1), dtype=torch.bool)
    logits[:, 80] += 40
    head = nn.Linear(81, 81, bias=False).requires_grad_(False)
    head.weight.copy_(torch.eye(81))
    by_blocks = next_token_log_probs(head, logits.unsqueeze(0), tokens.unsqueeze(0), legal.unsqueeze(0))
    for scores in (log_probs_of_logits(logits, tokens, legal), by_blocks):
        assert (scores <= 0).all() and scores.isfinite().all()


def test_logits_are_unchanged_and_the_buffer_is_used() -> None:
    logits, tokens, legal = torch.randn(4, 9), torch.zeros((4, 1), dtype=torch.int64), torch.ones((4, 1)).bool()
    before, room = logits.clone(), torch.full((4, 9), torch.nan)
    kept = log_probs_of_logits(logits, tokens, legal)
    assert log_probs_of_logits(logits, tokens, legal, room).equal(kept)
    assert logits.equal(before)
    assert room.exp().sum(-1).allclose(torch.ones(4))


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("level_tokens", [None, range(20, 40)])
def test_non_finite_logit_is_an_error(wrong: float, level_tokens: Any) -> None:
    head, states, tokens, legal = case(bias=True)
    token = int(tokens[0, 0, 0])
    head.bias[token] = wrong
    legal[0, 0, 0] = True
    with pytest.raises(RuntimeError, match="NaN or infinite"):
        next_token_log_probs(head, states, tokens, legal, None if level_tokens is None else torch.tensor(level_tokens))


@pytest.mark.parametrize("block", [1024, 1])
def test_token_with_logit_minus_infinity(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not change other tokens, even if it is a whole block."""
    monkeypatch.setattr(next_tokens, "_BLOCK", block)
    head, states, tokens, legal = case(bias=True)
    head.bias[3] = -torch.inf
    torch.testing.assert_close(
        next_token_log_probs(head, states, tokens, legal), by_hand(head, states, tokens, legal, False)
    )


@pytest.mark.parametrize("far", [0.0, 60.0, -60.0, 200.0, -200.0, torch.inf])
@pytest.mark.parametrize("around", [0.0, 300.0, -300.0])
@pytest.mark.parametrize("block", [1024, 16])
def test_logits_of_any_size(far: float, around: float, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens of the estimated maximum are far below or above the others, which may be far from 0."""
    monkeypatch.setattr(next_tokens, "_MAX_ESTIMATE_TOKENS", 3)
    monkeypatch.setattr(next_tokens, "_BLOCK", block)
    head, states, tokens, legal = case(bias=True)
    head.bias.fill_(around)[:3] -= far
    expected = by_hand(head, states, tokens, legal, False)
    unbiased = nn.Linear(D + 1, V, bias=False).requires_grad_(False)  # gives the same logits
    unbiased.weight.copy_(torch.cat([head.weight, head.bias.clamp(min=-1e30).unsqueeze(1)], 1))
    longer = torch.cat([states, torch.ones(R, Q, 1)], -1)
    for scores in (
        next_token_log_probs(head, states, tokens, legal),
        next_token_log_probs(unbiased, longer, tokens, legal),
    ):
        torch.testing.assert_close(scores, expected, rtol=1e-6, atol=2e-4)  # logits of 300 are rounded to 3e-5


@pytest.mark.parametrize("far", [0.0, 60.0, -60.0, 200.0, -200.0, torch.inf])
def test_estimated_max_is_used_unless_it_overflows(far: float) -> None:
    _, states, tokens, _ = case()
    head = nn.Linear(D, 2 * next_tokens._MAX_ESTIMATE_TOKENS).requires_grad_(False)
    head.weight.normal_(0.0, 0.1, generator=torch.Generator().manual_seed(4))
    head.bias.zero_()[: next_tokens._MAX_ESTIMATE_TOKENS] -= far
    scores = next_tokens._by_estimated_max(head, states.flatten(0, 1), tokens.flatten(0, 1))
    assert (scores is None) == (far in (200.0, torch.inf))
    if scores is not None:
        torch.testing.assert_close(
            scores, next_tokens._by_block_maxima(head, states.flatten(0, 1), tokens.flatten(0, 1)), rtol=1e-6, atol=2e-5
        )


def test_logits_too_large_for_the_estimated_max() -> None:
    """At 1e7 a float32 resolves integers only, so the estimate from a separate product may be far off."""
    generator = torch.Generator().manual_seed(4)
    head = nn.Linear(4096, 200, bias=False).requires_grad_(False)
    head.weight.normal_(0.0, 400.0, generator=generator)
    states = torch.randn((1, 7, 4096), generator=generator) * 400
    tokens = torch.arange(200).expand(1, 7, 200)
    scores = next_token_log_probs(head, states, tokens, torch.ones_like(tokens, dtype=torch.bool))
    assert (scores.exp().sum(-1) < 1.5).all() and (scores.amin(-1) < -1e6).all()
    assert scores.argmax(-1).equal((states.double() @ head.weight.double().T).argmax(-1))


def test_unknown_normalizer_is_an_error() -> None:
    require_normalizer("full")
    require_normalizer("legal")
    with pytest.raises(ValueError, match="normalizer='all': must be one of full, legal"):
        require_normalizer("all")
