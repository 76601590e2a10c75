"""Items chosen by a tuned model in bfloat16, scored by the same model in float32."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch

from recbole_lcrec import load_data_and_model
from recbole_lcrec.decoding import Ranker, SharedReader
from tests.conftest import N_USERS
from tests.models.lcrec.test_model import plain_scores
from tests.saved_runs import make_run


def test_bfloat16_choices_lose_at_most_a_tenth_of_a_nat(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tuning_seq_format="stream", epochs=24, eval_step=24)
    _, model, _, _, _, test = load_data_and_model(run)
    reader = SharedReader(copy.deepcopy(model.llm).to(torch.bfloat16))
    rough = Ranker(reader, model.candidates, model.decoding, model.llm.device)
    gaps, rounded = [], 0
    for interaction, _, _, _ in test:
        lengths = interaction[model.ITEM_SEQ_LEN].tolist()
        histories = [
            [item - 1 for item in row[:length]]
            for row, length in zip(interaction[model.ITEM_SEQ].tolist(), lengths, strict=True)
        ]
        beams = rough.rank(model.writer.user_prompts(histories, [model.wording.template]), 5)
        truth = plain_scores(model, interaction)
        assert truth.std(dim=1).min() > 1  # tuned: items are far apart
        gaps += (truth.amax(1) - truth.gather(1, beams.items[:, :1]).squeeze(1)).tolist()
        rounded += int((beams.log_probs != truth.gather(1, beams.items)).sum())
    assert len(gaps) == N_USERS and rounded > 0
    assert np.mean(np.array(gaps) <= 0.1) >= 0.99
