"""RecBole's own keys: each has a wrong value that is refused before any data are read, and a good one."""

import runpy

import pytest

from recbole_lcrec import create_dataset
from recbole_lcrec.bridge.building import require_inputs
from recbole_lcrec.config.configurator import Config
from recbole_lcrec.config.registry import recbole_dir, recbole_source
from recbole_lcrec.config.resources import properties_dir
from recbole_lcrec.config.values import read_yaml

NEGATIVES = {"distribution": "uniform", "sample_num": 1}
NAMES = (
    *("USER_ID_FIELD", "ITEM_ID_FIELD", "RATING_FIELD", "TIME_FIELD", "LABEL_FIELD", "NEG_PREFIX", "LIST_SUFFIX"),
    *("ITEM_LIST_LENGTH_FIELD", "POSITION_FIELD", "HEAD_ENTITY_ID_FIELD", "TAIL_ENTITY_ID_FIELD"),
    *("RELATION_ID_FIELD", "ENTITY_ID_FIELD"),
)
INTERVALS = ("user_inter_num_interval", "item_inter_num_interval")
ALIASES = ("alias_of_user_id", "alias_of_item_id", "alias_of_entity_id", "alias_of_relation_id")

# key -> a wrong value, and a good one that is not the default. Every key is checked; none is free.
CHECKED = {
    "gpu_id": ("first", "0,1"),
    "use_gpu": ("no", False),
    "seed": (-1, 7),
    "reproducibility": ("yes", False),
    "state": ("loud", "warning"),
    "data_path": (" ", "elsewhere"),
    "checkpoint_dir": (3, "elsewhere"),
    "show_progress": ("no", False),
    "log_wandb": ("yes", False),
    "epochs": (-1, 7),
    "train_batch_size": (0, 7),
    "learner": ("nonsense", "AdamW"),
    "learning_rate": (0, 0.5),
    "train_neg_sample_args": ({"sample_number": 2}, None),
    "eval_step": (-1, 1),
    "stopping_step": (-1, 3),
    "clip_grad_norm": ({"max_norm": -1}, {"max_norm": 5, "norm_type": "inf"}),
    "weight_decay": (-1, 0.1),
    "loss_decimal_place": (0, 6),
    "eval_args": ({"spilt": {"RS": [8, 1, 1]}}, {"split": {"RS": [8, 1, 1]}}),
    "repeatable": (1, True),
    "metrics": ("Nonsense", ["NDCG", "MRR"]),
    "topk": (0, [3, 10]),
    "valid_metric": ("MRR@10", "Hit@10"),
    "valid_metric_bigger": (False, True),
    "eval_batch_size": (0, 7),
    "metric_decimal_place": (-1, 6),
    "field_separator": ("", ","),
    "seq_separator": (None, "|"),
    **{name: ("", "another") for name in NAMES},
    "seq_len": ({"title": 0}, {"title": 5}),
    "threshold": ({"rating": "high"}, {"rating": 3}),
    "MAX_ITEM_LIST_LENGTH": (0, 7),
    "load_col": ({"inter": "user_id"}, {"inter": ["user_id", "item_id", "timestamp", "x"], "item": "*"}),
    "unload_col": (["inter"], {"user": ["age"]}),
    "unused_col": ({"kg": ["x"]}, {"inter": ["timestamp"]}),
    "additional_feat_suffix": (3, ["ent"]),
    "rm_dup_inter": ("newest", "last"),
    "val_interval": ({"rating": "3 or more"}, {"rating": "[3,inf)", "class": ["Drama"]}),
    "filter_inter_by_user_or_item": ("no", False),
    **{name: ("abc", "[5,inf)") for name in INTERVALS},
    **{name: ("x", ["x"]) for name in ALIASES},
    "preload_weight": ({"ent": 3}, {"ent_id": "ent_emb"}),
    "normalize_field": ("x", ["x"]),
    "normalize_all": ("yes", True),
    "benchmark_filename": (["train", "test"], ["train", "valid", "test"]),
}
# key -> a value that would have no effect here.
REFUSED = {
    "config_file": "my.yaml",
    "save_dataset": True,
    "dataset_save_path": "here.pth",
    "save_dataloaders": True,
    "dataloaders_save_path": "here.pth",
}
# Keys of RecBole's property files that no argument list of RecBole names.
BEYOND = {
    "worker": (-1, 2),
    "wandb_project": (3, "mine"),
    "shuffle": ("no", False),
    "require_pow": (2, True),
    "enable_amp": ("yes", True),
    "enable_scaler": (1, True),
    "transform": ("crop", "inverse_itemseq"),
    "numerical_features": ("rating", ["rating"]),
    "discretization": ({"rating": "ED"}, {"rating": {"method": "ED", "bucket": 5}}),
    "kg_reverse_r": (1, True),
    "entity_kg_num_interval": ("five", "[5,inf)"),
    "relation_kg_num_interval": ("[9,5)", "[5,inf)"),
}
TABLE = CHECKED | BEYOND


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def argument_lists():
    """Return the keys in RecBole's argument lists, as its source has them."""
    lists = runpy.run_path(str(recbole_dir() / "utils" / "argument_list.py"))
    return {key for name, keys in lists.items() if name.endswith("_arguments") for key in keys}


def error_of(model, **values):
    with pytest.raises(ValueError) as caught:
        Config(model, "my-shop", config_dict=values)
    return str(caught.value)


def test_every_key_of_recbole_is_in_the_table():
    assert argument_lists() == CHECKED.keys() | REFUSED.keys()
    properties = recbole_dir() / "properties"
    keys = {**read_yaml(properties / "overall.yaml"), **read_yaml(properties / "dataset" / "sample.yaml")}
    assert keys.keys() <= TABLE.keys() | REFUSED.keys()


@pytest.mark.parametrize("key", sorted(argument_lists() | BEYOND.keys()))
def test_a_wrong_value_is_refused_a_good_one_is_not(key):
    if key in REFUSED:
        assert f"{key} = {REFUSED[key]!r}" in error_of("SASRec", **{key: REFUSED[key]})
        return
    wrong, good = TABLE[key]
    message = error_of("SASRec", **{key: wrong})
    assert message.count(key) and message.startswith("SASRec: ")
    assert repr(wrong) in message or key in ("eval_args", "metrics", "train_neg_sample_args", "unused_col")
    config = Config("SASRec", "my-shop", config_dict={key: good})
    assert config[key] == good or key in ("eval_args", "train_neg_sample_args", "data_path")


def test_all_problems_are_in_one_message():
    wrong = {"learner": "adma", "rm_dup_inter": "newest", "epochs": -1, "eval_args": {"split": {}}, "state": 3}
    message = error_of("SASRec", **wrong)
    for key in ("learner = 'adma'", "rm_dup_inter = 'newest'", "epochs = -1", "eval_args split = {}", "state = 3"):
        assert key in message
    assert "did you mean 'adam'?" in message


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"spilt": 1}, "there is no 'spilt'; its keys are split, order, group_by, mode; did you mean 'split'?"),
        ({"order": "RT"}, "order = 'RT': expected one of 'TO', 'RO'"),
        ({"order": "RO"}, "order = 'RO': a sequential model needs 'TO'"),
        ({"group_by": "item"}, "group_by = 'item': expected one of 'user', 'none'"),
        ({"group_by": None}, "group_by = None contradicts split = {'LS': 'valid_and_test'}"),
        ({"split": {}}, "split = {}: expected one of {'LS': 'valid_and_test'}"),
        ({"split": None}, "split = None: expected one of"),
        ({"split": "LS"}, "split = 'LS': expected one of"),
        ({"split": {"XS": [1, 1, 1]}}, "split = {'XS': [1, 1, 1]}: expected one of"),
        ({"split": {"LS": "valid_and_test", "RS": [8, 1, 1]}}, "expected one of {'LS': 'valid_and_test'}"),
        ({"split": {"LS": "valid_only"}}, "'valid_only' leaves nothing to test on"),
        ({"split": {"LS": "test"}}, "did you mean 'test_only'?) for LS"),
        ({"split": {"RS": [1, 0, 0]}}, "shares above 0 of training and test for RS"),
        ({"split": {"TS": [0, 1, 1]}}, "shares above 0 of training and test for TS"),
        ({"split": {"RS": [0.9, 0.1]}}, "three shares for RS"),
        ({"split": {"RS": (8, 1, 1)}}, "three shares for RS"),
        ({"split": {"RS": [0.9, "0.1", 0]}}, "three shares for RS"),
        ({"split": {"RS": 0.8}}, "three shares for RS"),
    ],
)
def test_a_split_without_sense_is_refused(given, part):
    assert part in error_of("SASRec", eval_args=given)


def test_splits_with_a_training_and_a_test_part_are_good():
    for split in ({"LS": "test_only"}, {"RS": [0.9, 0, 0.1]}, {"TS": [8, 1, 1]}):
        assert Config("SASRec", "my-shop", config_dict={"eval_args": {"split": split}})["eval_args"]["split"] == split
    ungrouped = {"split": {"RS": [8, 1, 1]}, "group_by": None, "order": "RO"}
    assert Config("Pop", "my-shop", config_dict={"eval_args": ungrouped})["eval_args"]["order"] == "RO"


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        *(("user_inter_num_interval", value) for value in ("x", "[5,inf", "(a,b)", "[9,5)", "[1,2,3)", 5, [5, "inf"])),
        *(("clip_grad_norm", value) for value in ({}, 1.0, {"max_norm": 1, "norm": 2}, {"norm_type": 2})),
        *(("train_neg_sample_args", value) for value in ("uniform", {**NEGATIVES, "sample_num": 0})),
        *(("train_neg_sample_args", {**NEGATIVES, **more}) for more in ({"distribution": "flat"}, {"dynamic": True})),
        *(("gpu_id", value) for value in (None, [0], "cuda:0", True)),
        *(("threshold", value) for value in ({}, {"rating": 3, "price": 2}, {"item_id": 3})),
        *(("load_col", value) for value in ({"inter": None}, {"inter": []}, {"item": ["item_id"]}, "*")),
        ("val_interval", {"class": [1, 2]}),
        ("learner", "sparse_adam"),
        ("loss_type", "BEC"),
        ("transform", "user_defined"),
        ("transform", "crop_itemseq"),
    ],
)
def test_values_that_recbole_trips_over_are_refused(key, wrong):
    assert f"{key} = {wrong!r}" in error_of("SASRec", **{key: wrong})


def test_losses_are_those_that_the_source_knows():
    assert set(Config("SINE", "my-shop", config_dict={"loss_type": "NLL"})["loss_type"]) == set("NLL")
    assert "expected one of 'BPR', 'CE', 'NLL'" in error_of("SINE", loss_type="BCE")
    assert "expected one of 'BCE', 'MSE'" in error_of("CDAE", loss_type="CE")
    assert "loss_type" not in recbole_source("Pop")


def test_wandb_must_be_installed(monkeypatch):
    monkeypatch.setattr("recbole_lcrec.config.recbole_conflicts.find_spec", lambda name: None)
    assert "log_wandb = True needs the package wandb" in error_of("SASRec", log_wandb=True)
    monkeypatch.setattr("recbole_lcrec.config.recbole_conflicts.find_spec", lambda name: "found")
    assert Config("SASRec", "my-shop", config_dict={"log_wandb": True})["log_wandb"] is True


def test_columns_that_every_run_needs_must_be_read():
    inter, item = ["user_id", "item_id", "timestamp"], ["item_id"]
    for lost, key in zip(inter, ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD"), strict=True):
        kept = [name for name in inter if name != lost]
        message = error_of("SASRec", load_col={"inter": kept, "item": item})
        assert f"inter lacks {lost!r}, the {key}" in message
        message = error_of("SASRec", load_col=None, unload_col={"inter": [lost]})
        assert f"{lost!r} of inter is the {key}" in message
    assert "item lacks 'item_id'" in error_of("SASRec", load_col={"inter": inter, "item": ["title"]})
    assert "load_col of inter names" in error_of("SASRec", unload_col={"inter": ["rating"]})
    assert "is the ITEM_ID_FIELD" in error_of("SASRec", unused_col={"inter": ["item_id"]})
    assert "is USER_ID_FIELD, too" in error_of("SASRec", ITEM_ID_FIELD="user_id")
    untimed = {"load_col": {"inter": ["user_id", "item_id"]}, "eval_args": {"order": "RO"}}
    assert Config("Pop", "my-shop", config_dict=untimed)["eval_args"]["order"] == "RO"


@pytest.mark.parametrize("model", ["LCRec", "CoVisit", "TextKNN"])
def test_files_split_already_are_refused_by_own_models(model):
    message = error_of(model, benchmark_filename=["train", "valid", "test"])
    assert "benchmark_filename = ['train', 'valid', 'test']: this model" in message and "split by eval_args" in message
    assert "transform = 'inverse_itemseq'" in error_of(model, transform="inverse_itemseq")


def test_keys_without_effect_on_the_tuning_are_refused():
    message = error_of("LCRec", learner="sgd", enable_amp=True, enable_scaler=True)
    for key in ("learner = 'sgd'", "enable_amp = True", "enable_scaler = True", "as SASRec.learner"):
        assert key in message
    assert (
        Config("LCRec", "my-shop", config_dict={"SASRec.learner": "sgd"}, run=["LCRec", "SASRec"])["learner"] == "adam"
    )


def shop_config(root, model="SASRec", **values):
    return Config(model, "shop", config_dict={"data_path": str(root), "use_gpu": False, "topk": [1, 5, 10], **values})


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"ITEM_ID_FIELD": "iid"}, ["no column 'iid', required by ITEM_ID_FIELD", "user_id, item_id, timestamp"]),
        ({"USER_ID_FIELD": "uid"}, ["no column 'uid', required by USER_ID_FIELD", "user_id, item_id, timestamp"]),
        ({"TIME_FIELD": "time"}, ["no column 'time', required by TIME_FIELD", "user_id, item_id, timestamp"]),
        ({"alias_of_item_id": ["x"]}, ["alias_of_item_id = ['x']: there is no column 'x'", "shop.inter has user_id"]),
        ({"alias_of_item_id": ["title"]}, ["the column 'title' of", "is not read; add it to item of load_col"]),
        ({"alias_of_user_id": ["timestamp"]}, ["is of type float, but must be token or token_seq"]),
        ({"val_interval": {"timestmp": "[0,1]"}}, ["there is no column 'timestmp'; did you mean 'timestamp'?"]),
        ({"val_interval": {"timestamp": ["a"]}}, ["is of type float, but must be token", "numbers are kept by an"]),
        ({"val_interval": {"item_id": "[0,1]"}}, ["is of type token, but must be float"]),
        ({"threshold": {"rating": 3}}, ["threshold = {'rating': 3}: there is no column 'rating'"]),
        ({"normalize_field": ["item_id"]}, ["normalize_field", "must be float or float_seq"]),
        ({"preload_weight": {"item_id": "emb"}}, ["preload_weight", "there is no column 'emb'"]),
        ({"additional_feat_suffix": ["ent"]}, ["additional_feat_suffix = ['ent']: there is no file"]),
        ({"seq_len": {"titel": 3}}, ["seq_len", "there is no column 'titel'; did you mean 'title'?"]),
    ],
)
@pytest.mark.parametrize("model", ["SASRec", "CoVisit"])
def test_a_named_column_must_be_there_before_any_work(model, values, parts, shop):
    with pytest.raises(ValueError) as caught:
        require_inputs(shop_config(shop, model, **values))
    for part in (str(shop / "shop" / "shop."), *parts):
        assert part in str(caught.value)


def test_files_that_are_split_have_columns_of_their_own(shop):
    values = {"benchmark_filename": ["a", "b", "c"], "alias_of_item_id": ["item_id_list"], "load_col": None}
    for name in "ab":
        path = shop / "shop" / f"shop.{name}.inter"
        path.write_text("user_id:token\titem_id:token\titem_id_list:token_seq\nu\ti1\ti2\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"benchmark_filename = .*: there is no file .*shop\.c\.inter"):
        require_inputs(shop_config(shop, **values))
    path.rename(path.with_name("shop.c.inter"))
    (shop / "shop" / "shop.b.inter").write_bytes((shop / "shop" / "shop.a.inter").read_bytes())
    require_inputs(shop_config(shop, **values))


def test_named_columns_that_are_there_are_good(shop):
    values = {"val_interval": {"timestamp": "[0,inf)"}, "seq_len": {"title": 2}, "normalize_field": ["timestamp"]}
    require_inputs(shop_config(shop, **values))
    listed = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "title"]}
    require_inputs(shop_config(shop, alias_of_item_id=["title"], load_col=listed))


def test_other_forms_call_their_columns_as_they_are_written(tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "shop.inter.json").write_text('{"0": [0, 1, 2, 3]}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"ITEM_ID_FIELD = 'iid': .* call this column 'item_id'; remove ITEM_ID_FIELD"):
        require_inputs(shop_config(tmp_path, ITEM_ID_FIELD="iid"))


def test_columns_of_other_names_give_the_same_data(shop):
    before = create_dataset(shop_config(shop))
    for ending in ("inter", "item"):
        path = shop / "shop" / f"shop.{ending}"
        content = path.read_text(encoding="utf-8")
        for old, new in (("user_id:", "uid:"), ("item_id:", "iid:"), ("timestamp:", "when:")):
            content = content.replace(old, new)
        path.write_text(content, encoding="utf-8")
    config = shop_config(shop, USER_ID_FIELD="uid", ITEM_ID_FIELD="iid", TIME_FIELD="when")
    assert config["load_col"] == {"inter": ["uid", "iid", "when"], "item": ["iid"]}
    after = create_dataset(config)
    assert after.inter_feat[["uid", "iid", "when"]].to_numpy().tolist() == (
        before.inter_feat[["user_id", "item_id", "timestamp"]].to_numpy().tolist()
    )


def test_all_property_files_still_load():
    files = sorted(properties_dir().glob("paper/*.yaml"))
    assert files
    for path in files:
        assert Config("LCRec", "my-shop", [path]).model == "LCRec"
    for name in ("baselines.yaml", "quick_start.yaml"):
        values = read_yaml(properties_dir() / name)
        models = values.get("model", "LCRec")
        names = [each.strip() for each in models.split(",")] if isinstance(models, str) else models
        for model in names:
            assert Config(model, "ml-100k", [properties_dir() / name], run=names).label == model
