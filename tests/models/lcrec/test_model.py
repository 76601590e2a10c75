"""LC-Rec as a RecBole model: scores against exhaustive scoring, saved runs, and RecBole's own trainer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_lcrec import Config, LCRec, create_dataset, load_data_and_model, run_recbole_lcrec
from recbole_lcrec.bridge.loading import data_preparation
from recbole_lcrec.models.lcrec.inputs import max_norm
from recbole_lcrec.models.lcrec.trainer import LCRecTrainer
from tests.conftest import N_ITEMS, SHOP, shop_index, shop_sequences

Parameters = Callable[..., dict[str, Any]]


def built(parameters: dict[str, Any]) -> tuple[Any, Any, Any, Any, Any]:
    config = Config("LCRec", SHOP, config_dict=parameters)
    dataset = create_dataset(config)
    loaders = data_preparation(config, dataset)
    return config, LCRec(config, loaders[0]._dataset), *loaders


def one_batch(loader: Any) -> Any:
    return next(iter(loader))[0]


def index_token_ids(model: Any) -> list[list[int]]:
    """Return the token ids of every item's index."""
    vocabulary = model.tokenizer.get_vocab()
    return [[vocabulary[token] for token in tokens] for tokens in model.index.item_tokens()]


def plain_scores(model: Any, interaction: Any) -> torch.Tensor:
    """Score every item for every user by forward passes of whole texts, without padding, cache or trie."""
    rows = []
    items, lengths = interaction[model.ITEM_SEQ], interaction[model.ITEM_SEQ_LEN]
    for history, length in zip(items.tolist(), lengths.tolist(), strict=True):
        prompt = model.tokenizer(model.writer.text([i - 1 for i in history[:length]], model.wording.template))[
            "input_ids"
        ]
        asked = torch.tensor([prompt + item for item in index_token_ids(model)])
        with torch.no_grad():
            steps = model.llm(asked).logits[:, len(prompt) - 1 : -1].log_softmax(-1)
        rows.append(steps.gather(-1, asked[:, len(prompt) :].unsqueeze(-1)).squeeze(-1).sum(-1))
    return torch.stack(rows)


@pytest.mark.parametrize("seq_format", ["stream", "instruction"])
def test_full_sort_is_exhaustive_when_the_beam_is_the_catalogue(
    indexed_shop: Path, tiny: Parameters, seq_format: str
) -> None:
    _, model, _, valid, _ = built(
        tiny(indexed_shop, decoding_beam_size=N_ITEMS, tuning_seq_format=seq_format, decoding_max_tokens=5)
    )
    model.eval()
    interaction = one_batch(valid)
    scores = model.full_sort_predict(interaction)
    assert scores.shape == (len(interaction), N_ITEMS + 1)
    assert torch.isneginf(scores[:, 0]).all()
    torch.testing.assert_close(scores[:, 1:], plain_scores(model, interaction), rtol=1e-5, atol=1e-4)


def test_a_narrow_beam_scores_as_many_items_as_beams(indexed_shop: Path, tiny: Parameters) -> None:
    _, model, _, valid, _ = built(tiny(indexed_shop, decoding_beam_size=7))
    model.eval()
    interaction = one_batch(valid)
    scores, exact = model.full_sort_predict(interaction)[:, 1:], plain_scores(model, interaction)
    assert (torch.isfinite(scores).sum(dim=1) == 7).all()
    decoded = torch.isfinite(scores)
    torch.testing.assert_close(scores[decoded], exact[decoded], rtol=1e-5, atol=1e-4)


def test_predict_equals_full_sort_on_given_pairs(indexed_shop: Path, tiny: Parameters) -> None:
    _, model, _, valid, _ = built(tiny(indexed_shop, decoding_beam_size=N_ITEMS))
    model.eval()
    interaction = one_batch(valid)
    scores = model.full_sort_predict(interaction)
    repeated = interaction.repeat_interleave(3)
    items = torch.randint(1, N_ITEMS + 1, (len(repeated),), generator=torch.Generator().manual_seed(1))
    repeated.interaction[model.ITEM_ID] = items
    users = torch.arange(len(interaction)).repeat_interleave(3)
    torch.testing.assert_close(model.predict(repeated), scores[users, items], rtol=1e-5, atol=1e-4)


def test_calculate_loss_by_hand(indexed_shop: Path, tiny: Parameters) -> None:
    _, model, train, _, _ = built(tiny(indexed_shop))
    model.eval()
    interaction = one_batch([[batch] for batch in train])
    losses = []
    for history, length, target in zip(
        interaction[model.ITEM_SEQ].tolist(),
        interaction[model.ITEM_SEQ_LEN].tolist(),
        interaction[model.ITEM_ID].tolist(),
        strict=True,
    ):
        prompt = model.tokenizer("".join(model.item_texts[i - 1] for i in history[:length]))["input_ids"]
        response = index_token_ids(model)[target - 1]
        with torch.no_grad():
            logits = model.llm(torch.tensor([prompt + response])).logits[0].log_softmax(-1)
        losses += [-float(logits[len(prompt) - 1 + i, token]) for i, token in enumerate(response)]
    assert model.calculate_loss(interaction).item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_recboles_plain_trainer_trains_lcrec(indexed_shop: Path, tiny: Parameters) -> None:
    from recbole.trainer import Trainer

    config, model, train, valid, _ = built(tiny(indexed_shop, epochs=4))
    trainer = Trainer(config, model)
    score, result = trainer.fit(train, valid, saved=False, verbose=False)
    losses = list(trainer.train_loss_dict.values())
    assert losses[-1] < 0.8 * losses[0]
    assert score == result["ndcg@5"]


def test_a_saved_run_evaluates_to_the_same_numbers(indexed_shop: Path, tiny: Parameters) -> None:
    result = run_recbole_lcrec("LCRec", SHOP, config_dict=tiny(indexed_shop, epochs=5))
    folder = Path(result["saved_model_file"])
    names = {path.name for path in folder.iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "config.yaml", "results.json"}
    assert json.loads((folder / f"{SHOP}.index.json").read_text()) == shop_index()
    stored = json.loads((folder / "results.json").read_text())
    assert stored["test_result"] == dict(result["test_result"])
    assert stored["best_valid_result"] == dict(result["best_valid_result"])
    config, model, _, _, valid_data, test_data = load_data_and_model(folder)
    trainer = LCRecTrainer(config, model)
    assert dict(trainer.evaluate(test_data, load_best_model=False)) == dict(result["test_result"])
    assert dict(trainer.evaluate(valid_data, load_best_model=False)) == dict(result["best_valid_result"])


def test_a_tuned_model_learns_the_order_of_items(indexed_shop: Path, tiny: Parameters) -> None:
    """The shop's users walk through the catalogue in order, so a tuned model must put the next item first."""
    parameters = tiny(indexed_shop, epochs=120, eval_step=40, learning_rate=0.003)
    result = run_recbole_lcrec("LCRec", SHOP, config_dict=parameters)
    assert result["test_result"]["hit@1"] > 0.5


def test_sampled_evaluation(indexed_shop: Path, tiny: Parameters) -> None:
    parameters = tiny(indexed_shop, eval_args={"mode": {"valid": "uni10", "test": "uni10"}})
    result = run_recbole_lcrec("LCRec", SHOP, config_dict=parameters)
    assert 0 <= result["test_result"]["hit@1"] <= result["test_result"]["hit@5"] <= 1
    assert result["test_result"]["hit@5"] > 0


def test_masked_history_is_never_recommended(indexed_shop: Path, tiny: Parameters) -> None:
    config, model, _, _, test = built(tiny(indexed_shop, mask_history=True))
    trainer = LCRecTrainer(config, model)
    model.eval()
    trainer.tot_item_num = N_ITEMS + 1
    sequences = shop_sequences()
    users = test._dataset.field2id_token["user_id"]
    for batch in test:
        interaction, scores, _, _ = trainer._full_sort_batch_eval(batch)
        for user, row in zip(interaction["user_id"].tolist(), scores, strict=True):
            *seen, target = sequences[users[user]]
            finite = {str(model.item_ids[item - 1]) for item in torch.isfinite(row).nonzero().flatten().tolist()}
            assert not finite & (set(seen) - {target})
            assert len(finite) >= 5


def test_valid_sample_users_scores_fewer(indexed_shop: Path, tiny: Parameters) -> None:
    config, model, _, valid, _ = built(tiny(indexed_shop, valid_sample_users=6))
    trainer = LCRecTrainer(config, model)
    part = trainer._sampled_users(valid)
    assert len(part._dataset) == 6
    again = trainer._sampled_users(valid)
    assert torch.equal(part._dataset.inter_feat["user_id"], again._dataset.inter_feat["user_id"])


def test_valid_sample_users_is_refused_for_sampled_items(indexed_shop: Path, tiny: Parameters) -> None:
    mode = {"mode": {"valid": "uni10", "test": "uni10"}}
    config, model, _, valid, _ = built(tiny(indexed_shop, valid_sample_users=6, eval_args=mode))
    with pytest.raises(ValueError, match="valid_sample_users = 6 needs validation over every item"):
        LCRecTrainer(config, model)._sampled_users(valid)


def test_without_validation_the_last_epoch_is_kept(indexed_shop: Path, tiny: Parameters) -> None:
    result = run_recbole_lcrec("LCRec", SHOP, config_dict=tiny(indexed_shop, eval_step=0))
    stored = json.loads((Path(result["saved_model_file"]) / "results.json").read_text())
    assert (stored["best_epoch"], stored["best_valid_result"]) == (1, {})
    assert stored["test_result"] == dict(result["test_result"])


def test_norm_of_gradients() -> None:
    assert max_norm({"max_norm": 5, "norm_type": 2}) == 5.0
    assert max_norm(None) == 0.0
    for wrong in ({"max_norm": 1, "norm_type": 1}, {"norm": 1}):
        with pytest.raises(ValueError, match=r"clip_grad_norm = .*: expected \{'max_norm': 1.0\}"):
            max_norm(wrong)


def test_long_histories_lose_their_oldest_items(
    indexed_shop: Path, tiny: Parameters, caplog: pytest.LogCaptureFixture
) -> None:
    _, model, _, valid, _ = built(tiny(indexed_shop, tuning_max_length=14))
    assert model.max_history == 3  # start token, 3 items of 3 tokens, a response of 3 and its end
    assert "newest 3 of 6 items" in caplog.text
    interaction = one_batch(valid)
    scores = model.eval().full_sort_predict(interaction)
    lengths = interaction[model.ITEM_SEQ_LEN].tolist()
    assert model.stats.shortened == sum(length > 3 for length in lengths) > 0
    newest = interaction.repeat_interleave(1)
    kept = torch.zeros_like(interaction[model.ITEM_SEQ])
    for row, length in enumerate(lengths):
        kept[row, : min(length, 3)] = interaction[model.ITEM_SEQ][row, max(length - 3, 0) : length]
    newest.interaction[model.ITEM_SEQ] = kept
    newest.interaction[model.ITEM_SEQ_LEN] = interaction[model.ITEM_SEQ_LEN].clamp(max=3)
    assert torch.equal(model.full_sort_predict(newest), scores)


def test_no_history_fits(indexed_shop: Path, tiny: Parameters) -> None:
    with pytest.raises(ValueError, match="not even a history of one item fits into the 8 tokens"):
        built(tiny(indexed_shop, tuning_max_length=8, tuning_seq_format="instruction"))


def test_template_number_out_of_range(indexed_shop: Path, tiny: Parameters) -> None:
    with pytest.raises(ValueError, match="decoding_template = 99: there are"):
        built(tiny(indexed_shop, decoding_template=99))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base_model": "./nowhere"}, "there is no such folder"),
        ({"index_file": "no.json"}, "index_file = 'no.json'"),
        ({"text_encoder": "./nowhere"}, "text_encoder"),
        ({"text_title_fields": ["nam"]}, "no column 'nam', required by text_title_fields"),
        ({"decoding_template": 99}, "decoding_template = 99"),
        ({"tuning_template_file": "no.yaml"}, "no.yaml"),
        ({"tuning_deepspeed": "zero9"}, "'zero9' is neither a file nor one of zero2, zero2-offload, zero3"),
        ({"tuning_general_file": "no.jsonl"}, "no.jsonl, named by tuning_general_file, cannot be read"),
        ({"tuning_tasks": ["seq", "per"], "intention_file": "no.jsonl"}, "intention_file = 'no.jsonl'"),
        ({"lora_r": 4}, "lora_r = 4 with base_model = 'scratch'"),
        ({"resume": "nowhere"}, "resume = 'nowhere': there is no complete checkpoint"),
        ({"tuning_precision": "fp16"}, "fp16"),
        ({"tuning_tasks": ["seq", "ite"], "intention_source": "none"}, "contains ite, but intention_source"),
        (
            {"tuning_tasks": ["mut"], "tuning_stream_epochs": 1, "tuning_seq_format": "instruction"},
            "starts with streams of seq",
        ),
    ],
)
def test_missing_inputs_are_errors_before_index_training(
    shop: Path, tiny: Parameters, change: dict[str, Any], message: str
) -> None:
    parameters = tiny(shop, **change)
    with pytest.raises(ValueError, match=message):
        run_recbole_lcrec("LCRec", SHOP, config_dict=parameters)
    assert not Path(parameters["checkpoint_dir"]).exists()
