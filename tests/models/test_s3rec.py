"""S3Rec's two stages in one run: RecBole's own batches and losses, and fine-tuning from the pre-trained file."""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from recbole.trainer import S3RecTrainer

from recbole_lcrec import Config, load_data_and_model, run_recbole_lcrec
from recbole_lcrec.bridge.loading import create_dataset, data_preparation
from recbole_lcrec.models.s3rec import pretraining
from recbole_lcrec.models.s3rec.pretraining import attribute_targets, build_model
from tests.branded_shop import SHOP, tiny_baseline, write_branded_shop


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_branded_shop(tmp_path / "data")


def built(data: Path, **changes: Any) -> tuple[Any, Any]:
    config = Config("S3Rec", SHOP, config_dict={**tiny_baseline(data), **changes})
    train, _, _ = data_preparation(config, create_dataset(config))
    return build_model(config, train), train


def test_attributes_by_hand() -> None:
    items = torch.tensor([[0, 2, 1], [3, 3, 0]])
    single = attribute_targets(torch.tensor([0, 2, 0, 3]), items, 3)
    assert single.tolist() == [[[0, 0, 0], [0, 0, 0], [0, 1, 0]], [[0, 0, 1], [0, 0, 1], [0, 0, 0]]]
    several = attribute_targets(torch.tensor([[0, 0], [1, 3], [2, 0], [0, 0]]), items, 3)
    assert several.tolist() == [[[0, 0, 0], [0, 1, 0], [1, 0, 1]], [[0, 0, 0], [0, 0, 0], [0, 0, 0]]]


@pytest.mark.parametrize("feature", ["brand", "title"])
def test_pretraining_targets_equal_recboles(data: Path, feature: str) -> None:
    model, train = built(data, item_attribute=feature)
    batch = next(iter(train))
    histories, lengths = batch["item_id_list"], batch["item_length"]
    random.seed(3)
    theirs = model.reconstruct_pretrain_data(histories, lengths)
    random.seed(3)
    ours = pretraining._QuickTargets(model)(histories, lengths)
    for mine, other in zip(ours[1:], theirs[1:], strict=True):
        assert torch.equal(mine, other)
    known = model.item_feat[feature][theirs[2]] > 0
    known = known.any(-1) if known.dim() == 3 else known
    assert torch.equal(ours[0][known].long(), theirs[0][known])
    assert not ours[0][~known].any()
    assert feature == "title" or (~known & (theirs[2] > 0)).any()  # items without a brand, RecBole's last one
    assert model.n_features == len(train._dataset.field2id_token[feature]) - 1


def test_the_training_rows_are_recboles_own(data: Path) -> None:
    rows = []
    for fast in (True, False):
        _, train = built(data, fast_loading=fast, train_batch_size=1000)
        feat = train._dataset[list(range(len(train._dataset)))]
        rows.append({name: feat[name] for name in ("user_id", "item_id", "item_id_list", "item_length", "brand")})
        rows[-1] |= {"brands": train._dataset.get_item_feature()["brand"]}
    for name, values in rows[0].items():
        assert torch.equal(values, rows[1][name]), name


@pytest.mark.parametrize("saved", [True, False])
def test_one_run_does_both_stages(data: Path, caplog: pytest.LogCaptureFixture, saved: bool) -> None:
    caplog.set_level(logging.INFO)
    given = {**tiny_baseline(data), "pretrain_epochs": 3, "save_step": 1}
    result = run_recbole_lcrec("S3Rec", SHOP, config_dict=given, saved=saved)
    messages = [record.message for record in caplog.records]
    assert sum(message.startswith("pre-training epoch") for message in messages) == 3
    assert sum("pre-trained model of epoch" in message for message in messages) == 3
    assert any("epoch 0 training" in message for message in messages)
    assert 0 <= result["test_result"]["ndcg@5"] <= 1 and result["seconds"] > 0
    files = sorted(path.name for path in Path(given["checkpoint_dir"]).glob("*S3Rec*"))
    if not saved:
        assert not files
        return
    (pretrained,) = (name for name in files if name.endswith("-pretrained.pth"))
    saved_run = Path(result["saved_model_file"])
    assert files == sorted([saved_run.stem, saved_run.name, f"{saved_run.stem}-pretrained.pth"])
    stages = torch.load(Path(given["checkpoint_dir"]) / pretrained, weights_only=False)
    assert stages["epoch"] == 2
    assert any(f"Load pretrained model from {given['checkpoint_dir']}/{pretrained}" in message for message in messages)

    config, model, _, _, _, test = load_data_and_model(result["saved_model_file"])
    assert config["train_stage"] == "pretrain" and model.train_stage == "pretrain"
    from recbole.trainer import Trainer

    again = Trainer(config, model).evaluate(test, load_best_model=False, show_progress=False)
    assert again == result["test_result"]


def test_the_second_stage_alone_and_its_errors(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    given = tiny_baseline(data)
    run_recbole_lcrec("S3Rec", SHOP, config_dict=given)
    (path,) = Path(given["checkpoint_dir"]).glob("*-pretrained.pth")
    caplog.clear()
    given |= {"train_stage": "finetune", "pre_model_path": str(path)}
    result = run_recbole_lcrec("S3Rec", SHOP, config_dict=given)
    assert not any("pre-training epoch" in record.message for record in caplog.records)
    with pytest.raises(ValueError, match=r"pre_model_path = .* contains no S3Rec of this data set"):
        run_recbole_lcrec("S3Rec", SHOP, config_dict={**given, "hidden_size": 16})
    path.unlink()
    model = load_data_and_model(result["saved_model_file"])[1]  # has all weights of its own
    best = torch.load(result["saved_model_file"], weights_only=False)["state_dict"]
    assert all(torch.equal(value, best[name]) for name, value in model.state_dict().items())
    torn = path.with_name("torn.pth")
    torn.write_bytes(b"PK not a model")
    with pytest.raises(ValueError, match="pre_model_path"):
        run_recbole_lcrec("S3Rec", SHOP, config_dict={**given, "pre_model_path": str(torn)})


def test_fine_tuning_starts_from_the_pretrained_weights(data: Path) -> None:
    config = Config("S3Rec", SHOP, config_dict=tiny_baseline(data))
    train, _, _ = data_preparation(config, create_dataset(config))
    first = build_model(config, train)
    untrained = first.item_embedding.weight.detach().clone()
    plain = config.to_plain()
    second = pretraining.pretrained(first, config, train)
    assert config.to_plain() == plain and first.train_stage == "pretrain"
    assert second.train_stage == "finetune" and isinstance(second.loss_fct, torch.nn.CrossEntropyLoss)
    assert torch.equal(second.item_embedding.weight, first.item_embedding.weight)
    assert not torch.equal(second.item_embedding.weight, untrained)
    other = Config("SASRec", SHOP, config_dict=tiny_baseline(data, "SASRec"))
    model = build_model(other, data_preparation(other, create_dataset(other))[0])
    assert pretraining.pretrained(model, other, train) is model


@pytest.mark.parametrize(("stage", "epoch"), [(1, 1), (2, 0), (2, 1)])
def test_a_killed_stage_is_continued(
    data: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, stage: int, epoch: int
) -> None:
    caplog.set_level(logging.INFO)
    given = {**tiny_baseline(data), "pretrain_epochs": 3, "save_step": 1, "epochs": 3, "seeds": [2020]}
    whole = run_recbole_lcrec("S3Rec", SHOP, config_dict={**given, "checkpoint_dir": "whole"})["seeds"][2020]
    train, stages = S3RecTrainer._train_epoch, {"pretrain": 1, "finetune": 2}

    def killed(trainer: Any, data: Any, number: int, *others: Any, **more: Any) -> Any:
        if (stages[trainer.model.train_stage], number) == (stage, epoch):
            raise KeyboardInterrupt
        return train(trainer, data, number, *others, **more)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(S3RecTrainer, "_train_epoch", killed)
        run_recbole_lcrec("S3Rec", SHOP, config_dict=given)
    assert "S3Rec was interrupted; the same command resumes it" in caplog.text
    caplog.clear()
    result = run_recbole_lcrec("S3Rec", SHOP, config_dict=given)["seeds"][2020]
    assert caplog.text.count("pre-training epoch") == (2 if stage == 1 else 0)
    assert f"before epoch {epoch}" in caplog.text
    assert (result["test_result"], result["best_valid_score"]) == (whole["test_result"], whole["best_valid_score"])
    (folder,) = (path for path in Path(given["checkpoint_dir"]).glob("S3Rec-*") if path.is_dir())
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "ranks.npz", "results.json"}
