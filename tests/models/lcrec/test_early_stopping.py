"""Early stopping as a value, worked out by hand."""

from __future__ import annotations

import json

import pytest

from recbole_lcrec.models.lcrec.early_stopping import EarlyStopping


def test_the_best_score_is_kept_until_patience_ends() -> None:
    state, seen = EarlyStopping.start(patience=2, bigger=True), []
    for epoch, score in enumerate((0.1, 0.3, 0.3, 0.2, 0.1, 0.05)):
        state = state.after(epoch, score, {"ndcg@5": score})
        seen.append((state.improved, state.best_score, state.since_best, state.stopped))
    assert seen[:2] == [(True, 0.1, 0, False), (True, 0.3, 0, False)]
    assert seen[2] == (True, 0.3, 0, False)  # RecBole takes an equal score for a better one
    assert seen[3:] == [(False, 0.3, 1, False), (False, 0.3, 2, False), (False, 0.3, 3, True)]
    assert state.best_result == {"ndcg@5": 0.3} and state.best_epoch == 2


def test_a_smaller_score_can_be_better() -> None:
    state = EarlyStopping.start(patience=5, bigger=False)
    assert state.best_score == float("inf")
    for epoch, score in enumerate((3.0, 1.0, 2.0)):
        state = state.after(epoch, score, {"loss": score})
    assert (state.best_score, state.since_best, state.improved) == (1.0, 1, False)


@pytest.mark.parametrize("scores", [(), (0.2,), (0.2, 0.1)])
def test_a_checkpoint_gives_the_state_again(scores: tuple[float, ...]) -> None:
    state = EarlyStopping.start(patience=3, bigger=True)
    for epoch, score in enumerate(scores):
        state = state.after(epoch, score, {"hit@1": score})
    plain = json.loads(json.dumps(state.to_plain()))
    again = EarlyStopping.start(patience=3, bigger=True).resumed(plain)
    assert again.to_plain() == state.to_plain()
    following = [each.after(7, 0.15, {"hit@1": 0.15}) for each in (state, again)]
    assert following[0] == following[1]
