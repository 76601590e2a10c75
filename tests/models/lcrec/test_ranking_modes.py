"""Rankings as RecBole's evaluator sees them: full, sampled, restricted, by template."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_lcrec import load_data_and_model, run_recbole_lcrec
from recbole_lcrec.models.lcrec.trainer import LCRecTrainer
from tests.conftest import N_ITEMS, N_USERS, SHOP, shop_sequences
from tests.models.lcrec.test_model import built, one_batch, plain_scores
from tests.saved_runs import configured, make_run

Parameters = Callable[..., dict[str, Any]]
METRICS: dict[str, Any] = {"metrics": ["Hit", "NDCG", "MRR"], "topk": [3, 5], "metric_decimal_place": 8}


def exhaustive(model: Any, interaction: Any) -> torch.Tensor:
    """Return scores [B, N] of plain forward passes, added over all templates."""
    return sum(_of_template(model, interaction, each) for each in range(model.writer.n_templates))  # type: ignore[return-value]


def _of_template(model: Any, interaction: Any, template: int) -> torch.Tensor:
    before = model.wording
    model.wording = dataclasses.replace(before, template=template)
    try:
        return plain_scores(model, interaction)
    finally:
        model.wording = before


def metrics_by_hand(ranks: np.ndarray, k: int) -> dict[str, float]:
    """Return hit, ndcg and mrr of one target per user, from its rank (0 is the best)."""
    found = ranks < k
    return {
        f"hit@{k}": float(found.mean()),
        f"ndcg@{k}": float((found / np.log2(ranks + 2)).mean()),
        f"mrr@{k}": float((found / (ranks + 1)).mean()),
    }


def allowed_file(tmp_path: Path, items: list[str]) -> str:
    path = tmp_path / "allowed.txt"
    path.write_text("\n".join(items) + "\n", encoding="utf-8")
    return str(path)


def assert_metrics(result: dict[str, float], ranks: list[int]) -> None:
    """Assert that the result holds exactly RecBole's metrics at 3 and 5, with the values of the ranks."""
    assert len(ranks) == N_USERS
    expected = metrics_by_hand(np.array(ranks), 3) | metrics_by_hand(np.array(ranks), 5)
    assert set(result) == set(expected) == {f"{name}@{k}" for name in ("hit", "ndcg", "mrr") for k in (3, 5)}
    assert 0 < expected["hit@3"] < 1
    for name, value in expected.items():
        assert result[name] == pytest.approx(value, abs=1e-6), name


@pytest.mark.parametrize("mask_history", [False, True])
def test_full_sort_metrics_by_hand(indexed_shop: Path, tiny: Parameters, mask_history: bool) -> None:
    """With ``mask_history`` the target is ranked only among items outside the history, including its cut-off part."""
    config, model, _, _, test = built(
        tiny(indexed_shop, **METRICS, decoding_beam_size=N_ITEMS, mask_history=mask_history)
    )
    model.eval()
    trainer = LCRecTrainer(config, model)
    trainer.eval_collector.data_collect(test)
    result = trainer.evaluate(test, load_best_model=False)
    ranks, sequences, users = [], shop_sequences(), test._dataset.field2id_token["user_id"]
    column = {str(item): row for row, item in enumerate(model.item_ids)}
    for interaction, _, _, _ in test:
        for user, scores in zip(interaction["user_id"].tolist(), plain_scores(model, interaction), strict=True):
            *seen, target = sequences[users[user]]
            own = scores[column[target]].clone()
            if mask_history:
                scores[[column[item] for item in seen]] = -torch.inf
            ranks.append(int((scores > own).sum()))
    assert_metrics(result, ranks)


@pytest.mark.parametrize("mode", ["uni5", "pop5"])
def test_sampled_metrics_by_hand(indexed_shop: Path, tiny: Parameters, mode: str) -> None:
    parameters = tiny(indexed_shop, **METRICS, eval_args={"mode": {"valid": mode, "test": mode}})
    config, model, _, _, test = built(parameters)
    model.eval()
    trainer = LCRecTrainer(config, model)
    seen: list[tuple[Any, torch.Tensor]] = []
    predict = model.predict

    def watched(interaction: Any) -> torch.Tensor:
        seen.append((interaction, predict(interaction)))
        return seen[-1][1]

    model.predict = watched
    trainer.eval_collector.data_collect(test)
    result = trainer.evaluate(test, load_best_model=False)
    ranks = []
    for interaction, scores in seen:
        items = interaction[model.ITEM_ID]
        exact = plain_scores(model, interaction).gather(1, items.unsqueeze(1) - 1).squeeze(1)
        torch.testing.assert_close(scores.cpu(), exact, rtol=1e-5, atol=1e-4)
        users = interaction["user_id"]
        for user in users.unique().tolist():  # a user's first row is the target, as RecBole lays them out
            mine, asked = exact[users == user], items[users == user].tolist()
            better = {item for item, score in zip(asked, mine, strict=True) if score > mine[0]}
            ranks.append(len(better))  # one that was drawn twice counts once
    assert_metrics(result, ranks)


def test_excluded_history_is_never_ranked_and_the_rest_is_exact(indexed_shop: Path, tiny: Parameters) -> None:
    _, model, _, valid, _ = built(tiny(indexed_shop, decoding_beam_size=N_ITEMS, decoding_exclude_history=True))
    model.eval()
    interaction = one_batch(valid)
    expected = plain_scores(model, interaction)
    histories = interaction[model.ITEM_SEQ]
    expected = torch.nn.functional.pad(expected, (1, 0)).scatter(1, histories, -torch.inf)[:, 1:]
    torch.testing.assert_close(model.full_sort_predict(interaction)[:, 1:], expected, rtol=1e-5, atol=1e-4)


def test_only_allowed_items_are_recommended(indexed_shop: Path, tiny: Parameters, tmp_path: Path) -> None:
    _, plain, _, _, _ = built(tiny(indexed_shop))
    chosen = [str(item) for item in plain.item_ids[::2]]
    file = allowed_file(tmp_path, chosen)
    _, model, _, valid, _ = built(tiny(indexed_shop, decoding_allowed_items=file, decoding_beam_size=N_ITEMS))
    model.eval()
    interaction = one_batch(valid)
    expected = plain_scores(model, interaction)
    expected[:, [row for row, item in enumerate(model.item_ids) if item not in chosen]] = -torch.inf
    torch.testing.assert_close(model.full_sort_predict(interaction)[:, 1:], expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (None, "no such file"),
        ([], "names no item"),
        (["ghost"], r"1 of 1 are not in the catalogue, first \['ghost'\]"),
        (["first"], "allows 1 items, but 5 are needed"),
    ],
)
def test_allowed_items_that_cannot_be_used(
    indexed_shop: Path, tiny: Parameters, tmp_path: Path, items: list[str] | None, message: str
) -> None:
    _, plain, _, _, _ = built(tiny(indexed_shop))
    named = {"first": str(plain.item_ids[0])}
    file = allowed_file(tmp_path, [named.get(item, item) for item in items]) if items is not None else "no.txt"
    with pytest.raises(ValueError, match=message):
        run_recbole_lcrec("LCRec", SHOP, config_dict=tiny(indexed_shop, decoding_allowed_items=file))


def test_ensemble_adds_the_templates(indexed_shop: Path, tiny: Parameters) -> None:
    parameters = tiny(
        indexed_shop, eval_templates="ensemble", decoding_beam_size=N_ITEMS, tuning_seq_format="instruction"
    )
    _, model, _, valid, _ = built(parameters)
    model.eval()
    interaction = one_batch(valid)[:4]
    expected = exhaustive(model, interaction)
    torch.testing.assert_close(model.full_sort_predict(interaction)[:, 1:], expected, rtol=1e-5, atol=1e-3)


def test_every_template_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = make_run(tmp_path / "root", **METRICS, eval_templates="all")
    model = load_data_and_model(run)[1]
    for seed, parameter in enumerate(model.llm.parameters()):  # so that the wording of the question changes the ranking
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(seed))
    model.llm.save_pretrained(run)
    with caplog.at_level("INFO"):
        means = found_by(run)
    stored = json.loads((run / "results.json").read_text())["templates"]
    rows = stored["per_template"]
    assert len({tuple(row.values()) for row in rows}) > len(rows) / 2 > 4
    assert means == stored["mean"] and "Results by SEQ template" in caplog.text
    for name, summary in (("mean", np.mean), ("minimum", min), ("maximum", max)):
        assert stored[name] == pytest.approx({metric: summary([row[metric] for row in rows]) for metric in means})
    for template, row in enumerate(rows):  # a run that asks by one of them alone finds its row
        configured(run, eval_templates="one", decoding_template=template)
        assert found_by(run) == row


def found_by(run: Path) -> dict[str, float]:
    """Return the metrics of a saved run on its test users, which are also written to its ``results.json``."""
    config, model, _, _, _, test = load_data_and_model(run)
    trainer = LCRecTrainer(config, model)
    trainer.eval_collector.data_collect(test)
    return dict(trainer.evaluate(test, model_file=run))


def test_templates_of_streams_are_refused(indexed_shop: Path, tiny: Parameters) -> None:
    with pytest.raises(ValueError, match="eval_templates = 'all': tuning_seq_format = 'stream'"):
        run_recbole_lcrec("LCRec", SHOP, config_dict=tiny(indexed_shop, eval_templates="all"))


def test_certificates_reach_log_and_results(
    indexed_shop: Path, tiny: Parameters, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        result = run_recbole_lcrec("LCRec", SHOP, config_dict=tiny(indexed_shop, decoding_exact=True))
    stored = json.loads((Path(result["saved_model_file"]) / "results.json").read_text())
    assert set(stored["certified"].values()) == {1.0}
    assert any(message.startswith("Proved to be the best of all allowed items: 100.0%") for message in caplog.messages)


def test_exact_is_exhaustive(indexed_shop: Path, tiny: Parameters) -> None:
    _, model, _, valid, _ = built(tiny(indexed_shop, decoding_exact=True, decoding_beam_size=5, topk=[5]))
    model.eval()
    interaction = one_batch(valid)
    best = plain_scores(model, interaction).topk(5, dim=1).values
    found = model.full_sort_predict(interaction)[:, 1:].topk(5, dim=1).values
    torch.testing.assert_close(found, best, rtol=1e-5, atol=1e-4)


def test_the_plain_search_ranks_equally(indexed_shop: Path, tiny: Parameters) -> None:
    _, model, _, valid, _ = built(tiny(indexed_shop))
    _, plain, _, _, _ = built(tiny(indexed_shop, decoding_search="plain"))
    interaction = one_batch(valid)
    found, expected = (each.eval().full_sort_predict(interaction) for each in (model, plain))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


def test_sampled_targets_that_are_not_allowed_are_missed(indexed_shop: Path, tiny: Parameters, tmp_path: Path) -> None:
    """However RecBole breaks ties among items that are no candidates."""
    allowed = ["i0", "i7", "i13", "i18", "i22", "i29"]
    parameters = tiny(
        indexed_shop,
        eval_args={"mode": {"valid": "uni5", "test": "uni5"}},
        decoding_allowed_items=allowed_file(tmp_path, allowed),
    )
    config, model, _, _, test = built(parameters)
    model.eval()
    trainer = LCRecTrainer(config, model)
    trainer.eval_collector.data_collect(test)
    trainer.tot_item_num = N_ITEMS + 1
    targets = [str(model.item_ids[item - 1]) for batch in test for item in batch[3].tolist()]
    result = trainer.evaluate(test, load_best_model=False)
    assert 0 < sum(target in allowed for target in targets) < len(targets)
    assert result["hit@5"] <= sum(target in allowed for target in targets) / len(targets) + 1e-4


def test_excluded_histories_are_whole(indexed_shop: Path, tiny: Parameters) -> None:
    """Items that do not fit into the prompt are excluded, too."""
    config, model, _, _, test = built(tiny(indexed_shop, decoding_exclude_history=True, decoding_beam_size=N_ITEMS))
    trainer = LCRecTrainer(config, model)
    model.eval()
    sequences, users, longest = shop_sequences(), test._dataset.field2id_token["user_id"], 0
    for batch in test:
        interaction, scores, _, _ = trainer._full_sort_batch_eval(batch)
        for user, row in zip(interaction["user_id"].tolist(), scores, strict=True):
            *seen, target = sequences[users[user]]
            longest = max(longest, len(seen))
            finite = {str(model.item_ids[item - 1]) for item in torch.isfinite(row).nonzero().flatten().tolist()}
            assert finite == set(map(str, model.item_ids)) - (set(seen) - {target})
    assert longest > config["MAX_ITEM_LIST_LENGTH"]


def test_users_with_too_few_items_are_errors_before_tuning(
    indexed_shop: Path, tiny: Parameters, tmp_path: Path
) -> None:
    file = allowed_file(tmp_path, [f"i{n}" for n in range(6)])
    parameters = tiny(indexed_shop, mask_history=True, decoding_allowed_items=file)
    with pytest.raises(
        ValueError, match=r"user 'u\d+' has only [0-4] items left to recommend without those of the history"
    ):
        run_recbole_lcrec("LCRec", SHOP, config_dict=parameters)
    assert not list(Path(parameters["checkpoint_dir"]).glob("LCRec-*"))


def test_sampled_users_share_a_batch(indexed_shop: Path, tiny: Parameters) -> None:
    """All users of a split are scored in one call, which makes its batches by tokens."""
    mode = {"mode": {"valid": "uni9", "test": "uni9"}}
    config, _, _, valid, test = built(tiny(indexed_shop, eval_args=mode, eval_batch_size=512))
    assert (len(list(valid)), len(list(test))) == (1, 1)
    assert config["eval_batch_size"] == 512


def test_only_sampled_splits_count_batches_in_users(indexed_shop: Path, tiny: Parameters) -> None:
    """A split ranked in full keeps its batches, because each row of them holds a score for every item."""
    mode = {"mode": {"valid": "full", "test": "uni9"}}
    _, _, _, valid, test = built(tiny(indexed_shop, eval_args=mode, eval_batch_size=8))
    assert (len(list(valid)), len(list(test))) == (3, 3)


def test_a_target_in_the_history_can_be_recommended(indexed_shop: Path, tiny: Parameters, tmp_path: Path) -> None:
    """A target is never masked, so it counts among the items that are left."""
    config, model, _, _, test = built(tiny(indexed_shop, decoding_exclude_history=True))
    user = test._dataset.inter_feat[test.uid_field].tolist()[0]
    target = test._dataset.inter_feat[test.iid_field].tolist()[0]
    test.histories = {user: np.array([item for item in range(1, N_ITEMS + 1) if item % 8 or item == target])}
    left = N_ITEMS - len(test.seen(user, target))
    trainer = LCRecTrainer(config, model)
    config["topk"] = [left]
    trainer.require_enough(test)
    config["topk"] = [left + 1]
    with pytest.raises(ValueError, match=f"has only {left} items left to recommend"):
        trainer.require_enough(test)
