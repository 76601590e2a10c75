"""One model's configuration: precedence by hand-made files, every error message, and round trips."""

import os
import pickle

import pytest
import torch

from recbole_lcrec.config.configurator import Config
from recbole_lcrec.config.values import write_yaml
from recbole_lcrec.runtime.processes import process_rank


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def error_of(*args, **kwargs):
    with pytest.raises(ValueError) as caught:
        Config(*args, **kwargs)
    return str(caught.value)


def test_defaults_are_the_same_task_for_every_model():
    configs = [
        Config(name, "ml-100k") for name in ("LCRec", "SASRec", "Pop", "GRU4Rec", "BERT4Rec", "Caser", "HGN", "BPR")
    ]
    for config in configs:
        assert config["topk"] == [1, 5, 10] and config["metrics"] == ["Hit", "NDCG"]
        assert config["valid_metric"] == "NDCG@10" and config["mask_history"] is False
        assert config["MAX_ITEM_LIST_LENGTH"] == 20 and config["repeatable"] is True
        assert config["eval_args"] == {
            "split": {"LS": "valid_and_test"},
            "order": "TO",
            "group_by": "user",
            "mode": {"valid": "full", "test": "full"},
        }
        assert config["load_col"] == configs[0]["load_col"] and config["load_col"]["inter"][-1] == "timestamp"
        assert config["single_spec"] is True and config["local_rank"] == 0
    assert configs[0]["epochs"] == 16 and configs[1]["epochs"] == 300


def test_times_and_the_catalogue_are_read_for_any_data_set():
    assert Config("Pop", "my-shop")["load_col"] == {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]}


def test_general_models_mask_the_history_by_repeatable():
    masked = {"mask_history": True}
    assert Config("Pop", "ml-100k", config_dict=masked)["repeatable"] is False
    assert Config("SASRec", "ml-100k", config_dict=masked)["repeatable"] is True
    for given in ({"mask_history": True, "repeatable": True}, {"repeatable": False}):
        message = error_of("Pop", "ml-100k", config_dict=given)
        assert "repeatable" in message and "mask_history" in message


def test_negatives_follow_the_loss():
    assert Config("SASRec", "ml-100k")["train_neg_sample_args"]["distribution"] == "none"
    pairwise = Config("SASRec", "ml-100k", config_dict={"loss_type": "BPR"})
    assert pairwise["train_neg_sample_args"]["distribution"] == "uniform"
    assert Config("BPR", "ml-100k")["train_neg_sample_args"]["distribution"] == "uniform"
    given = {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}}
    assert "train_neg_sample_args" in error_of("SASRec", "ml-100k", config_dict=given)


@pytest.mark.parametrize("model", ["FDSA", "GRU4RecF", "SASRecF", "S3Rec"])
def test_item_features_are_read_by_the_models_that_name_them(model):
    key = "item_attribute" if model == "S3Rec" else "selected_features"
    for dataset, feature in (("ml-100k", "class"), ("Industrial_and_Scientific", "brand"), ("my-shop", "brand")):
        config = Config(model, dataset)
        assert config["load_col"] == {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", feature]}
        assert config[key] == (feature if model == "S3Rec" else [feature])
    other = Config(model, "ml-100k", config_dict={key: "year" if model == "S3Rec" else ["year", "class"]})
    assert other["load_col"]["item"] == (["item_id", "class", "year"])
    whole = Config(model, "ml-100k", config_dict={"load_col": None})
    assert whole["load_col"] is None
    message = error_of(model, "ml-100k", config_dict={key: 7})
    assert f"{key} = 7" in message and "of the item file" in message


def test_item_features_of_a_data_set_reach_no_other_model():
    config = Config("SASRec", "Industrial_and_Scientific")
    assert config["load_col"]["item"] == ["item_id"]
    assert config["selected_features"] is None and config["item_attribute"] is None
    assert Config("FDSA", "Industrial_and_Scientific")["item_attribute"] is None
    assert Config("SASRec", "Industrial_and_Scientific", config_dict=config.to_plain()).to_plain() == config.to_plain()
    assert "selected_features" in error_of("SASRec", "Industrial_and_Scientific", config_dict={"selected_features": []})


def test_an_unknown_evaluation_mode_lists_the_known_ones():
    for mode in ("unii100", "uni", "uni0", "ful", 100, {"valid": "uni100", "test": "pop"}, {"tets": "full"}, {}):
        message = error_of("SASRec", "ml-100k", config_dict={"eval_args": {"mode": mode}})
        assert "eval_args" in message and all(name in message for name in ("'full'", "'uniN'", "'popN'", "'valid'"))
    both = Config("SASRec", "ml-100k", config_dict={"eval_args": {"mode": {"valid": "uni50", "test": "full"}}})
    assert both["valid_neg_sample_args"]["sample_num"] == 50
    assert Config("SASRec", "ml-100k", config_dict={"eval_args": {"mode": "pop7"}})["test_neg_sample_args"] == {
        "distribution": "popularity",
        "sample_num": 7,
    }
    values = {"metrics": ["AUC"], "valid_metric": "AUC"}
    assert "mode" in error_of("SASRec", "ml-100k", config_dict=values)
    assert "mixes" in error_of("SASRec", "ml-100k", config_dict={"metrics": ["AUC", "NDCG"]})


def test_the_stages_of_s3rec_are_checked_before_anything_starts(tmp_path):
    message = error_of("S3Rec", "ml-100k", config_dict={"train_stage": "finetune"})
    assert "pre_model_path = ''" in message and "pretrain" in message
    missing = str(tmp_path / "gone.pth")
    assert missing in error_of("S3Rec", "ml-100k", config_dict={"train_stage": "finetune", "pre_model_path": missing})
    assert "finetune" in error_of("S3Rec", "ml-100k", config_dict={"pre_model_path": missing})
    wrong = {"train_stage": "finetunes", "pretrain_epochs": 0, "save_step": 0}
    message = error_of("S3Rec", "ml-100k", config_dict=wrong)
    assert all(key in message for key in wrong) and "did you mean 'finetune'" in message


def test_later_sources_override_earlier_ones(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    write_yaml({"seed": 1, "epochs": 1, "learning_rate": 0.1, "n_heads": 1, "SASRec.epochs": 11}, first)
    write_yaml({"epochs": 2, "learning_rate": 0.2, "n_heads": 2, "SASRec.learning_rate": 0.22, "Pop.seed": 5}, second)
    files = {"learning_rate": 0.3, "n_heads": "4"}
    config = Config("SASRec", "ml-100k", [first, second], files, command_line={"n_heads": 8})
    assert config["seed"] == 1
    assert config["epochs"] == 2  # a later file's bare key beats an earlier file's own key
    assert config["learning_rate"] == 0.3
    assert config["n_heads"] == 8
    alone = Config("SASRec", "ml-100k", [second])
    assert alone["learning_rate"] == 0.22 and alone["n_heads"] == 2
    assert (
        Config("SASRec", "ml-100k", config_dict={"epochs": 1}, command_line={"SASRec.epochs": 2, "epochs": 3})["epochs"]
        == 2
    )
    assert Config(config_dict={"model": "Pop", "dataset": "ml-100k"}).model == "Pop"
    assert Config("Pop", "ml-100k", str(first), run=["Pop", "SASRec"])["seed"] == 1


def test_the_process_flags_are_not_read(monkeypatch):
    monkeypatch.setattr("sys.argv", ["prog", "--epochs=77", "--nonsense=1"])
    assert Config("SASRec", "ml-100k")["epochs"] == 300


def test_a_part_of_eval_args_keeps_the_rest():
    config = Config("SASRec", "ml-100k", config_dict={"eval_args": {"mode": "uni100"}})
    assert config["eval_args"]["mode"] == {"valid": "uni100", "test": "uni100"}
    assert config["eval_args"]["split"] == {"LS": "valid_and_test"} and config["eval_args"]["order"] == "TO"
    assert config["test_neg_sample_args"]["sample_num"] == 100


def test_data_path(tmp_path):
    bundled = Config("Pop", "ml-100k")["data_path"]
    assert os.path.isfile(os.path.join(bundled, "ml-100k.inter"))
    assert Config("Pop", "ml-100k", config_dict={"data_path": str(tmp_path)})["data_path"] == str(tmp_path / "ml-100k")
    assert Config("Pop", "Games", config_dict={"data_path": str(tmp_path)})["data_path"] == str(tmp_path / "Games")
    assert Config("Pop", "Games")["data_path"] == os.path.join("dataset/", "Games")


def test_bare_keys_reach_the_models_that_know_them():
    run = ["LCRec", "SASRec", "Pop"]
    given = {"hidden_size": 32, "decoding_beam_size": 30, "epochs": 7, "LCRec.epochs": 2}
    lcrec, sasrec, pop = (Config(name, "ml-100k", command_line=given, run=run) for name in run)
    assert (lcrec["hidden_size"], sasrec["hidden_size"], pop["hidden_size"]) == (None, 32, None)
    assert (lcrec["decoding_beam_size"], sasrec["decoding_beam_size"]) == (30, None)
    assert (lcrec["epochs"], sasrec["epochs"], pop["epochs"]) == (2, 7, 7)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"decoding_beem_size": 9, "topkk": 1}, ["'decoding_beem_size'", "'decoding_beam_size'", "'topkk'", "'topk'"]),
        ({"LCRec.epoch": 9}, ["'LCRec.epoch'", "of LCRec", "'epochs'"]),
        ({"SASRec.base_model": "x"}, ["'SASRec.base_model'", "of SASRec"]),
        ({"LCRek.epochs": 9}, ["'LCRek.epochs'", "'LCRec'"]),
        ({"Caser.epochs": 9}, ["'Caser.epochs'", "not part of this run", "LCRec, SASRec"]),
        ({"local_rank": 0}, ["'local_rank'", "torchrun"]),
        ({"nproc": 4}, ["'nproc'", "torchrun"]),
    ],
)
def test_unknown_keys_are_named_with_the_nearest(values, words):
    message = error_of("LCRec", "ml-100k", command_line=values, run=["LCRec", "SASRec"])
    assert all(word in message for word in [*words, "command line"])


def test_property_files_may_hold_keys_of_models_that_are_not_run(tmp_path):
    path = tmp_path / "a.yaml"
    write_yaml({"LCRec.epochs": 9, "epochs": 3}, path)
    assert Config("Pop", "ml-100k", [path])["epochs"] == 3
    write_yaml({"LCRec.epochz": 9}, path)
    message = error_of("Pop", "ml-100k", [path])
    assert "LCRec.epochz" in message and str(path) in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", -1), ("epochs", 1.5), ("epochs", True), ("train_batch_size", 0), ("eval_batch_size", 0),
        ("learning_rate", 0), ("learning_rate", "fast"), ("weight_decay", -1), ("stopping_step", -1), ("seed", -1),
        ("seed", 2**32), ("MAX_ITEM_LIST_LENGTH", 0), ("topk", []), ("topk", [5, 0]), ("topk", "ten"), ("topk", [1, 1]),
        ("mask_history", "yes"), ("eval_args", "full"), ("metrics", []), ("metrics", ["Hitt", "NDCG"]), ("use_gpu", 1),
        ("valid_metric", 10), ("valid_metric", "MRR@10"), ("valid_metric", "NDCG@20"), ("data_path", ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("model", ["SASRec", "LCRec"])
def test_values_out_of_range_are_named(model, key, value):
    message = error_of(model, "ml-100k", command_line={key: value})
    assert (
        model in message
        and message.count(key) >= 1
        and repr(value if key != "metrics" or not value else "Hitt") in message
    )


def test_a_warmup_ratio_of_one_is_rejected():
    assert "tuning_warmup_ratio = 1.0: expected" in error_of(
        "LCRec", "ml-100k", config_dict={"tuning_warmup_ratio": 1.0}
    )


def test_all_wrong_values_are_in_one_message():
    message = error_of("LCRec", "ml-100k", command_line={"index_levels": 0, "seed": -1, "epochs": -2, "topk": [30]})
    for part in ("index_levels = 0", "seed = -1", "epochs = -2", "topk = [30]", "decoding_beam_size = 20", "NDCG@10"):
        assert part in message


def test_more_items_than_beams():
    message = error_of("LCRec", "ml-100k", command_line={"topk": [10, 50]})
    assert "topk = [10, 50]" in message and "decoding_beam_size = 20" in message
    assert Config("LCRec", "ml-100k", command_line={"topk": [10, 50], "decoding_beam_size": 50})["topk"] == [10, 50]
    assert Config("SASRec", "ml-100k", command_line={"topk": [10, 50]})["topk"] == [10, 50]


def test_missing_names_and_files():
    assert "no model is given" in error_of()
    assert "no dataset is given" in error_of("Pop")
    assert "unknown model 'SASRek'" in error_of("SASRek", "ml-100k")
    assert "nowhere.yaml" in error_of("Pop", "ml-100k", ["nowhere.yaml"])


@pytest.mark.parametrize("model", ["LCRec", "SASRec", "Pop"])
def test_a_saved_configuration_is_the_same_configuration(model, tmp_path):
    given = {"seed": 7, "topk": 10, "valid_metric": "hit@10", "learning_rate": 1e-5, "data_path": str(tmp_path)}
    config = Config(model, "Games", config_dict=given)
    config.save(tmp_path / "config.yaml")
    again = Config(config_file_list=[tmp_path / "config.yaml"])
    assert again.final_config_dict == config.final_config_dict
    assert Config(config_dict=config.to_plain()).final_config_dict == config.final_config_dict
    assert pickle.loads(pickle.dumps(config)).final_config_dict == config.final_config_dict
    bundled = Config(model, "ml-100k")
    assert "data_path" not in bundled.to_plain()
    assert Config(config_dict=bundled.to_plain()).final_config_dict == bundled.final_config_dict


def test_what_yaml_cannot_hold_is_named():
    config = Config("Pop", "ml-100k")
    config["graph"] = object()
    with pytest.raises(RuntimeError, match="graph"):
        config.to_plain()


def test_devices(monkeypatch):
    assert Config("Pop", "ml-100k", config_dict={"gpu_id": "2,3"})["device"].type in ("cpu", "cuda")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert Config("Pop", "ml-100k", config_dict={"use_gpu": False})["device"] == torch.device("cpu")


def test_under_a_launcher_each_process_takes_its_own_device(monkeypatch):
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "1"), ("LOCAL_RANK", "1"), ("CUDA_VISIBLE_DEVICES", "4,5")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    config = Config("Pop", "ml-100k")
    assert config["device"] == torch.device("cuda", 1) and os.environ["CUDA_VISIBLE_DEVICES"] == "4,5"
    assert config["single_spec"] is True and config["local_rank"] == 0 and not torch.distributed.is_initialized()
    assert config["show_progress"] is False and process_rank() == 1
    assert Config("Pop", "ml-100k", config_dict={"use_gpu": False})["device"] == torch.device("cpu")
    monkeypatch.delenv("RANK")
    with pytest.raises(RuntimeError, match="RANK is not set"):
        Config("Pop", "ml-100k")


@pytest.mark.parametrize(
    ("given", "rate"),
    [({}, 0.002), ({"base_model": "gpt2"}, 0.00005), ({"learning_rate": 0.01}, 0.01), ({"learning_rate": None}, 0.002)],
)
def test_the_learning_rate_follows_the_base_model(given, rate):
    assert Config("LCRec", "shop", config_dict=given)["learning_rate"] == rate


SIZES = ("vocab_size", "hidden_size", "intermediate_size", "layers", "heads")


@pytest.mark.parametrize(
    ("preset", "sizes"),
    [
        (None, (1000, 128, 512, 3, 4)),
        ("tiny", (1000, 128, 512, 3, 4)),
        ("small", (8000, 256, 1024, 6, 4)),
        ("base", (16000, 512, 2048, 8, 8)),
    ],
)
def test_a_preset_sets_the_sizes_of_a_model_from_scratch(preset, sizes):
    config = Config("LCRec", "shop", config_dict={"scratch_preset": preset})
    assert tuple(config[f"scratch_{size}"] for size in SIZES) == sizes
    assert (config["scratch_dropout"], config["scratch_tie_embeddings"]) == (0.2, True)
    again = Config(config_dict=config.to_plain())
    assert again.final_config_dict == config.final_config_dict


def test_single_sizes_override_the_preset_from_any_source(tmp_path):
    write_yaml({"scratch_layers": 2, "scratch_heads": 16}, tmp_path / "sizes.yaml")
    write_yaml({"scratch_preset": "tiny"}, tmp_path / "preset.yaml")
    # the sizes come from an earlier source than the preset and still override it
    config = Config(
        "LCRec",
        "shop",
        [tmp_path / "sizes.yaml", tmp_path / "preset.yaml"],
        {"LCRec.scratch_vocab_size": 500},
        {"scratch_preset": "base"},
    )
    assert tuple(config[f"scratch_{size}"] for size in SIZES) == (500, 512, 2048, 2, 16)
    config = Config("LCRec", "shop", [tmp_path / "preset.yaml"], {"scratch_preset": None}, {"scratch_layers": 7})
    assert (config["scratch_preset"], config["scratch_hidden_size"], config["scratch_layers"]) == (None, 128, 7)


def test_an_unknown_preset_is_named_with_the_nearest():
    message = error_of("LCRec", "shop", command_line={"scratch_preset": "smal"})
    assert "scratch_preset = 'smal': expected one of 'tiny', 'small', 'base' (did you mean 'small'?)" in message


def test_an_eval_step_that_skips_the_last_epochs_is_refused():
    with pytest.raises(ValueError, match=r"eval_step = 3 does not divide epochs = 10.*set epochs to 9, or eval_step"):
        Config("SASRec", "ml-100k", config_dict={"epochs": 10, "eval_step": 3})
    for fitting in ({"epochs": 9, "eval_step": 3}, {"epochs": 2, "eval_step": 5}, {"epochs": 7, "eval_step": 0}):
        Config("SASRec", "ml-100k", config_dict=fitting)
    Config("LCRec", "ml-100k", config_dict={"epochs": 10, "eval_step": 3})  # its trainer validates the last one always
